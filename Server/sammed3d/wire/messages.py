"""Every path, header and message of the native protocol. Client and server write and read them here and nowhere else.

A message is the length of its head (4 bytes, little-endian), a head of JSON, and bytes: of a question the mask prompt,
of an answer the logits, both packed as `arrays.py` describes. Who asks for an outline is sent that of the logits
(`outlines.py`) by a server that knows what it is, and the logits by an older one; the answer's head says which.

A server that says so (`keeps_masks`) keeps for a while the mask prompts that it was sent and the whole logits that it
answered, and is then told the digest in their place. What it no longer has it names in a 404, and is sent it again. One
that says so (`keeps_answers`) keeps those too of which it sent the outline; the answer's head names them. It makes mask
prompts of them, and sends some of their logits (`kept.py`).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from sammed3d.core.interpolation import Float32
from sammed3d.errors import SAMMed3DError
from sammed3d.inference.answers import Fading, KeptAnswer, KeptLayer
from sammed3d.inference.predictor import Capabilities, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset
from sammed3d.inference.windows import WIDE
from sammed3d.wire import outlines
from sammed3d.wire.arrays import WireError, pack, unpack
from sammed3d.wire.kept import fading_from_json, is_digest
from sammed3d.wire.prompts import MAX_CLICKS, layers_named, mask_named, prompts_from_json, prompts_to_json
from sammed3d.wire.strict_json import JsonError, decode_object

PROTOCOL = 2
PROTOCOL_HEADER = "X-SAMMed3D-Protocol"
MISSING_HEADER = "X-SAMMed3D-Missing"
"""Says of a 404 what is not there: `MISSING_PATCH`, `MISSING_MODEL` or `MISSING_MASK`; of a 401 that no key came."""
MISSING_PATCH, MISSING_MODEL, MISSING_MASK, MISSING_KEY = "patch", "model", "mask", "key"
PROBLEM = "application/problem+json"
"""Media type of refusals."""
REQUEST_ID_HEADER = "X-Request-Id"
"""On every answer of the server: its log says more under this id."""
ROUTING_HEADER = "X-Session-Id"
"""Names the patch that a request is about (its digest), so that a router between client and several servers can send
all requests about a patch to the same one."""
BINARY = "application/octet-stream"

LIVE = "/livez"
READY = "/readyz"
INFO = "/v1/info"
PATCH = "/v1/patches/{digest}"
PREDICTIONS = "/v1/patches/{digest}/predictions"
PREDICTION = "/v1/predictions/{request_id}"
LOGITS = "/v1/logits/{digest}"
"""Some of the logits of an answer: `kept.py` says which are asked for, and how they come."""
CANCELLED = 499
"""Status of a prediction that its client cancelled."""

SIGN = bytes(4)
"""A sign of life before an answer: the length of a head that is not there."""
SIGN_SECONDS = 5.0
_LENGTH = struct.Struct("<I")
_ANYWHERE = (4096, 4096, 4096)
MOST_CANDIDATES = 16
"""Masks that a model weighs, at most: SAM-Med2D makes three."""


def about_protocols(server: object, program: object) -> str:
    """Say which protocols a server and a program of its client speak, and which of the two has to be updated."""
    older = "older of the two"
    if isinstance(server, int) and isinstance(program, int):
        older = "server" if server < program else "program"
    return f"The server speaks protocol {server}, this program {program}. Update the {older}."


@dataclass(frozen=True)
class Turn:
    """The place of a question among those of one client.

    Attributes:
        session: the client's own word for itself.
        number: grows with each question; a later one makes the earlier ones superfluous.
    """

    session: str
    number: int


@dataclass(frozen=True, eq=False)
class Question:
    """What a client wants to know about a patch that the server has.

    Attributes:
        model: name of the model.
        request: id of the question, letters and digits, by which it can be cancelled.
        prompts: the prompts, in voxels of the patch.
        turn: its place among the client's questions; None where all of them count.
        signs: whether the server shall send a sign of life (`SIGN`) every `SIGN_SECONDS` while it computes.
        outline: whether the outline of the logits is enough.
        fading: how it is laid over what the mask prompt shows; None where it is not. Older servers then send the whole.
        mask: digest of a mask prompt that the server keeps, in place of that of `prompts`; "" for none.
        layers: what the mask prompt is made of, in place of that of `prompts`; None where it is not. The answers that
            they name are the server's own, which it keeps.
        candidates: whether all masks that the model weighs are wanted, whole.
        weights: SHA-256 (hex) of the weights that are meant; "" for those that the model has, whichever they are.
    """

    model: str
    request: str
    prompts: PatchPrompts
    turn: Turn | None = None
    signs: bool = False
    outline: bool = False
    fading: Fading | None = None
    mask: str = ""
    layers: tuple[KeptLayer, ...] | None = None
    candidates: bool = False
    weights: str = ""

    def to_bytes(self, palettes: bool = False) -> bytes:
        """Write the message; a mask prompt of few values as `arrays.pack` does where the reader knows palettes."""
        head: dict[str, Any] = {
            "model": self.model,
            "request": self.request,
            "prompts": prompts_to_json(self.prompts, self.mask, self.layers),
            **({"weights": self.weights} if self.weights else {}),
            **({"signs": True} if self.signs else {}),
            **({"outline": True if self.fading is None else asdict(self.fading)} if self.outline else {}),
            **({"candidates": True} if self.candidates else {}),
            **({} if self.turn is None else {"session": self.turn.session, "turn": self.turn.number}),
        }
        mask_prompt = self.prompts.mask_prompt
        return join(head, b"" if mask_prompt is None else pack(mask_prompt, palettes))

    @classmethod
    def from_bytes(
        cls, message: bytes, presets: Mapping[str, Preset], weights: Mapping[str, str] = MappingProxyType({})
    ) -> Question:
        """Read and check the message; of a model without a preset, or with other weights, the mask prompt is not read.

        What `mask` names, and `layers` make, has to be put into the prompts by who has it.

        Args:
            message: the bytes that came.
            presets: presets by the model's name.
            weights: SHA-256 of the weights by the model's name.

        Raises:
            WireError: it is no such message.
            PromptError: the model does not know these prompts.
        """
        head, rest = split(message)
        model, request = head.get("model"), head.get("request")
        if (
            not isinstance(model, str)
            or not isinstance(request, str)
            or not re.fullmatch(r"[A-Za-z0-9_]{1,64}", request)
        ):
            raise WireError("A prediction needs a model and a request id (letters and digits).")
        meant = head.get("weights", "")
        if meant != "" and not is_digest(meant):
            raise WireError("Weights are named by their SHA-256, 64 hexadecimal digits.")
        preset = presets.get(model) if meant in ("", weights.get(model, meant)) else None
        limits = _ANYWHERE if preset is None else preset.patch_shape
        mask_prompt = unpack(rest, preset.low_res_shape) if len(rest) and preset is not None else None
        told = head.get("prompts")
        prompts, mask, layers = prompts_from_json(told, limits), mask_named(told), layers_named(told)
        if sum((bool(mask), layers is not None, len(rest) > 0)) > 1:
            raise WireError("A mask prompt comes along, is named, or is made of layers; one of these.")
        if any(n > WIDE * m for layer in layers or () for n, m in zip(layer.window.shape, limits, strict=True)):
            raise WireError(f"The window of a layer is at most {WIDE} times as wide as the patch.")
        prompts = replace(prompts, mask_prompt=mask_prompt)
        prompts.check(preset or Preset(boxes=True))
        outline = head.get("outline")
        fading = fading_from_json(outline) if isinstance(outline, dict) else None
        candidates = head.get("candidates") is True
        outlined = not candidates and (outline is True or fading is not None)
        wishes: dict[str, Any] = {
            "signs": head.get("signs") is True,
            "outline": outlined,
            "candidates": candidates,
            "weights": meant,
        }
        return cls(model, request, prompts, _turn_of(head), fading=fading, mask=mask, layers=layers, **wishes)


@dataclass(frozen=True)
class ModelInfo:
    """What a server says of a model.

    Attributes:
        name: the name by which clients ask for it.
        title: shown to users.
        sha256: SHA-256 (hex) of the file of weights.
        licence: its SPDX name or a sentence; "" where nobody knows.
        preset: its preprocessing.
        capabilities: its capabilities beyond clicks.
        device: the device that it runs on, in words.
    """

    name: str
    title: str
    sha256: str
    licence: str
    preset: Preset
    capabilities: Capabilities = field(default_factory=Capabilities)
    device: str = ""

    def to_json(self) -> dict[str, Any]:
        """Write it."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {"preset": self.preset.to_json(), "capabilities": asdict(self.capabilities)}

    @classmethod
    def from_json(cls, found: Any) -> ModelInfo:
        """Read it; capabilities that this version does not know are left out.

        Raises:
            WireError: it is something else.
        """
        try:
            known = {each.name for each in fields(Capabilities)}
            capabilities = {str(k): bool(v) for k, v in found["capabilities"].items() if k in known}
            texts = {name: str(found[name]) for name in ("name", "title", "sha256", "licence", "device")}
            return cls(**texts, preset=Preset.from_json(found["preset"]), capabilities=Capabilities(**capabilities))
        except (KeyError, TypeError, AttributeError, ValueError, SAMMed3DError) as error:
            raise WireError("The description of a model cannot be read. Update the older of the two.") from error


def info_to_json(models: list[ModelInfo], max_body: int) -> dict[str, Any]:
    """Write what a server says of itself."""
    limits = {"body": max_body, "clicks": MAX_CLICKS}
    described = [model.to_json() for model in models]
    does = dict.fromkeys(("keeps_masks", "keeps_answers", "takes_colours", "shows_candidates"), True)
    return {"protocol": PROTOCOL, "models": described, "limits": limits, **does}


class RefusalError(SAMMed3DError):
    """What a server says after signs of life where there is no answer, since the status has been sent by then.

    Attributes:
        status: the status code of HTTP that it would have had.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def refusal_to_bytes(status: int, detail: str) -> bytes:
    """Write why there is no answer."""
    return join({"refused": {"status": status, "detail": detail}})


def answer_to_bytes(
    prediction: Prediction,
    outline_on: tuple[int, int, int] | None = None,
    seen: Float32 | None = None,
    fading: Fading | None = None,
    kept: str = "",
) -> bytes:
    """Write a prediction.

    Args:
        prediction: the prediction; candidates, where it has some, are written whole in its place.
        outline_on: voxels of the patch, where the outline of finite logits is enough.
        seen: the question's mask prompt, where the outline is laid over what that shows.
        fading: how it is.
        kept: digest of the logits, where the server keeps them.
    """
    head: dict[str, Any] = {"score": prediction.score, "seconds": dict(prediction.seconds)}
    if kept:
        head["logits"] = kept
    if prediction.candidates:
        head["candidates"] = [each.score for each in prediction.candidates]
        return join(head, pack(np.concatenate([each.low_res for each in prediction.candidates], axis=2)))
    if outline_on is None or not np.isfinite(prediction.low_res).all():
        return join(head, pack(prediction.low_res))
    return join({**head, "outline": True}, outlines.pack(prediction.low_res, outline_on, seen, fading))


def answer_from_bytes(message: bytes, shape: tuple[int, int, int], patch: str = "") -> Prediction:
    """Read a prediction; signs of life before it are skipped.

    Args:
        message: the bytes that came.
        shape: shape of the logits.
        patch: digest of the patch that was asked about.

    Raises:
        WireError: it is no such message.
        RefusalError: it says why there is no prediction.
    """
    begin = 0
    while message[begin : begin + len(SIGN)] == SIGN:
        begin += len(SIGN)
    head, body = split(message[begin:] if begin else message)
    if isinstance(refused := head.get("refused"), dict):
        status = refused.get("status")
        raise RefusalError(status if isinstance(status, int) else 500, str(refused.get("detail", "")))
    whole = head.get("outline") is not True
    candidates = _candidates(head["candidates"], body, shape) if "candidates" in head else ()
    if candidates:
        low_res, bounds = candidates[0].low_res, None
    else:
        low_res, bounds = (unpack(body, shape).copy(), None) if whole else outlines.unpack(body, shape)
    try:
        seconds = {str(name): float(value) for name, value in head["seconds"].items()}
        score = None if head.get("score") is None else float(head["score"])
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise WireError("The answer's head is not that of a prediction.") from error
    kept = KeptAnswer(patch, head["logits"]) if is_digest(head.get("logits")) else None
    return Prediction(low_res, score, seconds, whole, bounds, kept, candidates)


def _candidates(scores: Any, body: memoryview, shape: tuple[int, int, int]) -> tuple[Prediction, ...]:
    """Read candidates, which lie one behind the other."""
    if not isinstance(scores, list) or not 0 < len(scores) <= MOST_CANDIDATES or not all(map(_is_score, scores)):
        raise WireError("The scores of candidates are not numbers, or none, or too many.")
    together = unpack(body, (*shape[:2], shape[2] * len(scores))).copy()
    parts = np.split(together, len(scores), axis=2)
    return tuple(Prediction(part, score) for part, score in zip(parts, scores, strict=True))


def _is_score(score: Any) -> bool:
    return score is None or (isinstance(score, int | float) and not isinstance(score, bool))


def join(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Join a JSON head and bytes to one message."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text + body


def split(message: bytes, longest_head: int = 1 << 20) -> tuple[dict[str, Any], memoryview]:
    """Split a message into its JSON head and its bytes.

    Raises:
        WireError: it is no such message.
    """
    if len(message) < _LENGTH.size:
        raise WireError("The message is cut off.")
    (length,) = _LENGTH.unpack_from(message)
    if length > min(longest_head, len(message) - _LENGTH.size):
        raise WireError("The message's head is cut off or too long.")
    view = memoryview(message)
    try:
        head = decode_object(view[_LENGTH.size : _LENGTH.size + length])
    except JsonError as error:
        raise WireError(f"The message's head cannot be read. {error}") from error
    return head, view[_LENGTH.size + length :]


def _turn_of(head: dict[str, Any]) -> Turn | None:
    session, number = head.get("session"), head.get("turn")
    if session is None:
        return None
    if not isinstance(session, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", session) or type(number) is not int:
        raise WireError("A session is letters and digits, its turn a whole number.")
    return Turn(session, number)
