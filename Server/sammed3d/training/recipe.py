"""The recipe of a training run: `recipe.yaml` says what each word means, and is where the defaults are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from sammed3d.errors import ModelError
from sammed3d.nets.sam_med2d import CONFIGS_2D
from sammed3d.training.recipe_words import check_words, checked_words, merged_words

DEFAULTS = Path(__file__).with_name("recipe.yaml")
CHOICES = {
    "schedule": ("multistep", "step", "cosine_restarts", "linear", "constant"),
    "click_method": ("random", "ritm"),
    "loss": ("dice_ce", "dice", "generalized_dice_focal"),
    "normalisation": ("batch", "sample"),
    "precision": ("auto", "32-true", "16-mixed", "bf16-mixed"),
}
POSITIVE = (
    "epochs",
    "batch_size",
    "accumulation",
    "lr",
    "clicks",
    "validate_every",
    "validation_clicks",
    "save_every",
    "distill_layer_epochs",
)
SHARES = ("image_encoder_lr", "prompt_encoder_lr", "mask_decoder_lr")
NOT_NEGATIVE = (
    *SHARES,
    "unfreeze_after",
    "weight_decay",
    "gamma",
    "clip_gradients",
    "flip",
    "smallest_voxels",
    "seed",
    "workers",
    "patience",
    "lora_rank",
)


@dataclass(frozen=True)
class Recipe:
    """All settings of a run; `recipe.yaml` documents them."""

    network: str
    sizes: dict[str, Any]
    start: str | None
    family: str | None
    base: str | None
    epochs: int
    batch_size: int
    accumulation: int
    lr: float
    image_encoder_lr: float
    prompt_encoder_lr: float
    mask_decoder_lr: float
    unfreeze_after: int
    weight_decay: float
    betas: list[float]
    schedule: str
    schedule_steps: list[int]
    gamma: float
    clip_gradients: float
    clicks: int
    click_method: str
    all_clicks: bool
    mask_only: bool
    loss: str
    normalisation: str
    flip: float
    smallest_voxels: int
    dataset_weights: dict[str, Any]
    ct_window: list[float] | None
    precision: str
    seed: int
    workers: int
    validate_every: int
    validation_clicks: int
    patience: int
    tensorboard: bool
    save_every: int
    lora_rank: int
    lora_targets: list[str]
    teacher: str | None
    distill_layers: bool
    distill_layer_epochs: int

    @classmethod
    def read(cls, file: Path | None = None, **changes: Any) -> Recipe:
        """Read a recipe.

        Args:
            file: YAML with what differs from SAM-Med3D's published recipe, or the name of one of the family's recipes;
                None for SAM-Med3D's.
            changes: keys that differ from that again; None changes nothing.

        Raises:
            ModelError: a word or a value is not known; says which.
        """
        values = merged_words(DEFAULTS, file, changes)
        if values["network"] in CONFIGS_2D:
            raise ModelError(
                f"The recipe's network is {values['network']!r}, which learns from 2-D images. Give `sammed3d train` "
                "their lists instead of prepared volumes; `sammed3d data lists` makes them."
            )
        values = checked_words(cls, values, DEFAULTS)
        check_words(values, CHOICES, POSITIVE, NOT_NEGATIVE)
        _check_numbers(values)
        _check_lora(values)
        return cls(**values)

    def to_yaml(self) -> str:
        """Return all settings as YAML."""
        text: str = yaml.safe_dump(asdict(self), sort_keys=False)
        return text


def _check_numbers(values: Mapping[str, Any]) -> None:
    """Refuse numbers that lie outside of what they can be."""
    if values["flip"] > 1:
        raise ModelError(f"The recipe's flip is {values['flip']!r}; a probability is needed, 0 to 1.")
    betas = values["betas"]
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ModelError(f"The recipe's betas is {betas!r}; two numbers from 0 to below 1 are needed, as [0.9, 0.999].")
    steps = values["schedule_steps"]
    if values["schedule"] in ("step", "cosine_restarts") and (not steps or steps[0] < 1):
        raise ModelError(
            f"The recipe's schedule_steps is {steps!r}, and {values['schedule']} needs a period in epochs, as [5]."
        )
    for dataset, weight in values["dataset_weights"].items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ModelError(
                f"The recipe's dataset_weights has {weight!r} for {dataset}; 0 or a number above is needed."
            )
    window = values["ct_window"]
    if window is not None and (len(window) != 2 or window[0] >= window[1]):
        raise ModelError(f"The recipe's ct_window is {window!r}; two rising numbers are needed, as [-160, 240].")


def _check_lora(values: Mapping[str, Any]) -> None:
    """Refuse words that do not go together with low-rank updates."""
    if set(values["lora_targets"]) - {"q", "k", "v"}:
        raise ModelError("The recipe's lora_targets are some of q, k and v.")
    if not values["lora_rank"]:
        return
    if values["base"] is not None:
        raise ModelError(
            f"{values['start']} is completed by {values['base']}, and low-rank updates (lora_rank) belong to one file. "
            "Write them into one first, and start from that: sammed3d models export START one.safetensors --base BASE"
        )
    if values["teacher"] is not None:
        raise ModelError(
            "The recipe has a teacher and low-rank updates (lora_rank), and after distilling the encoder is kept. "
            "Distil first; then start a run with updates from its weights."
        )
    if not values["lora_targets"] or values["image_encoder_lr"] == 0 or values["unfreeze_after"]:
        raise ModelError(
            "Low-rank updates (lora_rank) need lora_targets, an image_encoder_lr above 0, and unfreeze_after 0; else "
            "nothing would learn."
        )
