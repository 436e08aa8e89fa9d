"""What a run makes of the model that it began with, in words: its name, origin, licence, notes and card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sammed3d.training.recipe import Recipe
from sammed3d.zoo.model import LoadedModel


def trained_model(start: LoadedModel, name: str, recipe: Recipe, trained: str) -> LoadedModel:
    """Return what a run made of the model that it began with.

    Args:
        start: the model that the run began with.
        name: name of the result.
        recipe: the run's recipe.
        trained: duration and result of the training, in words.
    """
    notes = start.notes
    if recipe.normalisation == "batch" and start.preset.normalisation == "zscore_positive" and recipe.batch_size > 1:
        notes = (
            *notes,
            f"trained with z-scores pooled over batches of {recipe.batch_size}; in use each patch has its own",
        )
    licence = ""
    if start.licence:
        licence = f"that of {start.name} ({start.licence}) and of the training data"
    return replace(start, name=name, notes=notes, licence=licence, origin=origin_of(start, trained))


def origin_of(start: LoadedModel, trained: str) -> str:
    """Say where trained weights come from, which may have been trained before."""
    return f"{start.origin or start.name}, then trained: {trained}"


def model_card(model: LoadedModel, recipe: str, structures: Iterable[str], datasets: Mapping[str, int]) -> str:
    """Describe a model: what it is, what it was trained on, and what whoever passes it on has to add.

    Args:
        model: the model.
        recipe: its recipe as YAML.
        structures: names of what it learned from.
        datasets: number of examples by dataset.
    """
    named = "\n".join(f"- {name}" for name in sorted(set(structures)))
    counted = "\n".join(f"- {dataset}: {count}" for dataset, count in sorted(datasets.items()))
    return f"""# {model.name}

Research software: not for clinical decisions.

- Network: {model.network_name}, {model.origin}.
- Licence: {model.licence or "that of the training data"}; name it when you import the model (--licence).

## Preprocessing

```json
{json.dumps(model.preset.to_json(), indent=2)}
```

## Training data

{counted}

## Structures

{named}

## Recipe

```yaml
{recipe}```
"""
