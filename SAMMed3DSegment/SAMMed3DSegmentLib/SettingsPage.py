"""The page in the application settings."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

import qt
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings

DEVICES = ("auto", "cpu", "cuda", "mps")


def register() -> None:
    """Add the page, where the application has a settings dialog."""
    dialog = slicer.app.settingsDialog() if hasattr(slicer.app, "settingsDialog") else None
    if dialog is not None:
        dialog.addPanel(_("SAMMed3DSegment"), build(Settings(slicer.app.userSettings())))


def build(settings: Settings):
    """Return the page's widget."""
    import ctk  # noqa: PLC0415 - a library of Slicer's

    page = ctk.ctkSettingsPanel()
    form = qt.QFormLayout(page)
    place = qt.QComboBox()
    place.addItem(_("On this computer"), LOCAL)
    place.addItem(_("On a server"), SERVER)
    place.setCurrentIndex(1 if settings.place == SERVER else 0)
    place.connect("currentIndexChanged(int)", lambda index: setattr(settings, "place", place.itemData(index)))
    device = qt.QComboBox()
    device.setEditable(True)  # "cuda:1"
    for name in DEVICES:
        device.addItem(name)
    device.setCurrentText(settings.device)
    device.connect("currentTextChanged(QString)", lambda text: setattr(settings, "device", text))
    url, key = qt.QLineEdit(settings.url), qt.QLineEdit(settings.key)
    key.setEchoMode(qt.QLineEdit.Password)
    url.connect("textChanged(QString)", lambda text: setattr(settings, "url", text))
    key.connect("textChanged(QString)", lambda text: setattr(settings, "key", text))
    authority, proxies = qt.QLineEdit(settings.authority), qt.QCheckBox(_("Use the computer's proxies"))
    authority.setToolTip(
        _("File (PEM) of the authority that signed the server's certificate, if it is your hospital's")
    )
    authority.connect("textChanged(QString)", lambda text: setattr(settings, "authority", text))
    proxies.setChecked(settings.useProxies)
    proxies.connect("toggled(bool)", lambda use: setattr(settings, "useProxies", use))
    rows = (
        (_("Predictions run:"), place),
        (_("Device:"), device),
        (_("Server:"), url),
        (_("Key:"), key),
        (_("Certificate authority:"), authority),
        ("", proxies),
    )
    for label, widget in rows:
        form.addRow(label, widget)
    form.addRow(qt.QLabel(_("Nothing is sent to a server before you agree in the module's panel.")))
    return page
