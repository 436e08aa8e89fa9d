"""What learns: weights, their average, the optimizer, and one step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional

from sammed3d import nets
from sammed3d.core.freed_memory import keep_freed
from sammed3d.files.outputs import written_whole
from sammed3d.inference.preset import Preset
from sammed3d.predictors.device import has_bfloat16
from sammed3d.training.default_model.crops import Crops
from sammed3d.training.default_model.lessons import Conversation, draw_lesson
from sammed3d.zoo.checkpoint import write_checkpoint

PRESET = Preset(spacing=(1.2, 1.2, 1.2), low_res_shape=(64, 64, 64))
STEPS_ALONE = 10
"""Steps that each process of a run makes before all of them go on from the mean of their weights (local SGD)."""
KEPT_MIB = (4096, 1024)
"""How much freed memory a training on the CPU keeps for the next step, and up to which size blocks."""
WARM_UP = 50
"""Steps until the learning rate is reached."""
ENTROPY_WEIGHT = 0.5
"""Of the cross entropy beside Dice: with as much as Dice, answers stay small where the extent is uncertain."""


class Trainer:
    """Weights, their moving average, the optimizer and where the run stands; saved as one file.

    Args:
        work: folder of the run.
        device: torch device.
        peak_lr: learning rate after warm-up.
        sizes: the network's sizes, where they differ from the default model's.
    """

    def __init__(
        self, work: Path, device: torch.device, peak_lr: float, sizes: Mapping[str, Any] | None = None
    ) -> None:
        self.work, self.device, self.peak_lr, self.sizes = work, device, peak_lr, dict(sizes or {})
        self.network = nets.build("promptable_unet", sizes).to(device)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=peak_lr
        )
        self.step = 0
        self.seconds = 0.0  # trained within the present budget
        self.total_seconds = 0.0
        self.generator = torch.Generator().manual_seed(0)
        if device.type == "cpu":
            keep_freed(*KEPT_MIB)

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights, as they are and as their average."""
        self.network.load_state_dict(weights)
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}

    def resume(self) -> bool:
        """Load the last saved state of the run, if there is one."""
        file = self.work / "last.pt"
        if not file.is_file():
            return False
        state = torch.load(file, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.total_seconds = state["step"], state["seconds"], state["total_seconds"]
        self.generator.manual_seed(self.step)
        return True

    def save(self) -> None:
        """Write the state so that a kill or a full disk in the middle leaves the previous one.

        Raises:
            VolumeError: it cannot be written.
        """
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            **{k: getattr(self, k) for k in ("step", "seconds", "total_seconds")},
        }
        with written_whole(self.work / "last.pt") as beside:
            torch.save(state, beside)

    def learn(self, crops: Crops, progress: float) -> dict[str, float]:
        """Make one step of the optimizer; `progress` is the share of the budget used, 0..1."""
        warm = min(1.0, (self.step + 1) / WARM_UP)
        lr = self.peak_lr * warm * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))) + 1e-6
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        measured = self._practise(crops)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return {"lr": lr, **measured}

    def _practise(self, crops: Crops) -> dict[str, float]:
        """Go through a lesson with all objects of some crops; leaves the gradients with the weights.

        Returns:
            Loss, and Dice after the first click, after more, and from a mask prompt; NaN where the lesson had none.
        """
        lesson = draw_lesson(self.generator)
        images, owners = crops.images.to(self.device), crops.owners.to(self.device)
        targets = functional.avg_pool3d(crops.masks.to(self.device), 2)
        talk = Conversation.begin(lesson, functional.avg_pool3d(images, 2)[owners], targets, self.generator)
        measured = dict.fromkeys(("dice_1", "dice_2+", "dice_mask"), math.nan)
        losses = []
        mixed = partial(torch.autocast, self.device.type, torch.bfloat16, enabled=self._suits_bfloat16(images))
        with mixed():
            embedding = self.network.encode(images)
        shared = embedding.detach().requires_grad_()  # collects the gradients of all answers: one way back for all
        for n, turn in enumerate(lesson.turns):
            talk.prepare(turn)
            with mixed(), torch.set_grad_enabled(turn.learns):
                seen = shared if len(images) == 1 else shared[owners]
                answer = self.network.decode(seen, talk.coords, talk.labels, talk.logits)[0].float()
            talk.take(answer.detach(), turn, self.network.tempering)
            if turn.learns:
                loss = mask_loss(answer, targets)
                # not under autocast, which would round gradients of what was computed in single precision, too
                loss.backward()  # type: ignore[no-untyped-call]
                losses.append(float(loss.detach()))
                name = "dice_mask" if lesson.from_mask else "dice_1" if n < 2 else "dice_2+"
                measured[name] = _mean_dice(answer.detach(), targets)
        embedding.backward(shared.grad)  # type: ignore[no-untyped-call]
        return {"loss": float(np.mean(losses)), **measured}

    def _suits_bfloat16(self, images: Tensor) -> bool:
        """Whether a step is made in bfloat16: where the device has it; on a CPU it takes two thirds of the time then.

        There oneDNN's gradients of a convolution's weights are wrong on a grid of 2 x 2 x 2 voxels (torch 2.13).
        """
        coarsest = images.shape[-1] >> len(self.network.config.widths)
        return (self.device.type != "cpu" or coarsest > 2) and has_bfloat16(self.device)

    def take_stock(self) -> None:
        """Let the processes of the run agree on weights and time, and move the average on; after `STEPS_ALONE` steps.

        The average reaches back over the last quarter of the steps, over 2000 at most.
        """
        if distributed.is_initialized():
            weights = [p.data for p in self.network.parameters()]
            own = torch.cat([torch.tensor([self.seconds, self.total_seconds]), *(w.flatten().cpu() for w in weights)])
            distributed.all_reduce(own)
            own /= distributed.get_world_size()
            self.seconds, self.total_seconds = own[:2].tolist()
            for weight, mean in zip(weights, torch.split(own[2:], [w.numel() for w in weights]), strict=True):
                weight.copy_(mean.view_as(weight))
        moved = min(1.0, STEPS_ALONE / min(max(self.step / 4, 1), 2000))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                self.average[key].lerp_(value, moved)

    def export(self, file: Path, **metadata: Any) -> None:
        """Write the averaged weights in half precision as a checkpoint that `load_predictor` understands."""
        weights = {k: v.to("cpu", torch.float16).contiguous() for k, v in self.average.items()}
        shapes = {"patch_shape": self.network.patch_shape, "low_res_shape": self.network.low_res_shape}
        write_checkpoint(
            file,
            weights,
            network="promptable_unet",
            sizes=self.sizes,
            preset=json.dumps(PRESET.to_json() | shapes),
            name="default",
            **metadata,
        )


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return soft Dice plus cross entropy in units of the object's size, so that small objects count as large ones.

    Args:
        logits: (N, 1, n, n, n).
        targets: same shape: which share of the voxel belongs to the object, 0..1.
    """
    x, y = logits.flatten(1), targets.flatten(1)
    p = x.sigmoid()
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    entropy = functional.binary_cross_entropy_with_logits(x, y, reduction="none").sum(1)
    return (dice + ENTROPY_WEIGHT * (entropy / (2 * y.sum(1) + 100)).clamp(max=10)).mean()


def _mean_dice(logits: Tensor, targets: Tensor) -> float:
    a, b = (logits > 0).flatten(1).float(), (targets > 0.5).flatten(1).float()
    return float((2 * (a * b).sum(1) / (a.sum(1) + b.sum(1)).clamp(min=1)).mean())
