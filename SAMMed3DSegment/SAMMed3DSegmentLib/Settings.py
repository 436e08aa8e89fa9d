"""What the module keeps for the user, not in scenes: where it runs, the server's key, consent, following."""

from __future__ import annotations

from typing import Any

from sammed3d.inference.follow_limits import Mode
from SAMMed3DSegmentLib.Following import MODES, FollowChoice

PREFIX = "SAMMed3DSegment/"
LOCAL, SERVER = "local", "server"
PATCHES = 8
"""Into how many further patches an object is followed at most, where the user did not say it."""


class Settings:
    """Typed access to the application's settings; on the main thread only, as QSettings are.

    Args:
        store: a QSettings, or anything with its `value` and `setValue`.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    @property
    def place(self) -> str:
        """Where predictions run: LOCAL or SERVER."""
        return self._get("place", LOCAL)

    @place.setter
    def place(self, place: str) -> None:
        self._set("place", place)

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._get("server/url", "")

    @url.setter
    def url(self, url: str) -> None:
        self._set("server/url", url.strip())

    @property
    def key(self) -> str:
        """The user's key for the server."""
        return self._get("server/key", "")

    @key.setter
    def key(self, key: str) -> None:
        self._set("server/key", key.strip())

    @property
    def consent(self) -> bool:
        """Whether the user agreed to send image data to the present server; another address asks again."""
        return self.url != "" and self._get("server/consent", "") == self.url

    @consent.setter
    def consent(self, agreed: bool) -> None:
        self._set("server/consent", self.url if agreed else "")

    @property
    def authority(self) -> str:
        """File with the certificate of the authority that signed the server's; "" for those the computer trusts."""
        return self._get("server/authority", "")

    @authority.setter
    def authority(self, file: str) -> None:
        self._set("server/authority", file.strip())

    @property
    def useProxies(self) -> bool:
        """Whether to reach the server through the proxies that the computer is set up with."""
        return self._get("server/proxies", "true").lower() in ("true", "yes", "1")  # QSettings may give back a bool

    @useProxies.setter
    def useProxies(self, use: bool) -> None:
        self._set("server/proxies", "true" if use else "false")

    @property
    def device(self) -> str:
        """The torch device: "auto", "cpu", "cuda", "cuda:1", "mps"."""
        return self._get("device", "auto")

    @device.setter
    def device(self, device: str) -> None:
        self._set("device", device)

    @property
    def following(self) -> Mode:
        """Whether objects are followed beyond a patch: one of `Following.MODES`."""
        chosen = self._get("following/mode", MODES[0])
        return next((mode for mode in MODES if mode == chosen), MODES[0])

    @following.setter
    def following(self, mode: Mode) -> None:
        self._set("following/mode", mode)

    @property
    def followChoice(self) -> FollowChoice:
        """Whether and how far objects are followed, for a click."""
        patches = self._get("following/patches", "")
        return FollowChoice(self.following, min(max(int(patches), 1), 99) if patches.isdigit() else PATCHES)

    @property
    def exportFolder(self) -> str:
        """Where files were exported to last."""
        return self._get("exportFolder", "")

    @exportFolder.setter
    def exportFolder(self, folder: str) -> None:
        self._set("exportFolder", folder)

    @property
    def trainingFolder(self) -> str:
        """Folder of the cases that the user keeps for training, who agreed to that; "" while there is none."""
        return self._get("trainingFolder", "")

    @trainingFolder.setter
    def trainingFolder(self, folder: str) -> None:
        self._set("trainingFolder", folder)

    def _get(self, name: str, default: str) -> str:
        value = self._store.value(PREFIX + name)
        return default if value in (None, "") else str(value)

    def _set(self, name: str, value: str) -> None:
        self._store.setValue(PREFIX + name, value)
