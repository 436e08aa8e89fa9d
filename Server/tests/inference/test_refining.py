"""Masks that are nearly right, refined with the default model on the bundled CT."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import center_of_mass

import sammed3d
from sammed3d import samples
from sammed3d.core.geometry import Grid
from sammed3d.evaluation.metrics import dice
from sammed3d.files.volume import Volume


@pytest.fixture(scope="module")
def ct():
    return Volume.read(samples.FOLDER / "ct_abdomen.nii.gz")


@pytest.fixture(scope="module")
def model():
    return sammed3d.load_predictor("default", "cpu")


def labelled(name):
    names = json.loads((samples.FOLDER / "ct_abdomen_labels.json").read_text())
    [value] = [int(value) for value, each in names.items() if each == name]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(samples.FOLDER / "ct_abdomen_labels.nii.gz"))).T
    return (labels == value).astype(np.uint8)


def ball_at(place, radius, grid: Grid):
    axes = np.ogrid[tuple(slice(n) for n in grid.shape)]
    squared = sum(((axis - at) * mm) ** 2 for axis, at, mm in zip(axes, place, grid.spacing, strict=True))
    return squared <= radius**2


@pytest.mark.parametrize(
    ("name", "radius"), [("kidney_right", 15.0), ("vertebrae_L3", 12.0), ("adrenal_gland_left", 9.0)]
)
def test_a_negative_click_takes_what_leaked_and_leaves_the_organ(ct, model, name, radius):
    organ = labelled(name)
    edge = np.argwhere(organ)[-1]
    away = edge - center_of_mass(organ)
    place = edge + away / np.linalg.norm(away) * radius / ct.grid.spacing / 2
    leak = ball_at(place, radius, ct.grid) & (organ == 0)
    session = sammed3d.Session(ct, model)
    session.start_from(np.maximum(organ, leak))
    session.click(tuple(ct.grid.to_world(np.round(place))), positive=False)
    mask = session.mask()
    assert mask[leak].mean() < 0.5
    assert mask[organ != 0].mean() > 0.7
    assert dice(mask, organ) > dice(np.maximum(organ, leak).astype(np.uint8), organ)


def test_a_positive_click_adds_what_is_missing_and_takes_nothing(ct, model):
    organ = labelled("spleen")
    half = organ.copy()
    half[:, : int(center_of_mass(organ)[1])] = 0
    session = sammed3d.Session(ct, model)
    session.start_from(half)
    session.click(tuple(ct.grid.to_world(np.round(center_of_mass(organ - half)))), positive=True)
    mask = session.mask()
    assert mask[half != 0].mean() > 0.95
    assert mask[(organ != 0) & (half == 0)].mean() > 0.2
