"""The predictor that runs a network in this process with torch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from sammed3d.core.cache import LRUCache
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.freed_memory import keep_freed
from sammed3d.core.interpolation import Float32
from sammed3d.errors import ModelError, PromptError
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import Capabilities, PatchBox, PatchClick, PatchPrompts, Prediction, Prompt
from sammed3d.inference.preset import Preset
from sammed3d.predictors.device import Precision, check_not_forked, choose_device, choose_precision, limit_threads
from sammed3d.predictors.network import Network, WeighingNetwork
from sammed3d.predictors.tensor_cache import TensorCache

MIB = 2**20
Key = tuple[str, str, tuple[PatchClick, ...], tuple[Prompt, ...]]
"""What an answer depends on: the patch's digest, what it starts from (`_start`), earlier clicks, prompts in order."""
SCORES = 2**16
"""How many of a model's scores are kept."""


class TorchPredictor:
    """Run a network on the CPU, an NVIDIA GPU or an Apple GPU.

    Args:
        network: a torch module with the `encode` and `decode` of `nets.SamMed3d`.
        preset: the preprocessing its weights were trained with.
        name: shown to users.
        device: "auto" takes CUDA, else Apple's MPS, else the CPU; or a torch device such as "cuda:1".
        precision: "auto" is float32 on CPU and MPS, and mixed precision on CUDA.
        cache_mib: bound of the caches of image embeddings and of low-res logits on the device, each.
        host_cache_mib: bound of what is kept of either in the computer's memory, where the device is a GPU.
        notes: remarks for users on how the weights were loaded.
        all_clicks: whether each pass of the decoder takes all prompts so far; None for what the network learned.
        arithmetic: the network's numbers and device in words, where it decides that itself.

    Raises:
        ModelError: the device does not exist here, or does not support the precision.

    Image embeddings are cached by the patch's digest, low-res logits by the prefix of clicks, so a further click costs
    one decoder pass and an undo none. One prediction runs at a time; other threads wait for it.
    """

    def __init__(
        self,
        network: Network,
        preset: Preset,
        name: str = "SAM-Med3D",
        *,
        device: str = "auto",
        precision: Precision = "auto",
        cache_mib: int = 256,
        host_cache_mib: int = 0,
        notes: Sequence[str] = (),
        all_clicks: bool | None = None,
        arithmetic: str | None = None,
    ) -> None:
        self.name = name
        self.notes = tuple(notes)
        self.preset = preset
        self.device = choose_device(device)
        self.autocast_type = choose_precision(precision, self.device)
        if self.device.type == "cpu":
            limit_threads()
            keep_freed()
        self._arithmetic = arithmetic
        self._network = network.eval().requires_grad_(False).to(self.device)
        sees_all = self._network.sees_all_clicks if all_clicks is None else all_clicks
        tempering = self._network.tempering
        looks_wide, refines = (False, False) if tempering is None else (tempering.wide > 0, tempering.depth > 0)
        self.capabilities = Capabilities(preset.boxes, sees_all, self._network.scores_are_trained, looks_wide, refines)
        self._lock, self._process = threading.Lock(), os.getpid()
        self._embeddings = TensorCache(self.device, cache_mib * MIB, host_cache_mib * MIB)
        self._logits = TensorCache(self.device, cache_mib * MIB, host_cache_mib * MIB)
        self._scores: LRUCache[float] = LRUCache(SCORES, lambda _: 1)

    @property
    def precision(self) -> str:
        """The arithmetic in use, in words."""
        if self._arithmetic is not None:
            return self._arithmetic
        return "float32" if self.autocast_type is None else f"mixed {str(self.autocast_type).removeprefix('torch.')}"

    def cache_bytes(self) -> dict[str, tuple[int, int]]:
        """Return what each cache holds and may hold, in bytes, on the device and in the computer's memory together."""
        return {"embeddings": self._embeddings.bytes, "logits": self._logits.bytes}

    def is_encoded(self, digest: str) -> bool:
        """Whether the image embedding of a patch is at hand, so that a click on it is cheap."""
        with self._lock:
            return digest in self._embeddings

    def encode(self, patches: Sequence[Patch], cancellation: Cancellation | None = None) -> float:
        """Encode several patches in one pass of the network and keep their embeddings; returns the seconds it took.

        Grey and coloured slices, which differ in shape, take a pass each.

        Raises:
            PredictionCancelled: `cancellation` was used.
        """
        cancellation = cancellation or Cancellation()
        begin = time.perf_counter()
        with self._alone():
            cancellation.enter("encode")
            for shape in dict.fromkeys(patch.voxels.shape for patch in patches):
                alike = [patch for patch in patches if patch.voxels.shape == shape]
                voxels = torch.stack([torch.tensor(patch.voxels, device=self.device) for patch in alike])
                embeddings = self._network.encode(voxels[:, None], cancellation.check)
                self._synchronise()
                for n, patch in enumerate(alike):
                    self._embeddings.put(patch.digest, embeddings[n : n + 1])
        return time.perf_counter() - begin

    def predict(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None) -> Prediction:
        """Apply a box and clicks in order; see `Predictor.predict`."""
        prompts.check(self.preset)
        cancellation = cancellation or Cancellation()
        if prompts.raw:
            return self._answered_raw(patch, prompts, cancellation)
        earlier = tuple(prompts.earlier) if self.capabilities.all_clicks else ()
        key = patch.digest, _start(prompts), earlier, prompts.in_order
        with self._alone():
            seconds: dict[str, float] = {}
            wide = self._wide_answer(prompts)
            known, low_res = self._longest_known_prefix(key)
            if known < len(prompts.in_order):
                embedding = self._embed(patch, cancellation, seconds)
                begin = time.perf_counter()
                if wide is not None and not known:
                    known, low_res = 1, self._answer_with_wide(embedding, key, wide, cancellation)
                if known < len(prompts.in_order):
                    fed_back = low_res if known else self._first_mask_prompt(prompts.mask_prompt)
                    low_res = self._decode_each(embedding, key, known, fed_back, cancellation, _refines(prompts))
                self._synchronise()
                seconds["decode"] = time.perf_counter() - begin
            tempering = self._network.tempering
            if tempering is not None and (wide is not None or not prompts.mask_digest):
                large = wide is None or tempering.is_large(wide)
                low_res = tempering.shown(low_res, len(prompts.in_order), large)
            result = low_res[0, 0].cpu().numpy().copy()
            if tempering is not None:
                clicks = [prompt for prompt in (*earlier, *prompts.in_order) if isinstance(prompt, PatchClick)]
                tempering.make_hold(result, [self._place(c) for c in clicks], [c.positive for c in clicks])
            score = self._scores.get(key)
        cancellation.check()
        return Prediction(result, score, seconds)

    def predict_each(
        self,
        patch: Patch,
        clicks: Sequence[PatchClick],
        passes: int = 1,
        cancellation: Cancellation | None = None,
    ) -> Float32:
        """Answer each of several clicks as the only one of an object of its own, all of them together.

        Args:
            patch: made with this predictor's preset.
            clicks: one for each object.
            passes: number of decoder passes; each is shown the logits of the one before.
            cancellation: stops it between passes.

        Returns:
            Low-res logits (clicks, *preset.low_res_shape), float32.

        Raises:
            PredictionCancelled: `cancellation` was used.
        """
        return self._each(patch, clicks, passes, None, cancellation or Cancellation(), {})

    def candidates(
        self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None
    ) -> tuple[Prediction, ...]:
        """Return all masks that the network weighs after the last prompt, by its own scores, the best first.

        The best one is the answer of `predict`.

        Raises:
            ModelError: it makes one mask only.
            PredictionCancelled: `cancellation` was used.
            PromptError: a reason of `PatchPrompts.check`.
        """
        if not isinstance(self._network, WeighingNetwork):
            raise ModelError(f"{self.name} makes one mask, not several to choose from.")
        prompts.check(self.preset)
        cancellation = cancellation or Cancellation()
        before = patch.digest, prompts.mask_digest, (), prompts.in_order[:-1]
        with self._alone():
            embedding = self._embed(patch, cancellation, {})
            known, low_res = self._longest_known_prefix(before)
            fed_back = low_res if known else self._first_mask_prompt(prompts.mask_prompt)
            if known < len(before[-1]):
                fed_back = self._decode_each(embedding, before, known, fed_back, cancellation)
            cancellation.enter("decode")
            coords, labels, boxes = self._tensors(prompts.in_order)
            logits, scores = self._network.candidates(embedding, coords, labels, fed_back, boxes=boxes)
            found = zip(logits[0].float().cpu().numpy(), scores[0].tolist(), strict=True)
        return tuple(Prediction(each, score) for each, score in sorted(found, key=lambda pair: -pair[1]))

    def _answered_raw(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation) -> Prediction:
        """Answer the one click of prompts by a single pass, as `predict_each` does."""
        seconds: dict[str, float] = {}
        begin = time.perf_counter()
        result = self._each(patch, prompts.clicks, 1, prompts.mask_prompt, cancellation, seconds)
        seconds["decode"] = time.perf_counter() - begin - sum(seconds.values())
        return Prediction(result[0], None, seconds)

    def _each(
        self,
        patch: Patch,
        clicks: Sequence[PatchClick],
        passes: int,
        mask_prompt: Float32 | None,
        cancellation: Cancellation,
        seconds: dict[str, float],
    ) -> Float32:
        """Answer each click on its own, from the same mask prompt; returns (clicks, *preset.low_res_shape)."""
        with self._alone():
            embedding = self._embed(patch, cancellation, seconds)
            coords = torch.tensor([[click.voxel] for click in clicks], dtype=torch.float32, device=self.device)
            labels = torch.tensor([[int(click.positive)] for click in clicks], device=self.device)
            first = self._first_mask_prompt(mask_prompt)
            fed_back = None if first is None else first.expand(len(clicks), *first.shape[1:])
            for _ in range(max(1, passes)):
                cancellation.enter("decode")
                logits, _ = self._network.decode(embedding, coords, labels, fed_back)
                fed_back = logits.float()
            result: Float32 = logits[:, 0].float().cpu().numpy()
        return result

    def _wide_answer(self, prompts: PatchPrompts) -> Tensor | None:
        """The answer to the first click in a wide patch, if it came along."""
        if not prompts.from_wide:
            return None
        if prompts.mask_prompt is None or not self.capabilities.looks_wide:
            raise PromptError(f"{self.name} takes no answer of a wide patch here. Ask without it.")
        return self._first_mask_prompt(prompts.mask_prompt)

    def _answer_with_wide(self, embedding: Tensor, key: Key, wide: Tensor, cancellation: Cancellation) -> Tensor:
        """Answer the first click: on a large object with the wide patch's answer, on any other as without it."""
        digest, start, earlier, prompts = key
        tempering = self._network.tempering
        assert tempering is not None  # noqa: S101 - it is what looks wide
        seen = (*earlier, *prompts[:1])
        cancellation.enter("decode")
        low_res, _ = self._decode(embedding, seen, self._first_mask_prompt(None))
        blended = tempering.blended(low_res, wide)
        if blended is not None:
            low_res = blended
        else:
            for _ in range(1, self._network.first_passes):
                cancellation.enter("decode")
                low_res, _ = self._decode(embedding, seen, low_res)
        self._logits.put((digest, start, earlier, prompts[:1]), low_res)
        return low_res

    def _decode_each(
        self,
        embedding: Tensor,
        key: Key,
        known: int,
        fed_back: Tensor | None,
        cancellation: Cancellation,
        refines: bool = False,
    ) -> Tensor:
        """Run the decoder for each prompt whose answer is not known; returns the last logits.

        What an answer changes is tempered where there was something: an earlier answer, or a mask (`refines`).
        """
        digest, start, earlier, prompts = key
        low_res = torch.empty(0)
        for count in range(known + 1, len(prompts) + 1):
            seen = (*earlier, *prompts[:count]) if self.capabilities.all_clicks else prompts[count - 1 : count]
            for _ in range(self._network.first_passes if count == 1 and not start else 1):
                cancellation.enter("decode")
                low_res, scores = self._decode(embedding, seen, fed_back)
                if fed_back is not None and (refines or count > 1):
                    low_res = self._tempered(fed_back, low_res, prompts[count - 1], refines)
                fed_back = low_res
            self._logits.put((digest, start, earlier, prompts[:count]), low_res)
            if self.capabilities.scores:
                self._scores.put((digest, start, earlier, prompts[:count]), float(scores[0, 0]))
        return low_res

    def _tempered(self, before: Tensor, answer: Tensor, prompt: Prompt, refines: bool) -> Tensor:
        """Return what counts of the answer to a prompt where there is something."""
        if self._network.tempering is None or not isinstance(prompt, PatchClick):
            return answer
        return self._network.tempering.further(before, answer, self._place(prompt), prompt.positive, refines)

    def _place(self, click: PatchClick) -> list[float]:
        """A click in voxels of the logits."""
        sizes = zip(click.voxel, self.preset.low_res_shape, self.preset.patch_shape, strict=True)
        return [(voxel + 0.5) * low_res / full - 0.5 for voxel, low_res, full in sizes]

    def _longest_known_prefix(self, key: Key) -> tuple[int, Tensor]:
        digest, start, earlier, prompts = key
        for count in range(len(prompts), 0, -1):
            low_res = self._logits.get((digest, start, earlier, prompts[:count]))
            if low_res is not None:
                return count, low_res
        return 0, torch.empty(0)

    def _embed(self, patch: Patch, cancellation: Cancellation, seconds: dict[str, float]) -> Tensor:
        embedding = self._embeddings.get(patch.digest)
        if embedding is None:
            begin = time.perf_counter()
            cancellation.enter("encode")
            voxels = torch.tensor(patch.voxels, device=self.device)[None, None]
            embedding = self._network.encode(voxels, cancellation.check)
            self._synchronise()
            self._embeddings.put(patch.digest, embedding)
            seconds["encode"] = time.perf_counter() - begin
        return embedding

    def _first_mask_prompt(self, initial: Float32 | None) -> Tensor | None:
        if initial is not None:
            return torch.tensor(initial, dtype=torch.float32, device=self.device)[None, None]
        if self._network.starts_without_mask:
            return None
        return torch.zeros(1, 1, *self.preset.low_res_shape, device=self.device)

    def _decode(self, embedding: Tensor, prompts: Sequence[Prompt], low_res: Tensor | None) -> tuple[Tensor, Tensor]:
        coords, labels, boxes = self._tensors(prompts)
        logits, scores = self._network.decode(embedding, coords, labels, low_res, boxes=boxes)
        return logits.float(), scores

    def _tensors(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return coordinates (1, N, 3) and labels (1, N) of clicks, and the box (1, 6) if there is one."""
        clicks = [prompt for prompt in prompts if isinstance(prompt, PatchClick)]
        voxels = [click.voxel for click in clicks]
        coords = torch.tensor(voxels, dtype=torch.float32, device=self.device).view(1, len(clicks), 3)
        labels = torch.tensor([[int(click.positive) for click in clicks]], device=self.device)
        corners = [[*prompt.begin, *prompt.end] for prompt in prompts if isinstance(prompt, PatchBox)]
        return coords, labels, torch.tensor(corners, dtype=torch.float32, device=self.device) if corners else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one prediction run at a time, and none in a process that was forked meanwhile."""
        check_not_forked(self._process)
        with self._lock, torch.inference_mode(), self._autocast():
            yield

    def _autocast(self) -> AbstractContextManager[object]:
        if self.autocast_type is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast_type)

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def _start(prompts: PatchPrompts) -> str:
    """Name what a question starts from: its mask prompt, and what that is where it is not an answer or a hint."""
    word = "wide " if prompts.from_wide else "mask " if _refines(prompts) else ""
    return word + prompts.mask_digest


def _refines(prompts: PatchPrompts) -> bool:
    return prompts.from_mask and prompts.mask_prompt is not None
