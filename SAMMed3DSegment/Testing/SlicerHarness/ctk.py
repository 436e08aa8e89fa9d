"""Stand-ins for the CTK widgets that the module uses."""

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from slicerHarness.uiLoader import customWidgets

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


class ctkSettingsPanel(QtWidgets.QWidget):
    """A page of the application settings; registered widgets are bound to keys."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.registered = {}

    def registerProperty(self, key, widget, propertyName, signal, *_):
        self.registered[key] = (widget, propertyName, signal)


customWidgets.update({"ctkCollapsibleButton": ctkCollapsibleButton, "ctkDirectoryButton": ctkDirectoryButton})
