"""Write down which Qt classes have which properties and signals, as facts for `test_Manifest.py`.

Run it twice: with PyQt5, whose Qt is 5.15 as in Slicer 5.10, and with PySide6 for Qt 6:

    python makeManifest.py PyQt5 > qt5.json; python makeManifest.py PySide6 > qt6.json
"""

import importlib
import json
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
CLASSES = [
    *("QWidget", "QLabel", "QPushButton", "QToolButton", "QComboBox", "QLineEdit", "QCheckBox", "QProgressBar"),
    *("QSpinBox", "QDoubleSpinBox", "QSlider", "QTableWidget", "QTableWidgetItem"),
    *("QFormLayout", "QGridLayout", "QHBoxLayout", "QVBoxLayout", "QTimer", "QIcon", "QShortcut", "QKeySequence"),
    *("QDialog", "QInputDialog", "QFileDialog", "QMessageBox", "Qt"),
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


def main():
    binding = sys.argv[1]
    modules = [importlib.import_module(f"{binding}.{name}") for name in ("QtCore", "QtGui", "QtWidgets")]
    version = getattr(modules[0], "QT_VERSION_STR", None) or modules[0].qVersion()
    found = {}
    for name in CLASSES:
        module = next(m for m in modules if hasattr(m, name))
        found[name] = facts(getattr(module, name))
        if name != "QWidget" and issubclass(getattr(module, name), modules[2].QWidget):
            found[name] = {kind: sorted(set(v) - set(found["QWidget"][kind])) for kind, v in found[name].items()}
            found[name]["inherits"] = ["QWidget"]
    json.dump({"source": f"{binding}, Qt {version}", "classes": found}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
