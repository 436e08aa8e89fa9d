"""What a run trains: a model whose preset is the preprocessing of its training, or a refusal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from sammed3d.errors import ModelError
from sammed3d.nets import PromptableUNet, SamMed3d
from sammed3d.training.prepared import Preparation
from sammed3d.training.recipe import Recipe
from sammed3d.zoo.load import load_model
from sammed3d.zoo.model import LoadedModel


def model_to_train(recipe: Recipe, data: Preparation, datasets: Iterable[str]) -> LoadedModel:
    """Return the model that a run begins with; its preset is what the patches are made by and what is exported.

    Args:
        recipe: names the model to start from, or the network; `ct_window` becomes part of the preset.
        data: the preparation of the data. An untrained model takes spacing and range of intensities from it.
        datasets: the names of the datasets in use; those of CT begin with "ct_".

    Raises:
        ModelError: the model cannot be trained, or the data were prepared for another preprocessing.
    """
    torch.manual_seed(recipe.seed)  # of random weights
    if recipe.start is not None:
        model = trainable(recipe.start, recipe.family, recipe.base)
        _check_preparation(model, data)
    elif recipe.teacher is not None:
        model = _student(recipe)
        _check_preparation(model, data)
    else:
        model = LoadedModel.untrained(recipe.network, recipe.sizes)
        preset = replace(model.preset, spacing=(data.spacing, data.spacing, data.spacing), clamp=data.clamp)
        model = replace(model, preset=preset)
    return model if recipe.ct_window is None else _with_window(model, recipe.ct_window, datasets)


def trainable(model: str, family: str | None = None, base: str | None = None) -> LoadedModel:
    """Load a model that can be trained, or distilled from.

    Raises:
        ModelError: it works slice by slice, was exported, or cannot be loaded.
    """
    found = load_model(model, family, base)
    if not isinstance(found.plain_network, SamMed3d | PromptableUNet):
        raise ModelError(f"{found.name}: training is for 3-D models with torch weights. Choose one of them.")
    return found


def preparation_for(model: str, family: str | None = None) -> tuple[float, tuple[float, float] | None]:
    """Return the spacing (mm) at which data have to be prepared for a model, and the range to clamp them to before.

    Raises:
        ModelError: its spacing is not the same along all axes, or a reason of `trainable`.
    """
    return preparation_of(trainable(model, family))


def preparation_of(model: LoadedModel) -> tuple[float, tuple[float, float] | None]:
    """Return what `preparation_for` does, for a loaded model.

    Raises:
        ModelError: its spacing is not the same along all axes.
    """
    preset = model.preset
    if len(set(preset.spacing)) > 1:
        raise ModelError(
            f"{model.name}: has the spacing {preset.spacing}; data are prepared at one spacing for all axes."
        )
    return preset.spacing[0], None if preset.clamp_after else preset.clamp


def _student(recipe: Recipe) -> LoadedModel:
    """Return an untrained network with the preprocessing, prompt encoder and mask decoder of its teacher."""
    teacher = trainable(str(recipe.teacher), recipe.family)
    student = LoadedModel.untrained(recipe.network, recipe.sizes)
    network, source = student.plain_network, teacher.plain_network
    if not isinstance(network, SamMed3d) or not isinstance(source, SamMed3d):
        raise ModelError("Distillation is for networks of SAM-Med3D's kind, which have layers to match.")
    shapes = (student.preset.patch_shape, student.preset.low_res_shape)
    if shapes != (teacher.preset.patch_shape, teacher.preset.low_res_shape):
        raise ModelError(
            f"The student's patches are {student.preset.patch_shape}, those of {teacher.name} "
            f"{teacher.preset.patch_shape}. Choose sizes that agree."
        )
    try:
        network.prompt_encoder.load_state_dict(source.prompt_encoder.state_dict())
        network.mask_decoder.load_state_dict(source.mask_decoder.state_dict())
    except RuntimeError as error:
        raise ModelError(
            f"The student needs prompt encoder and mask decoder of {teacher.name}, and their sizes differ. Give it the "
            "teacher's out_channels and decoder_mlp (sizes)."
        ) from error
    origin = f"random image encoder; prompt encoder and mask decoder of {teacher.name} ({teacher.origin})"
    return replace(
        student, preset=teacher.preset, origin=origin, licence=teacher.licence, learnt_from=teacher.learnt_from
    )


def _check_preparation(model: LoadedModel, data: Preparation) -> None:
    """Refuse data that were resampled or clamped otherwise than the model's preset says."""
    preset = model.preset
    before = None if preset.clamp_after else preset.clamp
    if set(preset.spacing) == {data.spacing} and before == data.clamp:
        return
    wanted, found = _words(preset.spacing[0], before), _words(data.spacing, data.clamp)
    name = model.file.name if model.file is not None else model.name
    raise ModelError(
        f"{data.folder}: was prepared {found}, and {name} needs data prepared {wanted}. Prepare them for this model: "
        "sammed3d data prepare DATASET FOLDER --model MODEL"
    )


def _words(spacing: float, clamp: tuple[float, float] | None) -> str:
    return f"at {spacing:g} mm, " + ("unclamped" if clamp is None else f"clamped to {clamp[0]:g}..{clamp[1]:g}")


def _with_window(model: LoadedModel, window: Iterable[float], datasets: Iterable[str]) -> LoadedModel:
    """Return a model whose preset clamps to the recipe's window for CT."""
    low, high = (float(value) for value in window)
    if others := sorted({name for name in datasets if not name.startswith("ct_")}):
        raise ModelError(
            f"The recipe's ct_window is for CT, and the data hold {others[0]} too. A model has one preprocessing: "
            "train on datasets whose names begin with ct_ alone, or leave ct_window out."
        )
    preset = model.preset
    if preset.clamp is not None:
        raise ModelError(
            f"{model.name} is used with intensities clamped to {preset.clamp[0]:g}..{preset.clamp[1]:g} already. Leave "
            "ct_window out, or start from another model."
        )
    return replace(model, preset=replace(preset, clamp=(low, high), clamp_after=True))
