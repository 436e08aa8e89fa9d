"""Stand-ins for the CTK widgets that the module uses."""

from typing import ClassVar

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from slicerHarness.uiLoader import register

HEADER = 24


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that hides and shows what is below it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments):
        self._hiddenByUs = []
        self._collapsed, self._text = False, next((a for a in arguments if isinstance(a, str)), "")
        super().__init__(*[a for a in arguments if not isinstance(a, str)])
        self.setContentsMargins(0, HEADER, 0, 0)

    def getText(self):
        return self._text

    def setText(self, text):
        self._text = text
        self.update()

    def getCollapsed(self):
        return self._collapsed

    def setCollapsed(self, collapsed):
        collapsed = bool(collapsed)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                if collapsed and child not in self._hiddenByUs and not child.isHidden():
                    self._hiddenByUs.append(child)
                    child.setVisible(False)
                elif not collapsed and child in self._hiddenByUs:
                    child.setVisible(True)
        self._collapsed = collapsed
        if not collapsed:
            self._hiddenByUs = []
        self.setMaximumHeight(HEADER if self._collapsed else 16777215)
        self.contentsCollapsed.emit(self._collapsed)

    text = Property(str, getText, setText)
    collapsed = Property(bool, getCollapsed, setCollapsed)

    def event(self, event):
        if event.type() == QtCore.QEvent.Show and self._collapsed:
            self.setCollapsed(True)
        return super().event(event)

    def sizeHint(self):
        hint = super().sizeHint()
        return QtCore.QSize(max(hint.width(), 120), HEADER if self._collapsed else max(HEADER, hint.height()))

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(0, 0, self.size.width(), HEADER - 2, QtGui.QColor(205, 210, 222))
        painter.drawText(8, 16, ("▸ " if self._collapsed else "▾ ") + self._text)

    def mousePressEvent(self, event):
        if event.position().y() < HEADER:
            self.setCollapsed(not self._collapsed)


class ctkDirectoryButton(QtWidgets.QPushButton):
    """A button that shows and chooses a folder."""

    directoryChanged = Signal(str)

    def getDirectory(self):
        return self.text

    def setDirectory(self, directory):
        if directory != self.text:
            self.setText(directory)
            self.directoryChanged.emit(directory)

    directory = Property(str, getDirectory, setDirectory)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box whose data can be bound to a setting."""

    currentUserDataAsStringChanged = Signal(str)

    def getCurrentUserDataAsString(self):
        return str(self.currentData or "")

    def setCurrentUserDataAsString(self, userData):
        index = self.findData(userData)
        if index >= 0:
            self.setCurrentIndex(index)

    currentUserDataAsString = Property(str, getCurrentUserDataAsString, setCurrentUserDataAsString)


class ctkSettingsPanel(QtWidgets.QWidget):
    """A page of the application settings: its widgets write at once, and the values before are kept for *Cancel*."""

    settingChanged = Signal(str, object)
    slicerSignals: ClassVar[dict] = {"settingChanged": ("QString,QVariant",)}

    def __init__(self, parent=None):
        self._bound, self._settings = {}, None
        super().__init__(parent)

    def registerProperty(self, key, widget, propertyName, signal, label="", options=0, settings=None):
        if widget.metaObject().indexOfProperty(propertyName) < 0:
            raise ValueError(f"{type(widget).__name__} has no property {propertyName}")
        if not signal.startswith("2"):
            raise ValueError(f"{signal!r} is not the code of a signal: str(qt.SIGNAL(...))")
        self._bound[key] = [widget, propertyName, widget.property(propertyName), widget.property(propertyName)]
        widget.connect(signal[1:], lambda: self._write(key, widget.property(propertyName)))

    def setSettings(self, settings):
        self._settings = settings
        self.reloadSettings()

    def applySettings(self):
        for bound in self._bound.values():
            bound[2] = bound[0].property(bound[1])

    def resetSettings(self):
        for key, bound in self._bound.items():
            self._set(key, bound[2])

    def restoreDefaultSettings(self):
        for key, bound in self._bound.items():
            self._set(key, bound[3])

    def reloadSettings(self):
        for key, bound in self._bound.items():
            if self._settings.contains(key):
                bound[0].setProperty(bound[1], self._settings.value(key))
                bound[2] = bound[0].property(bound[1])
            else:
                self._write(key, bound[0].property(bound[1]))

    def _set(self, key, value):
        self._bound[key][0].setProperty(self._bound[key][1], value)
        self._write(key, value)

    def _write(self, key, value):
        if self._settings is None:
            return
        before = self._settings.value(key)
        self._settings.setValue(key, value)
        if str(before).lower() != str(value).lower():
            self.settingChanged.emit(key, value)


class ctkSettingsDialog(QtWidgets.QDialog):
    """The dialog of the application settings."""

    settingChanged = Signal(str, object)
    slicerSignals: ClassVar[dict] = {"settingChanged": ("QString,QVariant",)}

    def __init__(self, settings):
        super().__init__()
        self._settings, self._panels = settings, {}

    def addPanel(self, label, panel):
        if not isinstance(panel, ctkSettingsPanel):
            raise TypeError("a page of the settings is a ctkSettingsPanel")
        panel.setParent(self)
        self._panels[label] = panel
        panel.settingChanged.connect(self.settingChanged.emit)
        panel.setSettings(self._settings)

    def panel(self, label):
        return self._panels.get(label)

    def applySettings(self):
        for panel in self._panels.values():
            panel.applySettings()

    def reloadSettings(self):
        for panel in self._panels.values():
            panel.reloadSettings()

    def accept(self):
        self.applySettings()
        super().accept()

    def reject(self):
        for panel in self._panels.values():
            panel.resetSettings()
        super().accept()


register(ctkCollapsibleButton, ctkDirectoryButton, ctkComboBox)
