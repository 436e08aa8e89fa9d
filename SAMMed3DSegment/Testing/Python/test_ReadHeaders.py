"""The reader of C++ headers that writes the manifest: what of a class Python can reach, and what it cannot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "SlicerHarness"
sys.path.insert(0, str(HARNESS))

from readHeaders import readFolder, readText  # noqa: E402

WIDGET = """
/* class demoOld : public QWidget { Q_OBJECT }; */
#ifndef demo_h
#define LONG_ONE(x) \\\\
  class x : public QObject { Q_OBJECT };
class demoForward;
class DEMO_EXPORT demoWidget : public QWidget, protected demoMixin
{
  Q_OBJECT
  DEMO_OBJECT
  Q_PROPERTY(QString title READ title WRITE setTitle NOTIFY titleChanged);  // with a semicolon
  Q_PROPERTY(demo::Mode mode READ mode
             WRITE setMode)
  Q_PROPERTY(int count READ count CONSTANT)
  // Q_PROPERTY(int gone READ gone WRITE setGone)
  Q_ENUMS(Mode)
public:
  enum Mode { One = 1, Two };
  explicit demoWidget(QWidget* parent = nullptr);
  ~demoWidget() override;
  Q_INVOKABLE demoWidget(int number);
  QString title() const;
  void setTitle(const QString& title);
  Q_INVOKABLE static QList<int> numbers(const QMap<QString, int>& byName, char separator = ';', QString text = "a,(b");
  Q_INVOKABLE vtkNode* node(vtkNode* of, const char* name,
                            const int extent[6],
                            unsigned long) const;
#ifdef DEMO
  Q_INVOKABLE void onlyWithDemo();
#endif
public slots:
  void show2() { if (true) { this->hide(); } }
  virtual void reset(int number = -1) = 0;
  void reset();
signals:
  void titleChanged(const QString& title);
  void chosen(vtkNode*, bool valid);
  /// void planned(int);
protected slots:
  void onChosen();
protected:
  Q_INVOKABLE void hidden();
private:
  Q_DISABLE_COPY(demoWidget);
};
#endif
"""
PLAIN = "class plain : public base\n{\npublic:\n  Q_INVOKABLE void known();\n};\n"
QT_WORDS = """
class demoButton: public demoWidget
{
  Q_OBJECT
public Q_SLOTS:
  void press();
Q_SIGNALS:
  void pressed();
};
"""


def test_properties_are_read_with_types_and_those_that_cannot_be_set():
    known = readText(WIDGET)["demoWidget"]
    assert known["properties"] == {"title": "QString", "mode": "demo::Mode", "count": "int"}
    assert known["readOnly"] == ["count"]


def test_slots_and_invokables_are_methods_and_nothing_else_is():
    assert readText(WIDGET)["demoWidget"]["methods"] == [
        "numbers(QMap<QString,int>,char,QString)",
        "node(vtkNode*,const char*,int[6],unsigned long)",
        "onlyWithDemo()",
        "show2()",
        "reset(int)",
        "reset()",
    ]


def test_signals_are_read_with_the_types_that_connections_name():
    assert readText(WIDGET)["demoWidget"]["signals"] == ["titleChanged(QString)", "chosen(vtkNode*,bool)"]


def test_bases_are_read_and_classes_in_comments_and_macros_are_not():
    found = readText(WIDGET + PLAIN + QT_WORDS)
    assert list(found) == ["demoWidget", "demoButton"]
    assert found["demoWidget"]["inherits"] == ["QWidget", "demoMixin"]
    assert found["demoButton"]["methods"] == ["press()"]
    assert found["demoButton"]["signals"] == ["pressed()"]


def write(folder, name, text, commit="0123456789abcdef"):
    (folder / name).write_text(f"// demo/demo Libs/{name} {commit}\n{text}")


def test_of_two_versions_what_both_have_is_kept(tmp_path):
    write(tmp_path, "older.h", QT_WORDS.replace("press()", "press();\n  void gone()"), "aaaaaaaaaaaaaaaa")
    write(tmp_path, "newer.h", QT_WORDS.replace("pressed()", "pressed();\n  void added()"))
    known = readFolder(tmp_path)["demoButton"]
    assert known["methods"] == ["press()"]
    assert known["signals"] == ["pressed()"]
    assert known["read"] == ["demo/demo Libs/newer.h 0123456789ab", "demo/demo Libs/older.h aaaaaaaaaaaa"]


def test_decorators_add_methods_to_the_classes_that_they_name(tmp_path):
    write(tmp_path, "a.h", QT_WORDS)
    write(
        tmp_path,
        "b.h",
        "class demoPythonQtDecorators : public QObject\n{\n  Q_OBJECT\npublic slots:\n"
        "  bool static_demoButton_known(int a) { return true; }\n  void send(demoButton* self, QObject* to) {}\n};\n",
    )
    found = readFolder(tmp_path)
    assert list(found) == ["demoButton"]
    assert found["demoButton"]["methods"] == ["press()", "known(int)", "send(QObject*)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no header"),
        ("class a : public QObject\n{\n  Q_OBJECT\n};\n", "say where it is from"),
        ("// demo/demo a.h 0123456789\nclass a : public QObject\n{\n  Q_OBJECT\n", "not closed"),
        ("// demo/demo a.h 0123456789\nclass a : public QObject\n{\n  Q_OBJECT\n  Q_PROPERTY(odd)\n};\n", "Q_PROPERTY"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path, text, message):
    if text:
        (tmp_path / "a.h").write_text(text)
    with pytest.raises(ValueError, match=message):
        readFolder(tmp_path)


def test_the_script_writes_the_manifest(tmp_path):
    write(tmp_path, "a.h", QT_WORDS)
    command = [sys.executable, str(HARNESS / "makeManifest.py"), "--headers", str(tmp_path)]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert made == {
        "classes": json.loads(
            json.dumps(
                {
                    "demoButton": {
                        "read": ["demo/demo Libs/a.h 0123456789ab"],
                        "inherits": ["demoWidget"],
                        "methods": ["press()"],
                        "signals": ["pressed()"],
                    }
                }
            )
        )
    }
