"""Saved prompts with another model: what becomes of masks that users accepted, case by case.

Every case that is done is a file of its own, so that a run which was stopped, or a process that died, costs what was
under way and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sammed3d.core import prompt_files
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import ModelError, SAMMed3DError, VolumeError
from sammed3d.evaluation import apart, metrics
from sammed3d.evaluation.apart import DIED, Workers
from sammed3d.files.datasets import Case, read_labels
from sammed3d.files.outputs import make_folder, write_rows, write_text
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.session import Session

PROMPTS = "prompts.json"


@dataclass(frozen=True)
class Difference:
    """A structure, as it was accepted and as the model sees it with the same prompts.

    Attributes:
        case: name.
        structure: name.
        clicks: how many there were.
        dice: Dice of the new mask with the accepted one; NaN where the case has no label map of it.
        accepted_ml: volume of the accepted mask; NaN likewise.
        new_ml: volume of the new mask.
        problem: why there is no new mask; "" for nothing.
    """

    case: str
    structure: str
    clicks: int
    dice: float = math.nan
    accepted_ml: float = math.nan
    new_ml: float = math.nan
    problem: str = ""


@dataclass(frozen=True)
class ReplayCase:
    """An image with saved prompts.

    Attributes:
        name: name of its folder.
        image: file.
        prompts: file.
        labels: its label maps, where there are some.
    """

    name: str
    image: Path
    prompts: Path
    labels: tuple[Case, ...]


def cases_to_replay(cases: Sequence[Case]) -> tuple[list[ReplayCase], int]:
    """Return the images that have prompts beside them, and how many have none.

    Raises:
        VolumeError: none has prompts.
    """
    by_image: dict[Path, list[Case]] = {}
    for case in cases:
        by_image.setdefault(case.image, []).append(case)
    found = [
        ReplayCase(of[0].group or of[0].name, image, image.with_name(PROMPTS), tuple(c for c in of if c.label))
        for image, of in sorted(by_image.items())
        if image.with_name(PROMPTS).is_file()
    ]
    if not found:
        raise VolumeError(f"No case has prompts ({PROMPTS} beside its image). `sammed3d collect` keeps them.")
    return found, len(by_image) - len(found)


def replay_case(case: ReplayCase, predictor: Predictor, output: Path) -> list[Difference]:
    """Apply a case's prompts and write its masks (`NAME.seg.nrrd`), where earlier ones are removed.

    Args:
        case: the image and its saved prompts.
        predictor: the model.
        output: folder of the masks.
    """
    file = output / f"{case.name}.seg.nrrd"
    file.unlink(missing_ok=True)
    try:
        volume = Volume.read(case.image)
        session = Session(volume, predictor)
        objects = prompt_files.read(case.prompts)
    except SAMMed3DError as error:
        return [Difference(case.name, "", 0, problem=str(error))]
    accepted = _accepted(case, volume)
    found = [_difference(case.name, prompts, session, accepted.get(prompts.name)) for prompts in objects]
    if any(not each.problem for each in found):
        session.save(file)
    return found


def replay(
    cases: Sequence[ReplayCase],
    load: Callable[[], Predictor],
    output: Path,
    model: str,
    workers: Workers | None = None,
    on_case: Callable[[ReplayCase, Sequence[Difference]], None] = lambda _case, _found: None,
    files: Sequence[Path] = (),
    force: bool = False,
) -> list[Difference]:
    """Apply the prompts of all cases that are not done yet, or that have changed since.

    Args:
        cases: images with their saved prompts.
        load: makes the predictor; called once in each process, so it has to be a function that can be sent there.
        output: folder of the results; goes on from there.
        model: by which the results of another model are told apart.
        workers: where cases are worked on; None for this process.
        on_case: called after each case.
        files: the model's files or folders; where what they hold has changed, cases are done again.
        force: whether all cases are done again.

    Raises:
        ModelError: the folder holds results of another model.
    """
    done = output / "cases"
    make_folder(done)
    mark = output / "model.json"
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) != model:
        raise ModelError(f"{output}: holds results of another model. Choose another folder.")
    write_text(mark, json.dumps(model))
    model_digest = _digest(files)
    digests = {case.name: _digest(_files_of(case), model_digest + _names_of(case)) for case in cases}
    waiting = [case for case in cases if force or _done(done / f"{case.name}.json", digests[case.name]) is None]
    work = functools.partial(replay_case, output=output)
    for index, found in apart.each(waiting, work, load, workers or Workers(), _lost):
        case = waiting[index]
        entry = {"digest": digests[case.name], "found": [asdict(each) for each in found]}
        write_text(done / f"{case.name}.json", json.dumps(entry))
        on_case(case, found)
    return [
        Difference(**values) for case in cases for values in _done(done / f"{case.name}.json", digests[case.name]) or ()
    ]


def _done(file: Path, digest: str) -> list[dict[str, Any]] | None:
    """Return what a case's file holds; None where there is none, or one of a case or model that has changed since."""
    entry = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    if not isinstance(entry, dict) or entry.get("digest") != digest:
        return None
    found: list[dict[str, Any]] = entry["found"]
    return found


def _files_of(case: ReplayCase) -> list[Path]:
    return [case.image, case.prompts, *(each.label for each in case.labels if each.label is not None)]


def _names_of(case: ReplayCase) -> str:
    return repr([sorted(each.names.items()) for each in case.labels])


def _digest(paths: Iterable[Path], besides: str = "") -> str:
    """Return the SHA-256 (hex) of what files and folders hold, and of a text; what is not there counts as nothing."""
    digest = hashlib.sha256(besides.encode())
    for path in paths:
        for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if part.is_file():
                with part.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _lost(case: ReplayCase) -> list[Difference]:
    return [Difference(case.name, "", 0, problem=DIED)]


def write_table(found: Sequence[Difference], file: Path) -> None:
    """Write differences as CSV, the largest first."""
    write_rows(file, [field.name for field in fields(Difference)], map(asdict, sorted(found, key=_rank)))


def _rank(each: Difference) -> tuple[bool, float]:
    """Order: what has no mask, then the least alike, what has nothing to compare with last."""
    return not each.problem, math.inf if math.isnan(each.dice) else each.dice


def _accepted(case: ReplayCase, volume: Volume) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the accepted masks by structure; labels of one name are one, whichever label maps they are in."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for label in case.labels:
        try:
            labels = read_labels(label, volume.grid)
        except SAMMed3DError:
            continue
        for name, values in label.structures_in(labels).items():
            inside = np.isin(labels, values)
            found[name] = inside | found[name] if name in found else inside
    return found


def _difference(
    case: str, prompts: ObjectPrompts, session: Session, accepted: npt.NDArray[np.bool_] | None
) -> Difference:
    if prompts.initial_mask is not None:
        return Difference(case, prompts.name, len(prompts.clicks), problem="started from a mask, which is not kept")
    session.add_object(prompts.name)
    try:
        session.set_prompts(prompts)
    except SAMMed3DError as error:
        return Difference(case, prompts.name, len(prompts.clicks), problem=str(error))
    mask = session.mask()
    ml = session.volume.grid.voxel_volume / 1000
    new = float(np.count_nonzero(mask)) * ml
    if accepted is None:
        return Difference(case, prompts.name, len(prompts.clicks), new_ml=new)
    same = metrics.dice(mask, accepted)
    return Difference(case, prompts.name, len(prompts.clicks), same, float(accepted.sum()) * ml, new)


def means(found: Sequence[Difference]) -> Mapping[str, float]:
    """Return the mean Dice of each structure that was compared."""
    by_structure: dict[str, list[float]] = {}
    for each in found:
        if not math.isnan(each.dice):
            by_structure.setdefault(each.structure, []).append(each.dice)
    return {name: float(np.mean(values)) for name, values in sorted(by_structure.items())}
