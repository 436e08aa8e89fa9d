"""Write down which classes of Qt, CTK and Slicer have which properties, methods and signals: what the harness allows.

Of Qt, run it twice: with PyQt5, whose Qt is 5.15 as in Slicer 5.10, and with PySide6 for Qt 6. Of CTK and Slicer, give
it a folder with their published headers, each with a first line that says where it is from (see `readHeaders.py`):

    python makeManifest.py PyQt5 > qt5.json; python makeManifest.py PySide6 > qt6.json
    python makeManifest.py --headers FOLDER > slicer.json
"""

import importlib
import json
import os
import sys
from pathlib import Path

from readHeaders import readFolder

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
CLASSES = [
    *("QWidget", "QLabel", "QPushButton", "QToolButton", "QComboBox", "QLineEdit", "QCheckBox", "QProgressBar"),
    *("QSpinBox", "QDoubleSpinBox", "QSlider", "QTableWidget", "QTableWidgetItem", "QHeaderView"),
    *("QFormLayout", "QGridLayout", "QHBoxLayout", "QVBoxLayout", "QTimer", "QIcon", "QShortcut", "QKeySequence"),
    *("QDialog", "QInputDialog", "QFileDialog", "QMessageBox", "Qt"),
    *("QObject", "QAbstractButton", "QMainWindow", "QApplication"),
]


def facts(cls):
    """Properties and signals with inherited ones; attributes without: enumerations, methods."""
    meta = getattr(cls, "staticMetaObject", None)
    methods = [] if meta is None else [meta.method(n) for n in range(meta.methodCount())]
    signature = [bytes(m.methodSignature()).decode() for m in methods if "ignal" in str(m.methodType())]
    slot = [bytes(m.methodSignature()).decode() for m in methods if "lot" in str(m.methodType())]
    if meta is not None and not signature:  # PyQt5 gives numbers: 1 is a signal, 2 a slot
        signature = [bytes(m.methodSignature()).decode() for m in methods if m.methodType() == 1]
        slot = [bytes(m.methodSignature()).decode() for m in methods if m.methodType() == 2]
    properties = [] if meta is None else [meta.property(n).name() for n in range(meta.propertyCount())]
    names = [name for name in dir(cls) if not name.startswith("_")]
    for nested in [value for value in vars(cls).values() if hasattr(value, "__members__")]:
        names += nested.__members__  # PythonQt and Qt 5's Python have them on the class itself
    known = {s.split("(")[0] for s in signature + slot} | set(properties)
    return {
        "properties": sorted(set(properties)),
        "signals": sorted(set(signature)),
        "slots": sorted(set(slot)),
        "others": sorted(set(names) - known),
    }


def ofSlicer(folder):
    """The classes of CTK and Slicer: a line for each list, that the file stays small enough to read."""
    classes = []
    for name, known in readFolder(folder).items():
        rows = [f'  "{kind}": {json.dumps(value)}' for kind, value in known.items() if value]
        classes.append(f' "{name}": {{\n' + ",\n".join(rows) + "\n }")
    return '{"classes": {\n' + ",\n".join(classes) + "\n}}\n"


def ofQt(binding):
    """The classes of Qt, as a binding for Python knows them."""
    modules = [importlib.import_module(f"{binding}.{name}") for name in ("QtCore", "QtGui", "QtWidgets")]
    version = getattr(modules[0], "QT_VERSION_STR", None) or modules[0].qVersion()
    found = {}
    for name in CLASSES:
        module = next(m for m in modules if hasattr(m, name))
        found[name] = facts(getattr(module, name))
        if name != "QWidget" and issubclass(getattr(module, name), modules[2].QWidget):
            found[name] = {kind: sorted(set(v) - set(found["QWidget"][kind])) for kind, v in found[name].items()}
            found[name]["inherits"] = ["QWidget"]
    return json.dumps({"source": f"{binding}, Qt {version}", "classes": found}, indent=1) + "\n"


def main():
    headers = sys.argv[1] == "--headers"
    sys.stdout.write(ofSlicer(Path(sys.argv[2])) if headers else ofQt(sys.argv[1]))


if __name__ == "__main__":
    main()
