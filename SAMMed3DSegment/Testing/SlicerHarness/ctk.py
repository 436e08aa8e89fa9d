"""Stand-ins for the CTK widgets that the module uses."""

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from slicerHarness.manifest import strict
from slicerHarness.uiLoader import register

HEADER = 24


@strict("ctkCollapsibleButton")
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that hides and shows what is below it: checked while it is open."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments):
        self._hiddenByUs, self._collapsed = [], False
        super().__init__(*[a for a in arguments if not isinstance(a, str)])
        self.setText(next((a for a in arguments if isinstance(a, str)), ""))
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(lambda opened: self._collapse(not opened))

    def _collapse(self, collapsed):
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

    collapsed = Property(bool, lambda self: self._collapsed, lambda self, collapsed: self.setChecked(not collapsed))

    def event(self, event):
        if event.type() == QtCore.QEvent.Show and self._collapsed:
            self._collapse(True)
        return super().event(event)

    def hitButton(self, position):
        return position.y() < HEADER

    def sizeHint(self):
        hint = QtWidgets.QWidget.sizeHint(self)
        return QtCore.QSize(max(hint.width(), 120), HEADER if self._collapsed else max(HEADER, hint.height()))

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(0, 0, self.size.width(), HEADER - 2, QtGui.QColor(205, 210, 222))
        painter.drawText(8, 16, ("▸ " if self._collapsed else "▾ ") + self.text)


@strict("ctkDirectoryButton")
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows and chooses a folder."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *arguments):
        super().__init__(*[a for a in arguments if not isinstance(a, str)])
        self._caption, self._text = "", ""
        self._directory = next((a for a in arguments if isinstance(a, str)), QtCore.QDir.currentPath())
        self._button = QtWidgets.QPushButton()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.clicked.connect(self.browse)
        self._show()

    def browse(self):
        directory = QtWidgets.QFileDialog.getExistingDirectory(self, self._caption or self.toolTip, self._directory)
        if directory:
            self._setDirectory(directory)
        return directory

    def _setDirectory(self, directory):
        changed, self._directory = directory != self._directory, directory
        self._show()
        self.directorySelected.emit(directory)
        if changed:
            self.directoryChanged.emit(directory)

    def _setText(self, text):
        self._text = text
        self._show()

    def _setCaption(self, caption):
        self._caption = caption

    def _show(self):
        self._button.setText(self._text or self._directory)

    directory = Property(str, lambda self: self._directory, _setDirectory)
    text = Property(str, lambda self: self._text, _setText)
    caption = Property(str, lambda self: self._caption, _setCaption)


@strict("ctkComboBox")
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box whose data can be bound to a setting."""

    currentUserDataAsStringChanged = Signal(str)

    def setCurrentUserDataAsString(self, userData):
        index = self.findData(userData)
        if index >= 0:
            self.setCurrentIndex(index)

    currentUserDataAsString = Property(str, lambda self: str(self.currentData or ""), setCurrentUserDataAsString)


@strict("ctkSettingsPanel")
class ctkSettingsPanel(QtWidgets.QWidget):
    """A page of the application settings: its widgets write at once, and the values before are kept for *Cancel*."""

    settingChanged = Signal(str, object)

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

    def _setSettings(self, settings):
        self._settings = settings
        self.reloadSettings()

    settings = Property(QtCore.QObject, lambda self: self._settings, _setSettings)

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


@strict("ctkSettingsDialog")
class ctkSettingsDialog(QtWidgets.QDialog):
    """The dialog of the application settings."""

    settingChanged = Signal(str, object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._settings, self._panels = None, {}

    def _setSettings(self, settings):
        self._settings = settings
        for panel in self._panels.values():
            panel.settings = settings

    settings = Property(QtCore.QObject, lambda self: self._settings, _setSettings)

    def addPanel(self, label, panel):
        if not isinstance(panel, ctkSettingsPanel):
            raise TypeError("a page of the settings is a ctkSettingsPanel")
        panel.setParent(self)
        self._panels[label] = panel
        panel.settingChanged.connect(self.settingChanged.emit)
        panel.settings = self._settings

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
