"""Measure 2-D models on lists of images as SAM-Med2D's test does: with a box, and with points one after the other.

A box is that round the mask. The first point lies anywhere in the mask, further ones anywhere in the error; each pass
sees all of them and the previous mask as probabilities. Scores are those of the image's own pixels.

Source: SAM-Med2D `test.py` and `metrics.py`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sammed3d.errors import ModelError, SAMMed3DError, VolumeError
from sammed3d.evaluation import apart, metrics
from sammed3d.evaluation.apart import DIED, Workers
from sammed3d.files.image_lists import ListedImage, check_sizes, names_of, read_mask, read_pixels
from sammed3d.files.outputs import write_rows, write_text
from sammed3d.files.picture import write_png
from sammed3d.inference.images import ImageFrame
from sammed3d.nets.sam_med2d import BestMask, SamMed2d, best_mask
from sammed3d.nets.slicewise import normalised
from sammed3d.simulation.image_prompts import Points, box_of, first_points, points_in_error
from sammed3d.zoo.model import LoadedModel

BOX = "box"
DIGITS = 4
"""Scores are rounded to so many digits before their mean is taken, as published."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageScore:
    """A mask after a box, or after a number of points.

    Attributes:
        image, mask: names of the files; see `image_lists.names_of`.
        structure: name.
        prompt: "box", or "N points".
        iou, dice: scores, rounded to four digits.
    """

    image: str
    mask: str
    structure: str
    prompt: str
    iou: float
    dice: float


@dataclass(frozen=True)
class FixedPrompts:
    """A box and first points of a mask, in pixels of the network's input; see `read_prompts`."""

    box: npt.NDArray[np.float32]
    points: Points


@dataclass(eq=False)
class ImageEvaluation:
    """All scores of a run.

    Attributes:
        model: the model's name.
        seed: seed of the points.
        scores: one for each mask and prompt.
        prompts: the box and first point of each mask, by its file's name.
        failures: a line for each mask that could not be measured.
        stopped: whether it was interrupted before the last image.
    """

    model: str
    seed: int
    scores: list[ImageScore] = field(default_factory=list)
    prompts: dict[str, FixedPrompts] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stopped: bool = False

    def means(self, structure: str | None = None) -> dict[str, dict[str, float]]:
        """Return the mean IoU and Dice of each prompt, of all masks or of those of a structure."""
        chosen = [each for each in self.scores if structure in (None, each.structure)]
        prompts = dict.fromkeys(each.prompt for each in chosen)
        return {
            prompt: {
                name: float(np.mean([getattr(each, name) for each in chosen if each.prompt == prompt]))
                for name in ("iou", "dice")
            }
            for prompt in prompts
        }

    def summary(self) -> dict[str, Any]:
        """Return what tables show: means over all masks, and by structure."""
        structures = sorted({each.structure for each in self.scores})
        return {
            "model": self.model,
            "seed": self.seed,
            "masks": len({each.mask for each in self.scores}),
            "failures": self.failures,
            "all": self.means(),
            "structures": {name: self.means(name) for name in structures},
        }

    def write(self, output: Path) -> None:
        """Write `scores.csv`, `summary.json`, and `prompts.json` in the published form, which `read_prompts` reads."""
        write_rows(output / "scores.csv", [each.name for each in fields(ImageScore)], map(asdict, self.scores))
        write_text(output / "summary.json", json.dumps(self.summary(), indent=1))
        prompts = {
            name: {
                "boxes": [each.box.tolist()],
                "point_coords": each.points[0].tolist(),
                "point_labels": each.points[1].tolist(),
            }
            for name, each in self.prompts.items()
        }
        write_text(output / "prompts.json", json.dumps(prompts, indent=1))


def read_prompts(file: Path) -> dict[str, FixedPrompts]:
    """Read boxes and first points, as SAM-Med2D's test writes them (`256_prompt.json`): by the name of the mask's file.

    Raises:
        VolumeError: it is no such file.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return {
            name: FixedPrompts(
                np.array(each["boxes"], np.float32).reshape(-1, 4)[0],
                (
                    np.array(each["point_coords"], np.float32).reshape(-1, 2),
                    np.array(each["point_labels"], np.int64).reshape(-1),
                ),
            )
            for name, each in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise VolumeError(f"{file}: holds no boxes and points by mask, as SAM-Med2D's test writes them.") from error


def evaluate_images(
    model: LoadedModel,
    listed: Sequence[ListedImage],
    *,
    points: int = 5,
    seed: int = 2023,
    prompts: Mapping[str, FixedPrompts] | None = None,
    device: torch.device | None = None,
    masks_to: Path | None = None,
    names: Mapping[Path, str] | None = None,
    on_score: Callable[[ImageScore], None] = lambda _score: None,
) -> ImageEvaluation:
    """Measure a 2-D model with a box, and with 1, 2, ... points.

    Args:
        model: the model; its preset says how images come into its input.
        listed: the images.
        points: number of points.
        seed: seed of the points; each mask starts from it, so that its points do not depend on the others.
        prompts: boxes and first points to take, by name of the mask's file; what is drawn from the masks if None.
        device: torch device; None for the CPU.
        masks_to: folder for the masks as 0 and 255, `boxes_prompt` and `iterN_prompt` in it; None writes none.
        names: what masks are called, where `listed` are not all images; see `image_lists.names_of`.
        on_score: called after each.

    Raises:
        ModelError: the model is no 2-D model with torch weights.
    """
    network = model.plain_network
    if not isinstance(network, SamMed2d):
        raise ModelError(f"{model.name}: lists of 2-D images are for SAM-Med2D and FT-SAM with torch weights.")
    network = network.to(device or "cpu").eval()
    evaluation, names = ImageEvaluation(model.name, seed), names or names_of(listed)
    for each in listed:
        try:
            pixels = read_pixels(each.image)
            truths = {file: read_mask(file) for file in each.masks}
            check_sizes(each, pixels, truths)
        except SAMMed3DError as error:
            evaluation.failures.append(str(error))
            continue
        frame = ImageFrame.of((pixels.shape[0], pixels.shape[1]), model.preset)
        with torch.inference_mode():
            image = torch.from_numpy(frame.image(pixels))[None].to(device or "cpu")
            embedding = network.encode(normalised(image))
            for file, truth in truths.items():
                if not frame.mask(truth).any():
                    evaluation.failures.append(f"{file}: is empty, or loses all its pixels at {frame.size} pixels.")
                    continue
                name = names[file]
                if prompts is not None and name not in prompts:
                    evaluation.failures.append(f"{file}: the file of prompts has none for it.")
                    continue
                rng = np.random.RandomState(seed)
                first = prompts[name] if prompts is not None else drawn_prompts(frame.mask(truth), rng)
                evaluation.prompts[name] = first
                for prompt, found in _answers(network, embedding, frame, truth, first, points, rng):
                    values = (round(measure(found, truth), DIGITS) for measure in (metrics.iou, metrics.dice))
                    score = ImageScore(each.image.name, name, each.structure_of(file), prompt, *values)
                    evaluation.scores.append(score)
                    on_score(score)
                    if masks_to is not None:
                        place = masks_to / _folder_of(prompt)
                        place.mkdir(parents=True, exist_ok=True)
                        write_png(found.astype(np.uint8) * 255, place / _file_of(name))
    return evaluation


def evaluate_images_apart(
    listed: Sequence[ListedImage],
    measure: Callable[..., ImageEvaluation],
    load: Callable[[], LoadedModel],
    workers: Workers,
    empty: ImageEvaluation,
    on_score: Callable[[ImageScore], None] = lambda _score: None,
) -> ImageEvaluation:
    """Measure images apart from one another; the result is that of `evaluate_images`, in the order of the images.

    An interruption (KeyboardInterrupt) ends it with the images that are done.

    Args:
        listed: the images.
        measure: `evaluate_images` with all its settings, of a model and images; it is sent to other processes.
        load: makes the model.
        workers: where.
        empty: without scores; they are put into it.
        on_score: called after each score of an image that is done.
    """
    lost, stopped = functools.partial(_lost, empty=empty), functools.partial(_stopped, empty=empty)
    for part in apart.parts(listed, measure, load, workers, lost, on_score, stopped):
        empty.model = empty.model if part.stopped else part.model
        empty.stopped = part.stopped
        empty.scores += part.scores
        empty.prompts |= part.prompts
        empty.failures += part.failures
    return empty


def _lost(each: ListedImage, empty: ImageEvaluation) -> ImageEvaluation:
    return replace(empty, scores=[], prompts={}, failures=[f"{each.image}: {DIED}"])


def _stopped(empty: ImageEvaluation) -> ImageEvaluation:
    return replace(empty, scores=[], prompts={}, failures=["the rest: it was stopped."], stopped=True)


def drawn_prompts(mask: Mask, rng: np.random.RandomState) -> FixedPrompts:
    """Return the box round a mask, and a point anywhere in it."""
    return FixedPrompts(box_of(mask), first_points(mask, 1, rng))


def _answers(
    network: SamMed2d,
    embedding: Tensor,
    frame: ImageFrame,
    truth: Mask,
    first: FixedPrompts,
    count: int,
    rng: np.random.RandomState,
) -> Iterator[tuple[str, Mask]]:
    """Yield the mask of a box, then those after each point."""
    wanted = frame.mask(truth)
    box = torch.from_numpy(first.box)[None].to(embedding.device)
    yield BOX, _painted(frame, best_mask(network, embedding, *_tensors(None, embedding), box, None))
    coords, labels = first.points
    answer: BestMask | None = None
    for n in range(1, count + 1):
        if answer is not None:
            new = points_in_error(answer.logits[0, 0].cpu().numpy() > 0, wanted, 1, rng)
            coords, labels = np.concatenate([coords, new[0]]), np.concatenate([labels, new[1]])
        mask = None if answer is None else answer.low_res.sigmoid()
        answer = best_mask(network, embedding, *_tensors((coords, labels), embedding), None, mask)
        yield f"{n} point{'s' if n > 1 else ''}", _painted(frame, answer)


def _tensors(points: Points | None, embedding: Tensor) -> tuple[Tensor, Tensor]:
    if points is None:
        return embedding.new_zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.int64, device=embedding.device)
    return torch.from_numpy(points[0])[None].to(embedding), torch.from_numpy(points[1])[None].to(embedding.device)


def _painted(frame: ImageFrame, answer: BestMask) -> Mask:
    return frame.paint(answer.low_res[0, 0].float().cpu().numpy())


def _file_of(name: str) -> str:
    """Return the file for a mask of that name, which may be a path."""
    return re.sub(r"[\\/:]+", "_", str(Path(name).with_suffix("")).lstrip("/")) + ".png"


def _folder_of(prompt: str) -> str:
    return "boxes_prompt" if prompt == BOX else f"iter{prompt.split(maxsplit=1)[0]}_prompt"
