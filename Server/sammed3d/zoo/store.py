"""The models on this computer: the bundled one, downloaded ones and imported checkpoints.

Each installed model is a folder with one file of weights and `model.json`. Names, not paths, go through user interfaces
and servers.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import re
import shutil
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import ModelError, ModelWarning
from sammed3d.files.outputs import RESERVED
from sammed3d.zoo import registry
from sammed3d.zoo.about_file import words_of, works_by_slice
from sammed3d.zoo.download import ChecksumError, Progress, alone, download, file_digest
from sammed3d.zoo.folders import clear_exported, default_folder, writing_to

BUNDLED = Path(__file__).parent / "models" / "default.safetensors"
"""The small model that ships with the package."""
SUFFIXES = (".pth", ".pt", ".safetensors")
NAME = r"[a-z0-9_]+"
"""What an installed model may be called."""
COPY_CHUNK = 1 << 22
RUN_WEIGHTS, RUN_CARD = "best.safetensors", "model-card.md"
"""What is taken from the folder of a training run."""


@dataclass(frozen=True)
class StoredModel:
    """A model on this computer.

    Attributes:
        name: the name by which it is loaded.
        title: its name for people.
        purpose: its purpose.
        licence: licence as its source states it; "" where not known.
        family: the way to read it, where the file does not tell; None else.
        sha256: SHA-256 (hex) of the file; "" for the bundled one, which ships with the package's own checks.
        source: its source, in words.
        path: the file of weights.
    """

    name: str
    title: str
    purpose: str
    licence: str
    family: str | None
    sha256: str
    source: str
    path: Path

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    @property
    def by_slice(self) -> bool | None:
        """Whether it is a 2-D model; None where nobody says so before it is loaded."""
        return works_by_slice(self.path, self.family, self.name)

    @property
    def is_bundled(self) -> bool:
        """Whether it is part of the package and cannot be removed."""
        return self.path == BUNDLED


def check_weights(file: Path, family: str | None) -> None:
    """Refuse a file that is no model of a family.

    Args:
        file: `.pth`, `.pt` or `.safetensors`.
        family: the family that it should be; None where the file says it.

    Raises:
        ModelError: it cannot be loaded; where torch is not installed, it does not look like a file of weights.
    """
    with file.open("rb") as content:
        begin = content.read(64)
    is_pickle = begin[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04")
    if not (begin[8:9] == b"{" if file.suffix == ".safetensors" else is_pickle):
        shown = "a web page" if begin.lstrip()[:1] == b"<" else "something else"
        raise ModelError(f"{file.name}: is {shown}, not a file of weights.")
    if importlib.util.find_spec("torch") is not None:
        from sammed3d.zoo.load import load_model  # noqa: PLC0415 - needs torch

        load_model(file, family)


def check_name(name: str) -> None:
    """Refuse what cannot be a model's name, be it on Windows alone.

    Raises:
        ModelError: it has other signs than lower-case letters, digits and underscores, or Windows keeps it to itself.
    """
    if not re.fullmatch(NAME, name):
        raise ModelError(f"{name!r} cannot be a model's name: use lower-case letters, digits and underscores.")
    if name in RESERVED:
        raise ModelError(f"{name!r} cannot be a model's name: it is that of a device on Windows. Choose another name.")


def _problem_with(file: Path, family: str | None) -> str:
    """Return why a file is no model of a family; "" where it is one.

    In words, not as the error: that holds the file mapped into memory, and Windows deletes no such file.
    """
    try:
        check_weights(file, family)
    except ModelError as error:
        return str(error)
    return ""


class ModelStore:
    """Look models up, download, import, check and remove them.

    Args:
        folder: the models' folder; `default_folder()` if None.

    Example:
        >>> store = ModelStore()
        >>> store.fetch("sam_med3d_turbo", progress=print)
        >>> predictor = load_predictor("sam_med3d_turbo")
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def models(self) -> list[StoredModel]:
        """Return what is installed, the bundled model first; what is damaged is left out, with a `ModelWarning`."""
        found = [_bundled()] if BUNDLED.is_file() else []
        return found + [model for file in sorted(self.folder.glob("*/model.json")) if (model := _read(file))]

    def stamp(self, name: str) -> str:
        """Return what is another text after a model of a name was installed in place of another; "" for none.

        For who keeps a model in memory; it costs next to nothing. What is no model's name, as one that a scene of
        somebody else's brought, names no file.
        """
        if not re.fullmatch(NAME, name):
            return ""
        try:
            return str((self.folder / name / "model.json").stat().st_mtime_ns)
        except OSError:
            return ""

    def model(self, name: str) -> StoredModel:
        """Return an installed model.

        Raises:
            ModelError: it is not installed; says how to get it.
        """
        for candidate in self.models():
            if candidate.name == name:
                return candidate
        if name == "default":
            raise ModelError(
                "This installation lacks the default model. Reinstall it, or give the path of a checkpoint."
            )
        published = next((e for e in registry.entries() if e.name == name), None)
        if published is not None and published.url is not None:
            raise ModelError(f"{name} is not on this computer yet. Download it first: sammed3d models download {name}")
        if published is not None:
            raise ModelError(
                f"{name} is not on this computer yet. Get the file from {published.page}, then: "
                f"sammed3d models import FILE --name {name}"
            )
        installed = ", ".join(m.name for m in self.models()) or "none"
        raise ModelError(
            f"There is no model named {name!r} (installed: {installed}). Use one of these, or the path of a checkpoint."
        )

    def fetch(
        self,
        name: str,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
        renew: bool = False,
    ) -> StoredModel:
        """Download a published model, unless it is there already.

        Nothing is recorded before the file was looked at: where torch is installed it is loaded as the model that it
        should be, else it has to look like a file of weights.

        Args:
            name: name of a published model.
            progress: told about every chunk.
            cancellation: stops it; the next time goes on where this one ended.
            renew: forget the checksum that an earlier download recorded. One that was published always counts.

        Raises:
            ModelError: there is no such model, the download failed, what arrived is not that model, or the file of
                recorded checksums is damaged.
            PredictionCancelled: `cancellation` was used.
        """
        entry = registry.entry(name)
        known = next((m for m in self.models() if m.name == name), None)
        if known is not None:
            return known
        url = entry.address()
        recorded = None if renew else self._pins().get(name)
        file = self.folder / name / Path(url).name
        try:
            digest = download(url, file, sha256=entry.sha256 or recorded, progress=progress, cancellation=cancellation)
        except ChecksumError as error:
            if entry.sha256 is not None:
                raise
            raise ModelError(
                f"{error} If its authors say that they replaced it: sammed3d models download {name} --renew"
            ) from error
        if problem := _problem_with(file, entry.family):
            shutil.rmtree(file.parent)
            raise ModelError(
                f"{name}: what {url.partition('://')[2].partition('/')[0]} sent is not this model, so it was deleted "
                f"and not recorded ({problem}) Check proxies and logins on the way there, or get it from {entry.page}."
            )
        if entry.sha256 is None:
            self._pin(name, digest)
        model = StoredModel(name, entry.title, entry.purpose, entry.licence, entry.family, digest, url, file)
        self._write(model)
        return model

    def add(
        self,
        checkpoint: Path,
        name: str | None = None,
        title: str | None = None,
        *,
        purpose: str | None = None,
        licence: str | None = None,
        family: str | None = None,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
    ) -> StoredModel:
        """Import a checkpoint by copying it.

        Args:
            checkpoint: `.pth`, `.pt` or `.safetensors`; or the folder of a training run, whose best weights and model
                card are taken.
            name: the name by which it will be loaded; made from the file's name if None. Under the name of a published
                model, what is known of that holds where nothing else is said.
            title: its name for people.
            purpose: its purpose, where known.
            licence: licence as its source states it; else what the file says of itself.
            family: the way to read it, where the file does not tell.
            progress: told about every chunk that was copied.
            cancellation: stops it; nothing stays.

        Raises:
            ModelError: no such file, another kind of file, the name is taken, or the models' folder cannot be written.
            PredictionCancelled: `cancellation` was used.
        """
        run, checkpoint = (checkpoint, checkpoint / RUN_WEIGHTS) if checkpoint.is_dir() else (None, checkpoint)
        if run is not None and not checkpoint.is_file():
            raise ModelError(f"{run}: holds no weights of a training run ({RUN_WEIGHTS}).")
        if not checkpoint.is_file():
            raise ModelError(f"{checkpoint}: there is no such file.")
        if checkpoint.suffix not in SUFFIXES:
            raise ModelError(f"{checkpoint.name}: not a checkpoint. Known kinds: {', '.join(SUFFIXES)}.")
        name = name or re.sub(r"\W+", "_", checkpoint.stem if run is None else run.resolve().name).strip("_").lower()
        check_name(name)
        stopping = cancellation or Cancellation()
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / name, stopping):
            if any(m.name == name for m in self.models()) or name == "default":
                raise ModelError(f"There is a model named {name!r} already. Remove it first, or choose another name.")
            target = self.folder / name / checkpoint.name
            shown = progress or (lambda _done, _total: None)
            with writing_to(target.parent):
                digest = copy_file(checkpoint, target, shown, stopping)
                if run is not None and (run / RUN_CARD).is_file():
                    shutil.copyfile(run / RUN_CARD, target.with_name(RUN_CARD))
            published = next((vars(entry) for entry in registry.entries() if entry.name == name), {})
            usual = {"title": name, "purpose": "An imported checkpoint.", "licence": "", "family": None} | published
            about = {"title": title, "purpose": purpose, "licence": licence, "family": family}
            carried = words_of(target)
            known = usual | carried | {key: value for key, value in about.items() if value is not None}
            model = StoredModel(
                name,
                known["title"],
                known["purpose"],
                known["licence"],
                known["family"],
                digest,
                f"imported from {checkpoint.name}" + (f", {carried['origin']}" if "origin" in carried else ""),
                target,
            )
            self._write(model)
            return model

    def verify(self, name: str) -> None:
        """Check that a model's file is still what was installed.

        Raises:
            ModelError: it is not installed, or was changed.
        """
        model = self.model(name)
        if model.sha256 and file_digest(model.path) != model.sha256:
            raise ModelError(f"{name}: its file was changed since it was installed. Remove it and get it again.")

    def remove(self, name: str) -> None:
        """Delete a model from this computer.

        Raises:
            ModelError: it is not installed, the bundled one, or cannot be deleted.
        """
        model = self.model(name)
        if model.is_bundled:
            raise ModelError("The default model is part of the installation and stays.")
        try:
            clear_exported(self.folder, model.sha256)  # first: Windows keeps those that a program runs
            shutil.rmtree(model.path.parent)
        except OSError as error:
            raise ModelError(
                f"{name}: not all of its files could be deleted ({error.strerror}). Close programs that use it, check "
                "the permissions, and remove it again."
            ) from error

    def _write(self, model: StoredModel) -> None:
        data = asdict(model) | {"path": model.path.name}
        file = model.path.with_name("model.json")
        partial = file.with_suffix(".part")
        with writing_to(file.parent):
            partial.write_text(json.dumps(data, indent=2), encoding="utf-8")
            partial.replace(file)

    def _pins(self) -> dict[str, str]:
        file = self.folder / "pins.json"
        try:
            pins = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            return {str(name): str(digest) for name, digest in pins.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{file}: the checksums that downloads recorded cannot be read. Restore it, or delete it to record "
                "them anew."
            ) from error

    def _pin(self, name: str, digest: str) -> None:
        partial = self.folder / ".pins.json"
        pins = json.dumps(self._pins() | {name: digest}, indent=2)
        with writing_to(self.folder):
            partial.write_text(pins, encoding="utf-8")
            partial.replace(self.folder / "pins.json")


def copy_file(source: Path, target: Path, progress: Progress, cancellation: Cancellation) -> str:
    """Copy a file, which appears whole or not at all; returns its SHA-256 (hex)."""
    partial, total, done, sha256 = target.with_name(target.name + ".part"), source.stat().st_size, 0, hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as read, partial.open("wb") as write:
            while chunk := read.read(COPY_CHUNK):
                cancellation.check()
                write.write(chunk)
                sha256.update(chunk)
                done += len(chunk)
                progress(done, total)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files may be there
            target.parent.rmdir()
        raise
    return sha256.hexdigest()


def _read(file: Path) -> StoredModel | None:
    """Read the `model.json` of an installed model; None, with a `ModelWarning`, where it or the weights are damaged."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        known = {each.name: data[each.name] for each in fields(StoredModel)}
        model = StoredModel(**(known | {"path": file.with_name(Path(data["path"]).name)}))
        if model.path.is_file():
            return model
        problem = f"its file {model.path.name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"its {file.name} cannot be read ({type(error).__name__})"
    warnings.warn(
        f"The model in {file.parent} is left out: {problem}. Delete that folder, and install the model again.",
        ModelWarning,
        stacklevel=2,
    )
    return None


def _bundled() -> StoredModel:
    entry = registry.entry("default")
    source = "part of this installation"
    return StoredModel(entry.name, entry.title, entry.purpose, entry.licence, entry.family, "", source, BUNDLED)
