"""Datasets in the plain layout of BIDS: which label map is of which image, and what its values are called."""

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.errors import VolumeError
from sammed3d.files.datasets import find_cases

AFFINE = make_affine((2.0, 2.0, 2.0))


def touched(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return folder


def shown(folder):
    return {
        case.name: (case.image.relative_to(folder).as_posix(), case.label.name, dict(case.names), case.group)
        for case in find_cases(folder)
    }


def test_a_label_map_is_of_the_image_with_its_entities_and_masks_are_of_one_structure(tmp_path):
    touched(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/anat/sub-02_FLAIR.nii.gz",
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_desc-organs_dseg.nii.gz",
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_space-MNI152_desc-organs_dseg.nii.gz",
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz",
        "derivatives/manual/sub-01/ses-2/anat/sub-01_ses-2_label-liver_mask.nii.gz",
        "derivatives/other/sub-01/ses-2/anat/sub-01_ses-2_label-liver_mask.nii.gz",
        "derivatives/other/sub-01/ses-2/anat/sub-01_ses-2_desc-brain_mask.nii.gz",
        "derivatives/manual/sub-02/anat/sub-02_space-FLAIR_dseg.nii.gz",
    )
    manual = tmp_path / "derivatives" / "manual"
    (manual / "desc-organs_dseg.tsv").write_text("index\tname\n0\tBackground\n1\tleft kidney\n", encoding="utf-8-sig")
    (manual / "dseg.tsv").write_text("index\tname\tcolor\n1\tsomething\t#ff0000\n")
    (manual / "sub-02" / "anat" / "sub-02_space-FLAIR_dseg.tsv").write_text("index\tname\n3\tlesion\n")
    second = "sub-01_ses-2_T1w"
    assert shown(tmp_path) == {
        "sub-01_ses-1_T1w": (
            "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
            "sub-01_ses-1_desc-organs_dseg.nii.gz",
            {0: "Background", 1: "left kidney"},
            "",
        ),
        **{
            name: (f"sub-01/ses-2/anat/{second}.nii", file, {1: structure}, second)
            for name, file, structure in (
                ("sub-01_ses-2_label-liver_mask_manual", "sub-01_ses-2_label-liver_mask.nii.gz", "liver"),
                ("sub-01_ses-2_label-liver_mask_other", "sub-01_ses-2_label-liver_mask.nii.gz", "liver"),
                ("sub-01_ses-2_desc-brain_mask", "sub-01_ses-2_desc-brain_mask.nii.gz", "brain"),
            )
        },
        "sub-02_FLAIR": ("sub-02/anat/sub-02_FLAIR.nii.gz", "sub-02_space-FLAIR_dseg.nii.gz", {3: "lesion"}, ""),
    }
    assert {case.name[:6] for case in find_cases(tmp_path)} == {case.patient for case in find_cases(tmp_path)}


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("sub-02_dseg.nii.gz", r"sub-02_dseg.* several images \(FLAIR, T1w\)\. Say which in its name, as space-FLAIR"),
        ("sub-02_run-3_dseg.nii.gz", r"sub-02_run-3_dseg.* no image of the same subject, session"),
    ],
)
def test_a_label_map_of_no_image_or_of_several_is_told(label, words, tmp_path):
    touched(tmp_path, "sub-02/anat/sub-02_T1w.nii.gz", "sub-02/anat/sub-02_FLAIR.nii.gz")
    touched(tmp_path, f"derivatives/manual/sub-02/anat/{label}")
    with pytest.raises(VolumeError, match=words):
        find_cases(tmp_path)


def test_a_damaged_table_of_names_is_told(tmp_path):
    touched(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "derivatives/a/sub-1/anat/sub-1_dseg.nii.gz")
    (tmp_path / "derivatives" / "a" / "dseg.tsv").write_text("value,name\n1,liver\n")
    with pytest.raises(VolumeError, match=r"dseg\.tsv: is damaged. It names labels, in the columns index and name"):
        find_cases(tmp_path)


def test_subjects_without_label_maps_are_no_cases_and_the_layouts_are_told(tmp_path):
    touched(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    (tmp_path / "derivatives").mkdir()
    with pytest.raises(VolumeError, match=r"holds no cases.* BIDS \(sub-\*, and dseg or mask files in derivatives\)"):
        find_cases(tmp_path)


def test_such_a_dataset_is_checked_by_the_command(tmp_path):
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[4:9, 4:9, 4:9], labels[10:14, 4:9, 4:9] = 1, 2
    touched(tmp_path, "dataset_description.json", "sub-1/anat/x", "derivatives/manual/sub-1/anat/x")
    write_image(tmp_path / "sub-1" / "anat" / "sub-1_CT.nii.gz", phantom(labels.shape), AFFINE)
    place = tmp_path / "derivatives" / "manual" / "sub-1" / "anat"
    write_image(place / "sub-1_dseg.nii.gz", labels, AFFINE)
    (place / "sub-1_dseg.tsv").write_text("index\tname\n1\tliver\n2\tspleen\n")
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for word in ("sub-1_CT: 16 x 16 x 16", "liver", "spleen", "1 cases, 0 with problems"):
        assert word in done.output
