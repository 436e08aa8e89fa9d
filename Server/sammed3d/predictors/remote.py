"""The predictor that asks a server. It needs `requests` alone, and sends patches and prompts, nothing else."""

from __future__ import annotations

import secrets
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import numpy as np

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.interpolation import Float32, Marked
from sammed3d.errors import ModelError, ModelReplacedError, ModelWarning, PredictionCancelled
from sammed3d.inference.answers import Fading, KeptAnswer, KeptLayer
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts, Prediction, digest_of
from sammed3d.predictors.diagnosis import diagnose, explain, models_of, served_models
from sammed3d.predictors.patch_uploads import PatchUploads
from sammed3d.predictors.sent import Sent
from sammed3d.predictors.transport import RETRIED, Reply, Transport
from sammed3d.wire import messages
from sammed3d.wire.arrays import WireError
from sammed3d.wire.kept import MAX_LAYERS, is_digest, logits_from_bytes, marks_to_bytes
from sammed3d.wire.loopback import is_loopback
from sammed3d.wire.messages import ModelInfo, Question, RefusalError, Turn
from sammed3d.wire.strict_json import decode_object

__all__ = ["RemotePredictor", "diagnose", "served_models"]

PATIENCE = 60.0
"""Seconds during which a server that restarts or is busy is asked again."""
IN_THE_CLEAR = (
    "images, clicks and the key go there unencrypted, for everybody on the way to read. Ask the administrator for an "
    "address that begins with https://."
)
FORGOTTEN = 3


@dataclass(frozen=True)
class _Wish:
    """How a question is to be answered: see the fields of `Question`."""

    outline: bool = False
    fading: Fading | None = None
    layers: tuple[KeptLayer, ...] | None = None
    candidates: bool = False


class _ForgottenError(Exception):
    """The server does not keep a layer (any more)."""


class RemotePredictor:
    """Ask a server for predictions; the same answers as in this process, from the server's hardware.

    Args:
        url: the server's address, for example "https://gpu.hospital.example:8443".
        model: name of a model that it serves.
        key: the user's key; "" where none is needed.
        verify: True, or a file with the certificates of the authority that signed the server's.
        proxies: whether to use the proxies of the environment.
        patience: seconds during which a server that restarts or is busy is asked again.

    Raises:
        ModelError: the server cannot be reached (one try), refuses the key, speaks another protocol or lacks the model.

    Warns:
        ModelWarning: the connection is not encrypted, and leaves this computer.

    The server keeps nothing that is needed: a patch or a mask prompt that it forgot is sent again without a word. Where
    it runs another model under the name, questions end with ModelReplacedError: patches are cut for the one before.
    """

    def __init__(
        self,
        url: str,
        model: str = "default",
        *,
        key: str = "",
        verify: bool | str = True,
        proxies: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self._transport = Transport(url, key, verify, proxies, patience)
        self.url = self._transport.url
        where = urlsplit(self.url)
        if where.scheme == "http" and not is_loopback(where.hostname or ""):
            warnings.warn(f"{self.url}: {IN_THE_CLEAR}", ModelWarning, stacklevel=2)
        self._patience = patience
        self._patches = PatchUploads(self._transport)
        self._masks = Sent()
        self._lost = Sent()
        self._keeps_masks = self._keeps_answers = self._takes_colours = self._shows_candidates = False
        self._turns = threading.local()
        self._next = threading.local()
        info = self._info()
        described = next((m for m in info if m.name == model), None)
        if described is None:
            served = ", ".join(m.name for m in info) or "none"
            raise ModelError(f"{self.url}: does not serve the model {model!r} (served: {served}). Choose another one.")
        self._model = model
        self.name = f"{described.title} on {urlsplit(self.url).netloc}"
        self._weights = described.sha256 if is_digest(described.sha256) else ""
        self.preset = described.preset
        self.capabilities = described.capabilities

    def predict(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None) -> Prediction:
        """Apply a box and clicks in order; see `Predictor.predict`.

        Raises:
            ModelError: the server cannot be reached within the patience, or refuses.
        """
        return self._ask(patch, prompts, cancellation)

    def send_next(self, patch: Patch) -> None:
        """Send a patch while the next question of this thread is answered; see `OutlinePredictor`."""
        self._next.patch = patch

    def predict_outline(
        self,
        patch: Patch,
        prompts: PatchPrompts,
        cancellation: Cancellation | None = None,
        fading: Fading | None = None,
    ) -> Prediction:
        """Answer with a tenth of the bytes, or with all logits where the server is older; see `OutlinePredictor`.

        Raises:
            ModelError: a reason of `predict`.
        """
        return self._ask(patch, prompts, cancellation, _Wish(True, fading))

    def predict_over(
        self,
        patch: Patch,
        prompts: PatchPrompts,
        layers: Sequence[KeptLayer],
        cancellation: Cancellation | None = None,
        fading: Fading | None = None,
    ) -> Prediction | None:
        """Answer with a mask prompt that the server makes of answers that it keeps; see `OutlinePredictor`.

        Raises:
            ModelError: a reason of `predict`.
        """
        seen = patch.digest, tuple(layers)
        if not self._keeps_answers or len(layers) > MAX_LAYERS or seen in self._lost:
            return None
        try:
            return self._ask(patch, prompts, cancellation, _Wish(fading is not None, fading, tuple(layers)))
        except _ForgottenError:
            self._lost.add(seen)
            return None

    def logits_of(self, answer: KeptAnswer, marked: Marked, cancellation: Cancellation | None = None) -> Float32 | None:
        """Return some logits of an answer that the server keeps; see `OutlinePredictor`.

        Raises:
            ModelError: a reason of `predict`.
        """
        path = messages.LOGITS.format(digest=answer.logits)
        body = marks_to_bytes(marked)
        reply = self._transport.ask("POST", path, cancellation or Cancellation(), body, digest=answer.patch)
        if reply.status in (404, 405):
            return None
        if reply.status != 200:
            raise ModelError(f"{self.url}: {explain(reply)}")
        try:
            return logits_from_bytes(reply.content, int(np.count_nonzero(marked)))
        except WireError as error:
            raise ModelError(f"{self.url}: sent something that is no logits ({error}).") from error

    def _ask(
        self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None, wish: _Wish | None = None
    ) -> Prediction:
        wish = wish or _Wish()
        ahead, self._next.patch = getattr(self._next, "patch", None), None
        prompts.check(self.preset)
        if patch.voxels.shape != self.preset.patch_shape and not self._takes_colours:
            raise ModelError(
                f"{self.url}: takes grey pictures only. Update it, predict on this computer, or open the file in grey."
            )
        cancellation = cancellation or Cancellation()
        begin, forgotten = time.perf_counter(), 0
        while True:
            self._patches.see_to(patch, cancellation)
            self._patches.begin_to_send(ahead)
            ahead = None
            cancellation.enter("decode")
            reply = self._post(patch, prompts, cancellation, wish)
            if reply.status == 404 and reply.headers.get(messages.MISSING_HEADER) == messages.MISSING_PATCH:
                forgotten += 1  # a patch may be forgotten between its upload and its use
                if forgotten == FORGOTTEN:
                    raise ModelError(f"{self.url}: forgets patches as soon as they come; --cache-mib is too small.")
                self._patches.forget(patch)
                continue
            if reply.status == 404 and reply.headers.get(messages.MISSING_HEADER) == messages.MISSING_MODEL:
                raise ModelReplacedError(
                    f"{self.url}: the model {self._model!r} was removed or replaced there: its answers would not go "
                    "with those so far. Nothing was changed. Click again, or connect anew, to go on with the new one."
                )
            if wish.layers is not None and (reply.status == 422 or _lacks_mask(reply)):
                self._keeps_answers = reply.status != 422  # an older version has taken the server's place, perhaps
                raise _ForgottenError
            if self._sent_otherwise(reply, patch, prompts):
                continue
            try:
                found = self._read(reply, time.perf_counter() - begin, patch)
            except RefusalError as refusal:
                self._refused(refusal, time.perf_counter() - begin)
                cancellation.wait(1.0)
                continue
            self._note_masks(patch, prompts, None if wish.outline else found.low_res)
            return found

    def _note_masks(self, patch: Patch, prompts: PatchPrompts, answer: Float32 | None) -> None:
        """Take note of what the server keeps: the mask prompt, and the answer if all of it was asked for."""
        if not self._keeps_masks:
            return
        if prompts.mask_prompt is not None:
            self._masks.add((patch.digest, prompts.mask_digest))
        if answer is not None:
            self._masks.add((patch.digest, digest_of(answer)))

    def _sent_otherwise(self, reply: Reply, patch: Patch, prompts: PatchPrompts) -> bool:
        """Whether a question that was refused is worth another try, since its mask prompt may go in another way."""
        if prompts.mask_prompt is None or not self._keeps_masks:
            return False
        if _lacks_mask(reply):
            self._masks.forget((patch.digest, prompts.mask_digest))
            return True
        self._keeps_masks = reply.status != 422  # an older version has taken the server's place, perhaps
        return not self._keeps_masks

    def predict_each(
        self,
        patch: Patch,
        clicks: Sequence[PatchClick],
        passes: int = 1,
        cancellation: Cancellation | None = None,
    ) -> Float32:
        """Answer each of several clicks as the only one of an object of its own; see `TorchPredictor.predict_each`.

        Sends a request for each click and pass.

        Raises:
            ModelError: the server is older, and would answer as it does to users who click; or a reason of `predict`.
        """
        raw = self.capabilities.looks_wide  # the answers of no other models are anything else
        answers = []
        for click in clicks:
            low_res: Float32 | None = None
            for _ in range(passes):
                low_res = self.predict(patch, PatchPrompts([click], mask_prompt=low_res, raw=raw), cancellation).low_res
            answers.append(low_res)
        return np.stack([answer for answer in answers if answer is not None])

    def candidates(
        self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None
    ) -> tuple[Prediction, ...]:
        """Return all masks that the model weighs after the last prompt; see `TorchPredictor.candidates`.

        Raises:
            ModelError: the server is older and does not tell, or a reason of `predict`.
        """
        found = (
            self._ask(patch, prompts, cancellation, _Wish(candidates=True)).candidates if self._shows_candidates else ()
        )
        if not found:
            raise ModelError(f"{self.url}: shows no candidates. Update it, or predict on this computer.")
        return found

    def close(self) -> None:
        """Close the connections to the server; a later request opens new ones."""
        self._transport.session.close()

    def _post(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation, wish: _Wish) -> Reply:
        request = secrets.token_hex(16)
        mask = ""
        if prompts.mask_prompt is not None and self._keeps_masks and (patch.digest, prompts.mask_digest) in self._masks:
            mask, prompts = prompts.mask_digest, replace(prompts, mask_prompt=None)
        question = Question(
            self._model,
            request,
            prompts,
            self._turn(),
            True,
            wish.outline,
            wish.fading,
            mask,
            wish.layers,
            wish.candidates,
            self._weights,
        )
        body = question.to_bytes(palettes=self._keeps_masks)
        path, stop = (
            form.format(digest=patch.digest, request_id=request) for form in (messages.PREDICTIONS, messages.PREDICTION)
        )
        with cancellation.calling(lambda: self._transport.tell("DELETE", stop, patch.digest)):
            return self._transport.ask("POST", path, cancellation, body, digest=patch.digest)

    def _turn(self) -> Turn:
        """Number the requests of a thread: it waits for one at a time, so a newer one makes an older one void."""
        if not hasattr(self._turns, "session"):
            self._turns.session, self._turns.number = secrets.token_hex(16), 0
        self._turns.number += 1
        return Turn(self._turns.session, self._turns.number)

    def _read(self, reply: Reply, elapsed: float, patch: Patch) -> Prediction:
        if reply.status == messages.CANCELLED:
            raise PredictionCancelled("The prediction was cancelled; nothing was changed.")
        if reply.status != 200:
            raise ModelError(f"{self.url}: {explain(reply)}")
        try:
            found = messages.answer_from_bytes(reply.content, self.preset.low_res_shape, patch.digest)
        except WireError as error:
            raise ModelError(f"{self.url}: answered something that is no prediction ({error}).") from error
        network = max(0.0, elapsed - sum(found.seconds.values()))
        return replace(found, seconds={**found.seconds, "network": network})

    def _refused(self, refusal: RefusalError, elapsed: float) -> None:
        """Raise what a refusal after signs of life means; nothing where it is worth another try."""
        if refusal.status == messages.CANCELLED:
            raise PredictionCancelled("The prediction was cancelled; nothing was changed.")
        if refusal.status not in RETRIED or elapsed > self._patience:
            raise ModelError(f"{self.url}: {refusal} (HTTP {refusal.status})")

    def _info(self) -> list[ModelInfo]:
        # The first contact is not repeated: a wrong address should be known at once, and nobody can cancel this.
        reply = self._transport.ask("GET", messages.INFO, Cancellation(), patience=0)
        if reply.status != 200:
            raise ModelError(f"{self.url}: {explain(reply)}")
        try:
            models = models_of(reply)
        except ModelError as error:
            raise ModelError(f"{self.url}: {error}") from error
        told = decode_object(reply.content)
        words = "keeps_masks", "keeps_answers", "takes_colours", "shows_candidates"
        does = [told.get(word) is True for word in words]
        self._keeps_masks, self._keeps_answers, self._takes_colours, self._shows_candidates = does
        return models


def _lacks_mask(reply: Reply) -> bool:
    """Whether the server says that it has a mask prompt, or an answer, no longer."""
    return reply.status == 404 and reply.headers.get(messages.MISSING_HEADER) == messages.MISSING_MASK
