"""The recipe of SAM-Med2D's training: `recipes/sam_med2d.yaml` explains each word, and is where the defaults are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from sammed3d.errors import ModelError
from sammed3d.nets.sam_med2d import CONFIGS_2D
from sammed3d.training.recipe_words import PUBLISHED, check_words, checked_words, merged_words

DEFAULTS = PUBLISHED / "sam_med2d.yaml"
CHOICES = {
    "network": tuple(CONFIGS_2D),
    "learns": ("adapters", "all", "nothing"),
    "loss": ("published", "dice_ce"),
    "fit": ("pad", "resize"),
    "precision": ("32-true", "bf16-mixed"),
}
POSITIVE = ("epochs", "batch_size", "masks", "lr", "gamma", "save_every")
NOT_NEGATIVE = ("seed", "workers")
FEWEST_ITERATIONS = 3
"""The pass with the mask alone lies between the first and the last one."""


@dataclass(frozen=True)
class Recipe2d:
    """All settings of a run on 2-D images; `recipes/sam_med2d.yaml` documents them."""

    network: str
    sizes: dict[str, Any]
    start: str | None
    family: str | None
    learns: str
    epochs: int
    batch_size: int
    masks: int
    lr: float
    schedule_steps: list[int]
    gamma: float
    iterations: int
    points: list[int]
    loss: str
    fit: Literal["pad", "resize"]
    precision: str
    seed: int
    workers: int
    save_every: int

    @classmethod
    def read(cls, file: Path | None = None, **changes: Any) -> Recipe2d:
        """Read a recipe; arguments and errors are those of `Recipe.read`, the defaults SAM-Med2D's published values."""
        values = merged_words(DEFAULTS, file, changes)
        if values["network"] not in CONFIGS_2D:
            raise ModelError(
                f"The recipe's network is {values['network']!r}, which learns from volumes; these are lists of 2-D "
                f"images. Choose one of {', '.join(CONFIGS_2D)}."
            )
        values = checked_words(cls, values, DEFAULTS)
        check_words(values, CHOICES, POSITIVE, NOT_NEGATIVE)
        if values["iterations"] != 0 and values["iterations"] < FEWEST_ITERATIONS:
            raise ModelError(f"The recipe's iterations is {values['iterations']}; 0 or at least {FEWEST_ITERATIONS}.")
        if not values["points"] or min(values["points"]) < 1:
            raise ModelError(f"The recipe's points is {values['points']}; a list of numbers above 0 is needed.")
        return cls(**values)

    def to_yaml(self) -> str:
        """Return all settings as YAML."""
        text: str = yaml.safe_dump(asdict(self), sort_keys=False)
        return text

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return self.lr * float(self.gamma ** sum(epoch >= step for step in self.schedule_steps))
