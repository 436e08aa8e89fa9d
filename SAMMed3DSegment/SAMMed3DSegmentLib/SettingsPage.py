"""The page in the application settings."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

import qt
from SAMMed3DSegmentLib.Settings import LOCAL, PATCHES, PREFIX, SERVER

DEVICES = ("auto", "cpu", "cuda", "mps")
NAME = "SAMMed3DSegmentSettingsPage"
"""Object name, by which the page is found again: the application builds it once, at its start."""


FOLLOWING = _(
    "Objects larger than the patch that the network sees (154 or 192 mm): whether they are followed patch by "
    "patch after a positive click."
)


def followingModes() -> dict[str, str]:
    """Return what to call each of `Following.MODES`."""
    return {
        "ask": _("Follow when asked"),
        "always": _("Follow"),
        "never": _("Do not follow"),
    }


def register() -> None:
    """Add the page, where the application has a settings dialog."""
    dialog = slicer.app.settingsDialog()
    if dialog is not None:  # there is none without a main window
        dialog.addPanel(_("SAMMed3DSegment"), build())


def reload() -> None:
    """Show the settings in the page; otherwise its *Cancel* would bring back those that it has shown last."""
    for page in pages():
        page.reloadSettings()


def observe(function: Callable[[str, object], None], observed: bool = True) -> None:
    """Call a function with key and value whenever something is changed in the page; or do so no more."""
    for page in pages():
        (page.connect if observed else page.disconnect)("settingChanged(QString,QVariant)", function)


def pages() -> list:
    """Return the pages that the application has: one, or none without a settings dialog."""
    dialog = slicer.app.settingsDialog()
    return [] if dialog is None else slicer.util.findChildren(dialog, NAME)


def build():
    """Return the page's widget. What is changed in it holds when the dialog is accepted, as on every other page."""
    import ctk  # noqa: PLC0415 - a library of Slicer's

    page = ctk.ctkSettingsPanel()
    page.setObjectName(NAME)
    form = qt.QFormLayout(page)

    def add(label: str, widget, name: str, propertyName: str, signal: str) -> None:
        form.addRow(label, widget)
        page.registerProperty(PREFIX + name, widget, propertyName, str(qt.SIGNAL(signal)))

    place = ctk.ctkComboBox()
    place.addItem(_("On this computer"), LOCAL)
    place.addItem(_("On a server"), SERVER)
    add(_("Predictions run:"), place, "place", "currentUserDataAsString", "currentIndexChanged(int)")
    device = qt.QComboBox()
    device.setEditable(True)  # "cuda:1"
    for name in DEVICES:
        device.addItem(name)
    add(_("Device:"), device, "device", "currentText", "currentTextChanged(QString)")
    add(_("Server:"), qt.QLineEdit(), "server/url", "text", "textChanged(QString)")
    key = qt.QLineEdit()
    key.setEchoMode(qt.QLineEdit.Password)
    add(_("Key:"), key, "server/key", "text", "textChanged(QString)")
    authority = qt.QLineEdit()
    authority.setToolTip(
        _("File (PEM) of the authority that signed the server's certificate, if it is your hospital's")
    )
    add(_("Certificate authority:"), authority, "server/authority", "text", "textChanged(QString)")
    proxies = qt.QCheckBox(_("Use the computer's proxies"))
    proxies.setChecked(True)
    add("", proxies, "server/proxies", "checked", "toggled(bool)")
    following = ctk.ctkComboBox()
    for mode, text in followingModes().items():
        following.addItem(text, mode)
    following.setToolTip(FOLLOWING)
    add(_("Large objects:"), following, "following/mode", "currentUserDataAsString", "currentIndexChanged(int)")
    patches = qt.QSpinBox()
    patches.setRange(1, 99)
    patches.setValue(PATCHES)
    patches.setToolTip(_("How many further patches an object is followed into at most, each time."))
    add(_("Patches at most:"), patches, "following/patches", "value", "valueChanged(int)")
    form.addRow(qt.QLabel(_("Nothing is sent to a server before you agree in the module's panel.")))
    return page
