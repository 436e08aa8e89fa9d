"""Keys of users: named, random, and kept only as hashes; and how much each user may ask for."""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
from collections import Counter
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from sammed3d.errors import ModelError, VolumeError
from sammed3d.files.outputs import written_whole


@dataclass(frozen=True)
class Quota:
    """How much a user may ask for.

    Attributes:
        per_minute: predictions a minute; 0 for no limit.
        waiting: predictions under way at once.
        patches_mib: memory for uploaded patches.
        training_minutes: minutes of training a day, where training is allowed.
    """

    per_minute: int = 0
    waiting: int = 1 << 20
    patches_mib: int = 1 << 20
    training_minutes: int = 60


NO_QUOTA = Quota()


class Keys:
    """Who may use the server.

    Args:
        hashes: SHA-256 (hex) of the key, by the user's name. Keys are 256 random bits, which needs no salt.
        quotas: quotas by the user's name.
    """

    def __init__(self, hashes: dict[str, str], quotas: dict[str, Quota] | None = None) -> None:
        self._hashes = {name: bytes.fromhex(digest) for name, digest in hashes.items()}
        self.quotas = dict(quotas or {})

    def user_of(self, key: str) -> str | None:
        """Return the name of the user with a key, or None; takes the same time whether or not there is one."""
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for name, known in self._hashes.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Read a file of keys: `{"anna": "hash", "ben": {"sha256": "hash", "per_minute": 60, "waiting": 2}}`.

        Raises:
            ModelError: it is not there, or not such a file, or has two keys for one name.
        """
        entries = _read_entries(path)
        if entries is None:
            raise ModelError(f"{path}: is no file of keys. Make one: sammed3d serve-key NAME --keys FILE")
        hashes, quotas = {}, {}
        for name, entry in entries.items():
            if not name.strip() or not name.isprintable():
                raise ModelError(f"{path}: a key has no name that logs can show. Give its user one.")
            fields = dict(entry) if isinstance(entry, dict) else {"sha256": entry}
            digest = fields.pop("sha256", None)
            if not re.fullmatch("[0-9a-f]{64}", str(digest)):
                raise ModelError(f"{path}: holds something else than names and SHA-256 hashes of keys.")
            known = set(Quota.__dataclass_fields__)
            if not set(fields) <= known or not all(type(v) is int and v >= 0 for v in fields.values()):
                raise ModelError(f"{path}: the quota of {name!r} is not understood. It takes whole numbers: {known}.")
            hashes[name], quotas[name] = str(digest), Quota(**fields)
        return cls(hashes, quotas)


def add_key(path: Path, name: str) -> str:
    """Make a key for a user, keep its hash in a file, and return the key: the only time that it is seen.

    The file keeps its owner and permissions, and the keys in it where there is no room for one more. Where nothing can
    be put in its place, because the folder is another's or the file alone is mounted, it is written in its place.

    Raises:
        ModelError: the user has no name, or a key already, or the file cannot be read or written.
    """
    if not name.strip() or not name.isprintable():
        raise ModelError(f"A key needs a name, which logs can show: sammed3d serve-key NAME --keys {path}.")
    hashes = _read_entries(path) if path.is_file() else {}
    if hashes is None:
        raise ModelError(f"{path}: is there, but no file of keys. Name another file.")
    if name in hashes:
        raise ModelError(f"{name!r} has a key already. Delete its line from {path} to make a new one.")
    key = secrets.token_urlsafe(32)
    entries = hashes | {name: hashlib.sha256(key.encode()).hexdigest()}
    path = path.resolve()  # through a link to it
    text = json.dumps(entries, indent=2)
    try:
        with written_whole(path) as beside:
            beside.touch(mode=0o600)
            beside.write_text(text, encoding="utf-8")
            if path.is_file():
                _keep_access(path, beside)
    except VolumeError as error:
        if not _rewritten(path, text.encode()):
            raise ModelError(str(error)) from error
    return key


def _rewritten(path: Path, content: bytes) -> bool:
    """Write a file again in its place; False where there is none, or that failed, and it holds what it held."""
    try:
        with path.open("r+b", buffering=0) as file:
            before = file.read()
            try:
                _overwrite(file, content)
            except OSError:
                _overwrite(file, before)  # there is room for that
                return False
    except OSError:
        return False
    return True


def _overwrite(file: FileIO, content: bytes) -> None:
    file.seek(0)
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
    file.truncate(len(content))
    os.fsync(file.fileno())


def _keep_access(old: Path, new: Path) -> None:
    """Let those read a file who could read the one that it replaces."""
    shutil.copymode(old, new)
    if hasattr(os, "chown"):
        os.chown(new, old.stat().st_uid, old.stat().st_gid)


def _read_entries(path: Path) -> dict[str, Any] | None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise ModelError(f"{path}: {name!r} is there {count} times, and only the last would count. Keep one.")
        return dict(pairs)

    try:
        # Windows' own tools put a mark in front
        entries = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(
            f"{path}: {os.strerror(error.errno or errno.EIO)}. It has to be a file that the user may read whom the "
            "server runs as."
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    return entries if isinstance(entries, dict) else None
