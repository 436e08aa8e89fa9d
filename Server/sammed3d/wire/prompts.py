"""Prompts in messages: as JSON, but for the mask prompt, which goes as bytes, by its digest, or by those of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sammed3d.inference.answers import KeptLayer
from sammed3d.inference.predictor import PatchBox, PatchClick, PatchPrompts
from sammed3d.wire.arrays import WireError
from sammed3d.wire.kept import is_digest, layers_from_json, layers_to_json

MAX_CLICKS = 1024
_TRUE_OR_FALSE = {
    "from_wide": "a mask prompt is a wide patch's answer",
    "from_mask": "an object started from a mask",
    "raw": "the network's own answer is wanted",
}
_KINDS = frozenset({"clicks", "box", "earlier", "mask", "layers", *_TRUE_OR_FALSE})


def prompts_to_json(prompts: PatchPrompts, mask: str = "", layers: Sequence[KeptLayer] | None = None) -> dict[str, Any]:
    """Write prompts: kinds that are not there are left out.

    Args:
        prompts: the prompts; their mask prompt is not written.
        mask: digest of a mask prompt that the reader has.
        layers: that a mask prompt is made of, whose logits the reader has.
    """
    found: dict[str, Any] = {"clicks": _clicks_to_json(prompts.clicks)}
    if prompts.box is not None:
        found["box"] = [*prompts.box.begin, *prompts.box.end]
    if prompts.earlier:
        found["earlier"] = _clicks_to_json(prompts.earlier)
    if prompts.from_wide:
        found["from_wide"] = True
    if prompts.from_mask:
        found["from_mask"] = True
    if prompts.raw:
        found["raw"] = True
    if mask:
        found["mask"] = mask
    if layers is not None:
        found["layers"] = layers_to_json(layers)
    return found


def mask_named(found: Any) -> str:
    """Read the digest of the mask prompt in what `prompts_to_json` wrote; "" where there is none.

    Raises:
        WireError: it is no digest.
    """
    mask = found.get("mask", "") if isinstance(found, dict) else ""
    if mask != "" and not is_digest(mask):
        raise WireError("A mask prompt is named by its SHA-256, 64 hexadecimal digits.")
    return str(mask)


def layers_named(found: Any) -> tuple[KeptLayer, ...] | None:
    """Read the layers that the mask prompt is made of in what `prompts_to_json` wrote; None where there are none.

    Raises:
        WireError: they are none.
    """
    if not isinstance(found, dict) or "layers" not in found:
        return None
    return layers_from_json(found["layers"])


def prompts_from_json(found: Any, limits: tuple[int, int, int]) -> PatchPrompts:
    """Read what `prompts_to_json` wrote.

    Args:
        found: decoded JSON.
        limits: shape of the patch in which the prompts must lie.

    Raises:
        WireError: it is something else, or holds a kind of prompt that this version does not know.
    """
    if not isinstance(found, dict):
        raise WireError("A prediction needs prompts: an object with a list of clicks.")
    unknown = sorted(set(found) - _KINDS)
    if unknown:
        raise WireError(f"Prompts of the kind {unknown[0][:32]!r} are not known here. Update the older of the two.")
    clicks, earlier = (_clicks(found.get(kind, []), limits) for kind in ("clicks", "earlier"))
    box = _box(found.get("box"), limits)
    said = {word: found.get(word, False) for word in _TRUE_OR_FALSE}
    for word, meaning in _TRUE_OR_FALSE.items():
        if not isinstance(said[word], bool):
            raise WireError(f"Whether {meaning} is true or false.")
    return PatchPrompts(clicks, box, earlier=earlier, **said)


def _clicks_to_json(clicks: Sequence[PatchClick]) -> list[list[float | bool]]:
    return [[*click.voxel, click.positive] for click in clicks]


def _clicks(found: Any, limits: tuple[int, int, int]) -> list[PatchClick]:
    if not isinstance(found, list) or len(found) > MAX_CLICKS:
        raise WireError(f"A prediction needs a list of clicks, at most {MAX_CLICKS}.")
    return [_click(click, limits) for click in found]


def _click(click: Any, limits: tuple[int, int, int]) -> PatchClick:
    if not isinstance(click, list) or len(click) != 4 or not isinstance(click[3], bool):
        raise WireError("A click is [r, a, s, positive].")
    if not _all_within(click[:3], limits):
        raise WireError("A click lies outside the patch.")
    return PatchClick((float(click[0]), float(click[1]), float(click[2])), click[3])


def _box(box: Any, limits: tuple[int, int, int]) -> PatchBox | None:
    if box is None:
        return None
    ends = tuple(n + 1 for n in limits)  # its last corner may be one past the last voxel
    if not isinstance(box, list) or len(box) != 6 or not _all_within(box[:3], limits) or not _all_within(box[3:], ends):
        raise WireError("A box is [r, a, s, r, a, s], its first and last corner in the patch.")
    a, b, c, d, e, f = (float(v) for v in box)
    return PatchBox((a, b, c), (d, e, f))


def _all_within(place: list[Any], limits: tuple[int, ...]) -> bool:
    numbers = [v for v in place if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return len(numbers) == 3 and all(0 <= v < n for v, n in zip(numbers, limits, strict=True))
