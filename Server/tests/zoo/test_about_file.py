"""What files of weights say of themselves, without torch."""

import json

import pytest

from sammed3d import samples
from sammed3d.errors import ModelError
from sammed3d.zoo.about_file import FAMILIES_2D, learnt_from, words_of, works_by_slice
from sammed3d.zoo.families import FAMILIES
from sammed3d.zoo.store import BUNDLED


def test_models_of_slices_are_told_from_models_of_volumes(tmp_path):
    (other := tmp_path / "weights.pth").write_bytes(b"anything")
    assert works_by_slice(samples.SAM_MED2D_SMALL) is True
    assert works_by_slice(BUNDLED) is False
    assert works_by_slice(other) is None
    assert works_by_slice(other, "ft_sam2d") is True
    assert works_by_slice(other, "sam_med3d") is False
    assert works_by_slice(other, name="sam_med2d") is True
    assert works_by_slice(other, name="mine") is None
    assert {name for name, family in FAMILIES.items() if family.preset.by_slice} == FAMILIES_2D


@pytest.mark.parametrize("about", [{"preset": "{"}, {"preset": '{"colour": 1}'}, {"preset": 3}, [], None])
def test_damaged_words_say_nothing(tmp_path, about):
    header = json.dumps({"__metadata__": about}).encode()
    (file := tmp_path / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert works_by_slice(file) is None
    assert words_of(file) == {}
    assert learnt_from(file) == frozenset()


def test_images_that_a_model_learnt_from_are_read_or_refused(tmp_path):
    for value in ('["abc", "def"]', "[", "3"):
        header = json.dumps({"__metadata__": {"learnt_from": value}}).encode()
        (file := tmp_path / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        if value.endswith("]"):
            assert learnt_from(file) == {"abc", "def"}
        else:
            with pytest.raises(
                ModelError, match=r"weights\.safetensors: 'learnt_from' in its metadata is no JSON list"
            ):
                learnt_from(file)
    assert words_of(tmp_path / "none.safetensors") == {}
