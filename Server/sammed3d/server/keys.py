"""Keys of users: named, random, and kept only as hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from pathlib import Path

from sammed3d.errors import ModelError


class Keys:
    """Who may use the server.

    Args:
        hashes: from a user's name to the SHA-256 (hex) of the key. Keys are 256 random bits, which needs no salt.
    """

    def __init__(self, hashes: dict[str, str]) -> None:
        self._hashes = dict(hashes)

    def user_of(self, key: str) -> str | None:
        """Return the name of the user with a key, or None; takes the same time whether or not there is one."""
        digest = _hash(key)
        found = None
        for name, known in self._hashes.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Read a file of keys.

        Raises:
            ModelError: it is not there, or not such a file.
        """
        try:
            hashes = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ModelError(f"{path}: cannot be read as a file of keys. Make one: sammed3d serve-key NAME") from error
        if not isinstance(hashes, dict) or not all(re.fullmatch("[0-9a-f]{64}", str(h)) for h in hashes.values()):
            raise ModelError(f"{path}: holds something else than names and SHA-256 hashes of keys.")
        return cls(hashes)


def add_key(path: Path, name: str) -> str:
    """Make a key for a user, keep its hash in a file, and return the key: the only time that it is seen.

    Raises:
        ModelError: the user has one already, or the file cannot be read.
    """
    hashes = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if name in hashes:
        raise ModelError(f"{name!r} has a key already. Delete its line from {path} to make a new one.")
    key = secrets.token_urlsafe(32)
    path.touch(mode=0o600)
    path.write_text(json.dumps(hashes | {name: _hash(key)}, indent=2), encoding="utf-8")
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
