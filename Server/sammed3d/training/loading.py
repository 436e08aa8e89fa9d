"""Batches of examples, made in processes of their own; a reason to stop arrives from there as it was said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, default_collate

from sammed3d.errors import SAMMed3DError


def loaded(examples: Dataset[Any], batches: Iterable[list[Any]], workers: int) -> Iterator[Any]:
    """Yield batches of examples.

    Args:
        examples: the examples.
        batches: what each batch asks them for.
        workers: processes that make them; 0 for this one.

    Raises:
        SAMMed3DError: an example cannot be made; without the worker and traceback that torch puts round the message.
    """
    for batch in DataLoader(_OrReason(examples), batch_sampler=batches, num_workers=workers, collate_fn=_collated):
        if isinstance(batch, SAMMed3DError):
            raise batch
        yield batch


class _OrReason(Dataset[Any]):
    """Examples, or why there is none."""

    def __init__(self, examples: Dataset[Any]) -> None:
        self._examples = examples

    def __getitem__(self, which: Any) -> Any:
        try:
            return self._examples[which]
        except SAMMed3DError as error:
            return error


def _collated(items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, SAMMed3DError)), None) or default_collate(items)
