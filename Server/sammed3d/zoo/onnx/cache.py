"""Exported models, kept beside the installed ones: made at first use, deleted with the model that they came from."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sammed3d.zoo.download import file_digest
from sammed3d.zoo.folders import exported_folder, writing_to
from sammed3d.zoo.model import LoadedModel
from sammed3d.zoo.onnx.export import OnnxOptions, export_onnx
from sammed3d.zoo.onnx.network import load_exported

FORM = 3
"""Of the exported files; grows when the exporter changes."""


def exported_once(
    files: Sequence[Path], family: str | None, load: Callable[[], LoadedModel], quantise: bool
) -> LoadedModel:
    """Return a model that runs with onnxruntime; exports it if that was not done before.

    Args:
        files: the checkpoint, and its base where it has one.
        family: the family that was named; None for none.
        load: loads the model.
        quantise: that of `OnnxOptions`.

    Raises:
        ModelError: a reason of `export_onnx`, or the folder of exported files cannot be written.
    """
    digests = [file_digest(file) for file in files if file.is_file()]
    key = hashlib.sha256("|".join([files[0].name, family or "", *digests]).encode()).hexdigest()[:32]
    folder = exported_folder() / f"{key}-{FORM}-{'onnx-int8' if quantise else 'onnx'}"
    if not folder.is_dir():
        model = load()
        with writing_to(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            export_onnx(model, partial, OnnxOptions(quantise=quantise), source_sha256=digests[0])
            partial.chmod(0o755)  # models may lie where several users read them
            try:
                partial.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return load_exported(folder)
