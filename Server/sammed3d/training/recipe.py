"""The recipe of a training run: `recipe.yaml` says what each word means, and is where the defaults are."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from sammed3d.errors import ModelError

DEFAULTS = Path(__file__).with_name("recipe.yaml")
CHOICES = {
    "schedule": ("multistep", "step", "cosine_restarts", "linear", "constant"),
    "click_method": ("random", "ritm"),
    "loss": ("dice_ce", "dice"),
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
    epochs: int
    batch_size: int
    accumulation: int
    lr: float
    image_encoder_lr: float
    prompt_encoder_lr: float
    mask_decoder_lr: float
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
    ct_window: list[float] | None
    precision: str
    seed: int
    workers: int
    validate_every: int
    validation_clicks: int
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
            file: YAML with what differs from the published recipe; None for the published one.
            changes: what differs from that again; None values change nothing.

        Raises:
            ModelError: a word or a value is not known; says which.
        """
        values = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
        if file is not None:
            values |= _mapping(file)
        values |= {name: value for name, value in changes.items() if value is not None}
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ModelError(f"The recipe has the word {unknown[0]!r}, which means nothing. See recipe.yaml.")
        for name, choices in CHOICES.items():
            if values[name] not in choices:
                raise ModelError(f"The recipe's {name} is {values[name]!r}. Choose one of {', '.join(choices)}.")
        for name in POSITIVE:
            if not isinstance(values[name], (int, float)) or not values[name] > 0:
                raise ModelError(f"The recipe's {name} is {values[name]!r}; a number above 0 is needed.")
        if set(values["lora_targets"]) - {"q", "k", "v"}:
            raise ModelError("The recipe's lora_targets are some of q, k and v.")
        return cls(**values)

    def to_yaml(self) -> str:
        """Return all settings as YAML."""
        text: str = yaml.safe_dump(asdict(self), sort_keys=False)
        return text


def _mapping(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{file}: cannot be read as YAML.") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ModelError(f"{file}: holds no recipe (words and values).")
    return found
