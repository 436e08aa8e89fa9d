"""What is no dataset yet: TotalSegmentator's folders become one, DICOM is told how."""

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

import orthanc
from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.errors import VolumeError
from sammed3d.files import dicom_seg
from sammed3d.files.datasets import find_cases, read_labels
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.volume import Volume

SHAPE = (16, 14, 6)
AFFINE = make_affine((3.0, 3.0, 3.0))


def mask(*places, value=1):
    found = np.zeros(SHAPE, np.uint8)
    found[3:9, 4:10, list(places)] = value
    return found


def subject(folder, seed, **masks):
    (folder / "segmentations").mkdir(parents=True)
    write_image(folder / "ct.nii.gz", phantom(SHAPE, seed), AFFINE)
    for name, voxels in masks.items():
        write_image(folder / "segmentations" / f"{name}.nii.gz", voxels, AFFINE)
    return folder


def run(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.output.replace("\n", " ")


def test_folders_of_totalsegmentator_become_a_dataset_with_the_names_of_their_structures(tmp_path):
    folder = tmp_path / "totalsegmentator"
    one = subject(folder / "s0001", 1, liver=mask(0, 1), spleen=mask(2), colon=mask())
    subject(folder / "s0002", 2, liver=mask(3), aorta=mask(3, 4))
    for command in (["data", "check", folder], ["data", "check", one]):
        code, output = run(*command)
        assert code == 1
        assert "laid out as TotalSegmentator's data are. Make a dataset of it: sammed3d collect FOLDER --to" in output
    code, output = run("collect", folder, "--to", tmp_path / "data")
    assert code == 0, output
    assert "s000" not in "".join(path.as_posix() for path in (tmp_path / "data").rglob("*"))
    found = {}
    for case in find_cases(tmp_path / "data"):
        image = Volume.read(case.image)
        of = found.setdefault(float(image.array.astype(float).sum()), {})
        labels = read_labels(case, image.grid)
        of |= {name: np.isin(labels, values) for name, values in case.structures_in(labels).items()}
    wanted = [{"liver": mask(0, 1), "spleen": mask(2)}, {"liver": mask(3), "aorta": mask(3, 4)}]
    for seed, structures in enumerate(wanted, start=1):
        got = found[float(phantom(SHAPE, seed).astype(float).sum())]
        assert got.keys() == structures.keys(), "those that are empty are left out"
        assert all(np.array_equal(got[name], voxels) for name, voxels in structures.items())
    code, output = run("collect", one, "--to", tmp_path / "alone", "--only", "liver")
    assert code == 0, output
    assert [case.names for case in find_cases(tmp_path / "alone")] == [{1: "liver"}]


def test_a_file_of_several_structures_among_those_of_one_each_is_refused(tmp_path):
    folder = subject(tmp_path / "s1", 1, liver=mask(0) + mask(3, value=2))
    code, output = run("collect", folder, "--to", tmp_path / "data")
    assert code == 1
    assert "subject 1: the mask of liver has 2 values. Give a file for each." in output
    assert not (tmp_path / "data").exists()


@pytest.fixture
def patient(tmp_path):
    """A folder with a series, a DICOM SEG of two segments one above the other, and an RTSTRUCT."""
    slices = orthanc.slices_of(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))
    folder = tmp_path / "patients" / "one"
    (folder / "ct").mkdir(parents=True)
    for n, each in enumerate(slices):
        each.save_as(folder / "ct" / f"{n}.dcm")
    masks = [mask(0, 1, 2), mask(3, 4, 5)]
    dicom_seg.segmentation("Organs", ["liver", "spleen"], masks, slices).save_as(folder / "seg.dcm")
    contours = pydicom.dcmread(folder / "ct" / "0.dcm")
    del contours.PixelData, contours.Rows, contours.Columns
    contours.Modality = "RTSTRUCT"
    contours.SOPClassUID = contours.file_meta.MediaStorageSOPClassUID = pydicom.uid.RTStructureSetStorage
    contours.save_as(folder / "contours.dcm")
    return folder


def test_segmentations_of_dicom_are_told_not_merged_or_called_damaged(patient, tmp_path):
    for name, kind in (("seg", "a DICOM SEG"), ("contours", "a DICOM RTSTRUCT")):
        with pytest.raises(VolumeError, match=rf"{name}\.dcm: is {kind}, which is not read here\. Load it with its"):
            read_segments(patient / f"{name}.dcm")
        code, output = run("collect", patient / f"{name}.dcm", "--volume", patient / "ct", "--to", tmp_path / "data")
        assert code == 1
        assert f"{kind}, which is not read here" in output
    with pytest.raises(VolumeError, match=r"contours\.dcm: a DICOM RTSTRUCT, which is not read here"):
        Volume.read(patient / "contours.dcm")
    assert not (tmp_path / "data").exists()


def test_folders_of_dicom_are_told_how_they_become_a_dataset(patient, tmp_path):
    for folder in (patient, patient.parent):
        with pytest.raises(VolumeError, match=r"holds no cases\. It holds DICOM files, which are no dataset\. Load"):
            find_cases(folder)
    code, output = run("collect", patient, "--to", tmp_path / "data")
    assert code == 1
    assert "holds no .seg.nrrd. It holds DICOM files, which are no dataset." in output
