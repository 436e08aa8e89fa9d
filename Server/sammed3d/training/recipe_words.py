"""Reading recipes: words and values in YAML, each checked against what it has to be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from sammed3d.errors import ModelError

PUBLISHED = Path(__file__).with_name("recipes")
"""Folder of the recipes of the family, which are known by their names."""


def merged_words(defaults: Path, file: Path | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Read the values of a recipe as they are written.

    Args:
        defaults: YAML with a value for each word.
        file: YAML with what differs from that, or the name of one of the family's recipes; None for nothing.
        changes: values that differ from that again; None changes nothing.

    Raises:
        ModelError: a file cannot be read.
    """
    values: dict[str, Any] = yaml.safe_load(defaults.read_text(encoding="utf-8"))
    if file is not None:
        values |= _mapping(file)
    return values | {name: value for name, value in changes.items() if value is not None}


def checked_words(recipe: Any, values: Mapping[str, Any], defaults: Path) -> dict[str, Any]:
    """Return the values of a recipe as what they have to be.

    Args:
        recipe: a dataclass; the annotations of its fields say that.
        values: see `merged_words`.
        defaults: file that explains the words.

    Raises:
        ModelError: a word or a value is not known; says which.
    """
    known = {f.name: str(f.type) for f in fields(recipe)}
    if unknown := sorted(set(values) - set(known)):
        raise ModelError(f"The recipe has the word {unknown[0]!r}, which means nothing. See {defaults.name}.")
    return {name: _checked(name, value, known[name]) for name, value in values.items()}


def check_words(
    values: Mapping[str, Any],
    choices: Mapping[str, Sequence[str]],
    positive: Sequence[str],
    not_negative: Sequence[str] = (),
) -> None:
    """Refuse values that are none of their choices, not above 0, or below 0.

    Raises:
        ModelError: one is; says which.
    """
    for name, known in choices.items():
        if values[name] not in known:
            raise ModelError(f"The recipe's {name} is {values[name]!r}. Choose one of {', '.join(known)}.")
    for name in positive:
        if not values[name] > 0:
            raise ModelError(f"The recipe's {name} is {values[name]!r}; a number above 0 is needed.")
    for name in not_negative:
        if values[name] < 0:
            raise ModelError(f"The recipe's {name} is {values[name]!r}; 0 or a number above is needed.")


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
    kind = "str" if kind.startswith("Literal[") else kind  # `check_words` knows the choices
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
