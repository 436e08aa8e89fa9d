"""Cases on the model's lattice lie in the cache, whatever they are called."""

from pathlib import Path

import numpy as np
import pytest

from helpers import make_affine, phantom, write_image
from sammed3d.errors import VolumeError
from sammed3d.files.datasets import cases_of
from sammed3d.training.default_model.cases import cached

SPACING = (2.0, 2.0, 2.0)


def test_cases_of_one_name_in_two_datasets_are_cached_apart_and_nothing_is_written_beside_them(tmp_path, monkeypatch):
    datasets = [tmp_path / place for place in ("a/raw", "b/raw")]
    for seed, folder in enumerate(datasets):
        (folder / "same").mkdir(parents=True)
        write_image(folder / "same" / "image.nii.gz", phantom((8, 8, 8), seed), make_affine(SPACING))
        write_image(folder / "same" / "label.nii.gz", np.ones((8, 8, 8), np.uint8), make_affine(SPACING))
    monkeypatch.chdir(tmp_path / "a")
    for given in (datasets, [Path("raw"), Path("../b/raw")]):
        images = [cached(case, tmp_path / "cache", SPACING).image for case in cases_of(given)]
        assert not np.array_equal(*images)
    for folder in datasets:
        assert {file.name for file in (folder / "same").iterdir()} == {"image.nii.gz", "label.nii.gz"}
    assert len(list((tmp_path / "cache").rglob("image.npy"))) == 4


def test_a_full_disk_is_told_and_leaves_nothing_that_is_taken_for_a_case(tmp_path, monkeypatch):
    (tmp_path / "raw" / "one").mkdir(parents=True)
    write_image(tmp_path / "raw" / "one" / "image.nii.gz", phantom((8, 8, 8)), make_affine(SPACING))
    [case] = cases_of([tmp_path / "raw"])
    save = np.save

    def full(file, array):
        save(file, array)
        if "label" in Path(file).name:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(
            VolumeError, match=r"label\.npy: cannot be written\. Check the folder, permissions and free"
        ):
            cached(case, tmp_path / "cache", SPACING)
    assert [file.name for file in (tmp_path / "cache" / "one").iterdir()] == ["image.npy"]
    assert cached(case, tmp_path / "cache", SPACING).label.shape == (8, 8, 8)
