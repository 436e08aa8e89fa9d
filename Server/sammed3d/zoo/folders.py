"""The folders on this computer in which models lie, and what was made of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sammed3d.errors import ModelError


def default_folder() -> Path:
    """Return where models are kept: SAMMED3D_MODELS, or the platform's data folder."""
    chosen = os.environ.get("SAMMED3D_MODELS")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "sammed3d" / "models"


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say in words that nothing can be written into the models' folder.

    Raises:
        ModelError: the system refused to read or write while this was open.
    """
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"{folder}: cannot be written ({error.strerror}). Check its permissions and free space, or choose another "
            "folder for models (SAMMED3D_MODELS)."
        ) from error


def exported_folder(folder: Path | None = None) -> Path:
    """Return where exported (ONNX) files are kept, beside the models of a folder."""
    return (folder or default_folder()) / "exported-onnx"


def clear_exported(folder: Path | None = None, sha256: str | None = None) -> int:
    """Delete exported files that were kept; they are made again when they are needed.

    All includes what exports left that were killed, of which nobody knows the checkpoint.

    Args:
        folder: folder of the models; `default_folder()` if None.
        sha256: SHA-256 of the checkpoint whose exports to delete; None for all.

    Returns:
        Bytes that were freed.
    """
    freed = 0
    for exported in exported_folder(folder).glob("*/"):
        about = exported / "model.json"
        if sha256 is None or (about.is_file() and _source_of(about) == sha256):
            freed += sum(file.stat().st_size for file in exported.rglob("*") if file.is_file())
            shutil.rmtree(exported)
    return freed


def _source_of(about: Path) -> str | None:
    """Return the digest of what was exported, as its `model.json` says; None where that is damaged."""
    try:
        return str(json.loads(about.read_text(encoding="utf-8"))["source_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
