"""Sizes of networks as recipes and strangers' files give them: checked before anything is built of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from sammed3d.errors import ModelError

Config = TypeVar("Config")
LARGEST = 1 << 16
"""Of any size: what is larger was never meant."""
MOST_LAYERS = 1000
_LAYERS = ("depth", "depths")
_MAY_BE_ZERO = ("window", "mlp_only_blocks", "global_blocks", "depths")


def with_sizes(config: Config, sizes: Any) -> Config:
    """Return a configuration with other sizes, by the names of its attributes.

    Args:
        config: a dataclass of whole numbers, of lists of them, and of what is true or false.
        sizes: those that differ.

    Raises:
        ModelError: a size is unknown, or cannot be one.
    """
    if not isinstance(sizes, Mapping):
        raise ModelError(f"Network sizes are {sizes!r}; names and numbers are needed, as {{depth: 6}}.")
    usual = {each.name: getattr(config, each.name) for each in fields(config)}  # type: ignore[arg-type]
    if unknown := sorted(map(str, sizes.keys() - usual.keys())):
        raise ModelError(f"Unknown network size: {unknown[0]!r}. Known: {', '.join(usual)}.")
    changed = {name: _checked(name, value, usual[name]) for name, value in sizes.items()}
    return replace(config, **changed)  # type: ignore[type-var]


def _checked(name: str, value: Any, usual: Any) -> Any:
    """Return a size as its usual value is one."""
    if isinstance(usual, bool):
        if isinstance(value, bool):
            return value
        raise ModelError(f"The network size {name} is {value!r}; true or false is needed.")
    if isinstance(usual, tuple):
        if isinstance(value, list | tuple):
            return tuple(_number(name, each) for each in value)
        raise ModelError(f"The network size {name} is {value!r}; a list of whole numbers is needed.")
    return _number(name, value)


def _number(name: str, value: Any) -> int:
    lowest, largest = int(name not in _MAY_BE_ZERO), MOST_LAYERS if name in _LAYERS else LARGEST
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= largest:
        return value
    raise ModelError(f"The network size {name} is {value!r}; a whole number from {lowest} to {largest} is needed.")
