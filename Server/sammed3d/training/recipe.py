"""The recipe of a training run: `recipe.yaml` says what each word means, and is where the defaults are."""

from __future__ import annotations

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
POSITIVE = ("epochs", "batch_size", "accumulation", "lr", "clicks", "validate_every", "validation_clicks", "save_every")


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
        check_words(values, CHOICES, POSITIVE)
        if set(values["lora_targets"]) - {"q", "k", "v"}:
            raise ModelError("The recipe's lora_targets are some of q, k and v.")
        window = values["ct_window"]
        if window is not None and (len(window) != 2 or window[0] >= window[1]):
            raise ModelError(f"The recipe's ct_window is {window!r}; two rising numbers are needed, as [-160, 240].")
        return cls(**values)

    def to_yaml(self) -> str:
        """Return all settings as YAML."""
        text: str = yaml.safe_dump(asdict(self), sort_keys=False)
        return text
