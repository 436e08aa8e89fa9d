"""Presets of files and servers of others: what is malformed is refused when it is read, not when somebody clicks."""

import math

import pytest

from sammed3d.errors import ModelError
from sammed3d.inference.preset import Preset


@pytest.mark.parametrize(
    "entry",
    [
        {"spacing": []},
        {"spacing": [1.5]},
        {"spacing": [1.5, 1.5, 0.0]},
        {"spacing": [1.5, 1.5, math.nan]},
        {"spacing": [1.5, 1.5, "1.5"]},
        {"spacing": 1.5},
        {"patch_shape": [128, 128]},
        {"patch_shape": [128, 128, 128.5]},
        {"patch_shape": [True, True, True]},
        {"low_res_shape": [32, 32, -32]},
        {"low_res_shape": None},
    ],
)
def test_sizes_that_are_no_three_positive_numbers_are_refused(entry):
    with pytest.raises(ModelError, match=r"is three (whole )?numbers"):
        Preset.from_json(entry)


@pytest.mark.parametrize("clamp", [[], [0], [0, 1, 2], [5, 5], [5, -5], [0, math.nan], [0, math.inf], ["0", "1"], 5])
def test_ranges_that_are_no_two_numbers_that_rise_are_refused(clamp):
    with pytest.raises(ModelError, match="is two numbers that rise"):
        Preset.from_json({"clamp": clamp})


def test_what_belongs_together_is_asked_for():
    for entry, words in (
        ({"rescale": True}, "needs a clamp range"),
        ({"normalisation": "grau"}, "Unknown normalisation 'grau'"),
        ({"fit": "stretch"}, "Unknown fit 'stretch'"),
        ({"fit": "resize"}, "of thickness 1"),
        ({"colour": 1}, "cannot be read"),
    ):
        with pytest.raises(ModelError, match=words):
            Preset.from_json(entry)
