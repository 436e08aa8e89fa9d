"""The recipe of a training run: `recipe.yaml` says what each word means, and is where the defaults are."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from sammed3d.errors import ModelError

DEFAULTS = Path(__file__).with_name("recipe.yaml")
PUBLISHED = Path(__file__).with_name("recipes")
"""Folder of the recipes of the family, which are known by their names."""
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
        values = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
        if file is not None:
            values |= _mapping(file)
        values |= {name: value for name, value in changes.items() if value is not None}
        known = {f.name: str(f.type) for f in fields(cls)}
        if unknown := sorted(set(values) - set(known)):
            raise ModelError(f"The recipe has the word {unknown[0]!r}, which means nothing. See recipe.yaml.")
        values = {name: _checked(name, value, known[name]) for name, value in values.items()}
        for name, choices in CHOICES.items():
            if values[name] not in choices:
                raise ModelError(f"The recipe's {name} is {values[name]!r}. Choose one of {', '.join(choices)}.")
        for name in POSITIVE:
            if not values[name] > 0:
                raise ModelError(f"The recipe's {name} is {values[name]!r}; a number above 0 is needed.")
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


def _checked(name: str, value: Any, kind: str) -> Any:
    """Return a value of the recipe as its kind, one of the annotations above.

    YAML reads 8e-5 (without a point) as text, and 200.0 as a real number: both are taken for what they mean.
    """
    if kind.endswith(" | None"):
        return None if value is None else _checked(name, value, kind.removesuffix(" | None"))
    if kind.startswith("list["):
        if isinstance(value, list):
            return [_checked(name, each, kind[5:-1]) for each in value]
        raise ModelError(f"The recipe's {name} is {value!r}; a list is needed, in brackets.")
    if kind in ("int", "float") and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number) and (kind == "float" or number.is_integer()):
            return int(number) if kind == "int" else number
    matching = {"str": str, "bool": bool, "dict[str, Any]": dict}
    if kind in matching and isinstance(value, matching[kind]):
        return value
    needed = {"int": "a whole number", "float": "a number", "str": "a word", "bool": "true or false"}
    raise ModelError(f"The recipe's {name} is {value!r}; {needed.get(kind, 'a list of words and values')} is needed.")


def _mapping(file: Path) -> dict[str, Any]:
    named = PUBLISHED / f"{file}.yaml"
    if not file.exists() and file.name == str(file) and not file.suffix and not named.is_file():
        names = ", ".join(sorted(each.stem for each in PUBLISHED.glob("*.yaml")))
        raise ModelError(f"There is no recipe {str(file)!r}, neither as a file nor among {names}.")
    try:
        found = yaml.safe_load((file if file.exists() or not named.is_file() else named).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{file}: cannot be read as YAML.") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ModelError(f"{file}: holds no recipe (words and values).")
    return found
