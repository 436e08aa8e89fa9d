"""Cases for training out of segmentations: what is taken, what is left out, and that nothing names a patient."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.core import prompt_files
from sammed3d.core.drawings import Scribble
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.errors import VolumeError
from sammed3d.files.collection import terminology_of
from sammed3d.files.datasets import check, find_cases, read_labels
from sammed3d.files.scenes import read_scene
from sammed3d.files.segment_reader import on_grid, read_segments
from sammed3d.files.segmentation import TISSUE, Segment, write_segments
from sammed3d.files.volume import Volume, image_on

SHAPE = (20, 22, 18)
GRID = Grid(SHAPE, make_affine((2.0, 2.0, 3.0), (0.1, 0.0, 0.2), (5.0, 6.0, 7.0)))
KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)


def box(begin, end):
    area = Box(begin, end)
    return BoxedMask(area, np.ones([b - a for a, b in zip(begin, end, strict=True)], np.uint8))


SEGMENTS = [
    Segment("LK", box((2, 3, 4), (8, 9, 10)), (1, 0, 0), KIDNEY),
    Segment("tumour", box((6, 7, 8), (9, 10, 11))),  # overlaps the kidney
    Segment("empty", None),
    Segment("spleen", box((12, 3, 4), (18, 9, 10))),
]


@pytest.fixture
def pair(tmp_path):
    """A volume whose name and header name a patient, a segmentation, and prompts."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = sitk.ReadImage(str(write_image(folder / "x.nii.gz", phantom(SHAPE), GRID.index_to_world)))
    image.SetMetaData("descrip", "DOE^JANE")
    (folder / "x.nii.gz").unlink()
    sitk.WriteImage(image, str(folder / "DOE_JANE.nii.gz"))
    write_segments(folder / "DOE_JANE.seg.nrrd", SEGMENTS, GRID)
    prompt_files.write(folder / "DOE_JANE.json", [ObjectPrompts("LK", (Click((1.0, 2.0, 3.0)),))])
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["collect", *map(str, arguments)])


def test_a_folder_of_pairs_becomes_a_dataset_that_can_be_trained_on(pair, tmp_path):
    result = run(pair, "--to", tmp_path / "data", "--rename", "LK=left kidney")
    assert result.exit_code == 0, result.output
    assert "empty: is empty." in result.output
    assert "left kidney, tumour, spleen; prompts of 1" in result.output
    assert "face" in result.output, "what is stripped, and what cannot be, is said"
    cases = find_cases(tmp_path / "data")
    assert [case.names for case in cases] == [{1: "left kidney", 2: "spleen"}, {1: "tumour"}], "one that overlaps apart"
    assert len({case.group for case in cases}) == 1, "they stay on one side of a split"
    assert not any(check(case).problems for case in cases)
    volume = Volume.read(cases[0].image)
    assert (volume.array == phantom(SHAPE)).all()
    assert volume.grid.matches(GRID)
    labels = read_labels(cases[0], volume.grid)
    assert (labels == 1).sum() == SEGMENTS[0].mask.voxels.sum()
    folder = cases[0].image.parent
    assert prompt_files.read(folder / "prompts.json") == (ObjectPrompts("left kidney", (Click((1.0, 2.0, 3.0)),)),)
    for file in folder.iterdir():
        content = file.read_bytes()
        content = sitk.ReadImage(str(file)) if file.name.endswith(".gz") else content
        text = " ".join(content.GetMetaData(k) for k in content.GetMetaDataKeys()) if file.suffix == ".gz" else content
        assert "DOE" not in str(text)
        assert "DOE" not in str(file)


def test_the_same_image_is_one_case_and_is_replaced_only_when_asked_for(pair, tmp_path):
    once = run(pair, "--to", tmp_path / "data", "--only", "spleen")
    assert once.exit_code == 0
    assert "LK: not asked for." in once.output
    again = run(pair, "--to", tmp_path / "data")
    assert again.exit_code == 1
    assert "is there already" in again.output
    assert [case.names for case in find_cases(tmp_path / "data")] == [{1: "spleen"}]
    assert run(pair, "--to", tmp_path / "data", "--force").exit_code == 0
    assert len(find_cases(tmp_path / "data")) == 2
    assert len(list((tmp_path / "data").iterdir())) == 1, "nothing is left of the old case or of work under way"


def test_segmentations_of_one_image_in_one_call_become_one_case(pair, tmp_path):
    volume, to = pair / "DOE_JANE.nii.gz", tmp_path / "data"
    files = [tmp_path / "a.seg.nrrd", tmp_path / "b.seg.nrrd", tmp_path / "c.seg.nrrd"]
    for file, segments in zip(files, (SEGMENTS[:1], SEGMENTS[1:3], SEGMENTS[:1]), strict=True):
        write_segments(file, segments, GRID)
    prompts = tmp_path / "all.json"
    clicks = [ObjectPrompts(name, (Click((1.0, 2.0, n)),)) for n, name in enumerate(("LK", "tumour"))]
    prompt_files.write(prompts, clicks)
    given = (*files[:2], "--volume", volume, "--prompts", prompts, "--rename", "LK=left kidney", "--to", to)
    for force in ((), ("--force",)):
        result = run(*given, *force)
        assert result.exit_code == 0, result.output
        assert "1 cases written, 0 sources" in result.output.replace("\n", " ")
        assert [case.names for case in find_cases(to)] == [{1: "left kidney"}, {1: "tumour"}]
        [folder] = to.iterdir()
        assert prompt_files.read(folder / "prompts.json") == (replace(clicks[0], name="left kidney"), clicks[1])
    assert run(*given).exit_code == 1, "a case of an earlier call stays, and nothing was taken"
    result = run(files[0], files[2], "--volume", volume, "--to", to, "--force")
    assert result.exit_code == 1
    assert "LK: there is another segment of 'LK'" in result.output
    assert "1 cases written, 1 sources" in result.output.replace("\n", " ")


def test_options_of_segmentations_are_refused_where_they_would_say_nothing(pair, tmp_path):
    for option in ("--volume", "--prompts", "--series"):
        result = run(pair, option, "1", "--to", tmp_path / "data")
        assert result.exit_code == 2
        assert "are about segmentations" in " ".join(result.output.split())


def test_segments_are_chosen_and_named_by_terminology(pair, tmp_path):
    assert terminology_of(SEGMENTS[0]) == ("left kidney", "64033007")
    assert terminology_of(Segment("any", None, terminology=TISSUE)) == ("", "")
    result = run(pair, "--to", tmp_path / "data", "--only", "64033007", "--by-terminology")
    assert result.exit_code == 0, result.output
    assert [case.names for case in find_cases(tmp_path / "data")] == [{1: "left kidney"}]


def test_two_segments_of_one_structure_are_not_mixed(pair, tmp_path):
    result = run(pair, "--to", tmp_path / "data", "--rename", "LK=kidney", "--rename", "spleen=kidney")
    assert "spleen: there is another segment of 'kidney'" in result.output


def test_label_maps_and_segmentations_of_a_part_of_the_volume_are_placed(pair, tmp_path):
    part = GRID.window((2, 3, 1), (12, 12, 12))
    labels = np.zeros(part.shape, np.uint8)
    labels[1:5, 2:6, 3:7] = 3
    file = write_image(tmp_path / "labels.nii.gz", labels, part.index_to_world)
    result = run(file, "--volume", pair / "DOE_JANE.nii.gz", "--to", tmp_path / "data", "--rename", "label 3=liver")
    assert result.exit_code == 0, result.output
    assert "resampled" not in result.output
    [case] = find_cases(tmp_path / "data")
    found = read_labels(case, GRID)
    expected = np.zeros(SHAPE, np.uint8)
    expected[3:7, 5:9, 4:8] = 1
    assert (found == expected).all()


def test_masks_on_another_grid_are_resampled_and_what_lies_outside_is_cut_off():
    origin = tuple(GRID.to_world((-0.25, -0.25, -0.25)))
    fine = Grid((40, 44, 36), make_affine((1.0, 1.0, 1.5), (0.1, 0.0, 0.2), origin))
    mask = box((8, 8, 8), (16, 16, 16))
    found, resampled = on_grid(mask, fine, GRID)
    assert resampled
    assert found.box == Box((4, 4, 4), (8, 8, 8))
    outside, resampled = on_grid(box((-3, 0, 0), (2, 2, 2)), GRID, GRID)
    assert not resampled
    assert outside.box == Box((0, 0, 0), (2, 2, 2))
    assert on_grid(box((0, 0, 0), (2, 2, 2)), GRID, GRID.window((5, 5, 5), (4, 4, 4))) == (None, False)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.3, -0.2, 0.5)])
def test_a_mask_of_much_coarser_voxels_is_resampled_to_their_edges(angles):
    coarse = Grid((9, 9, 6), make_affine((4.0, 4.0, 10.0), angles, (0.1, -0.2, 0.3)))
    fine = Grid((80, 80, 70), make_affine((0.5, 0.5, 1.0), origin=(-1.0, -2.0, -3.0)))
    mask = box((3, 4, 2), (6, 6, 3))
    image = sitk.GetImageFromArray(mask.full(coarse.shape).T.copy())
    image.CopyInformation(image_on(coarse, sitk.sitkUInt8))
    expected = sitk.Resample(image, image_on(fine, sitk.sitkUInt8), sitk.Transform(), sitk.sitkNearestNeighbor)
    found, resampled = on_grid(mask, coarse, fine)
    assert resampled
    assert (found.full(fine.shape) == sitk.GetArrayFromImage(expected).T).all()
    assert found.voxels.sum() == pytest.approx(3 * 2 * 640, rel=0.03)


def test_drawings_and_boxes_are_kept_and_the_name_of_a_starting_mask_is_not(pair, tmp_path):
    drawn = Scribble(((1.0, 2.0, 3.0), (4.0, 2.0, 3.0)))
    given = ObjectPrompts("spleen", (), "DOE_JANE_mask.nii.gz", BoxPrompt((0, 0, 0), (9, 9, 9)), (drawn,), honour=False)
    prompt_files.write(pair / "DOE_JANE.json", [given])
    assert run(pair, "--to", tmp_path / "data").exit_code == 0
    [kept] = prompt_files.read(next((tmp_path / "data").glob("*/prompts.json")))
    assert kept == replace(given, initial_mask="mask")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.mrb", b"no zip", "is damaged, locked, or no scene"),
        ("a.mrml", b"<MRML><Volume", "the scene is damaged"),
        ("a.mrml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><MRML/>", "defines entities"),
        ("a.seg.nrrd", b"NRRD0004\ntype: uint8\n", "say which volume"),
    ],
)
def test_what_is_no_source_gets_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    result = run(tmp_path / name, "--to", tmp_path / "data")
    assert result.exit_code == 1
    assert words in result.output.replace("\n", " ")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("entry", ["../evil.mrml", "/evil.mrml", "C:/evil.mrml", "a/../../evil.mrml"])
def test_a_bundle_that_writes_outside_of_its_folder_is_refused(tmp_path, entry):
    with zipfile.ZipFile(tmp_path / "a.mrb", "w") as bundle:
        bundle.writestr(entry, "<MRML/>")
    (tmp_path / "unpacked").mkdir()
    with pytest.raises(VolumeError, match="outside of itself"):
        read_scene(tmp_path / "a.mrb", tmp_path / "unpacked")


@pytest.mark.parametrize("damage", ["data", "locked", "no name"])
def test_a_damaged_bundle_is_named(tmp_path, damage):
    with zipfile.ZipFile(tmp_path / "a.mrb", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("." if damage == "no name" else "scene.mrml", bytes(range(256)) * 20)
    content = bytearray((tmp_path / "a.mrb").read_bytes())
    if damage == "data":
        content[30 + len("scene.mrml")] ^= 0xFF
    if damage == "locked":
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.mrb").write_bytes(content)
    with pytest.raises(VolumeError, match=r"a\.mrb: (is damaged, locked, or no scene|names files outside)"):
        read_scene(tmp_path / "a.mrb", tmp_path / "unpacked")


def test_segmentations_that_cannot_be_used_are_named_and_the_others_taken(pair, tmp_path):
    nodes = (
        '<Volume id="V1" name="DOE" references="storage:S1;"/>'
        '<VolumeArchetypeStorage id="S1" fileName="DOE_JANE.nii.gz"/>'
        '<SegmentationStorage id="S2" fileName="DOE_JANE.seg.nrrd"/>'
        '<SegmentationStorage id="S3" fileName="gone%20a.nrrd"/>'
        '<Segmentation id="A" name="a" references="storage:S2;referenceImageGeometryRef:V1;"/>'
        '<Segmentation id="B" name="b" references="storage:S2;"/>'
        '<Segmentation id="C" name="c" references="storage:S3;referenceImageGeometryRef:V1;"/>'
        '<Segmentation id="D" name="d" references="storage:S2;transform:T1;referenceImageGeometryRef:V1;"/>'
        '<Segmentation id="E" name="e" references="referenceImageGeometryRef:V1;"/>'
    )
    (pair / "scene.mrml").write_text(f"<MRML>{nodes}</MRML>")
    result = run(pair / "scene.mrml", "--to", tmp_path / "data")
    assert result.exit_code == 1, "something could not be used"
    for words in (
        "segmentation 2: names no volume",
        "segmentation 3: a file of it is missing",
        "segmentation 4: lies under another transform",
        "segmentation 5: was not saved",
        "1 cases written, 4 sources",
    ):
        assert words in result.output.replace("\n", " ")
    assert "DOE" not in result.output, "names of nodes and files of the scene are not repeated"
    assert len(find_cases(tmp_path / "data")) == 2


def test_a_dataset_is_not_written_into_its_own_source(pair):
    result = run(pair, "--to", pair)
    assert result.exit_code == 1
    assert "Choose another folder" in result.output.replace("\n", " ")


def test_a_damaged_description_is_refused(tmp_path):
    write_segments(tmp_path / "a.seg.nrrd", SEGMENTS, GRID)
    content = (tmp_path / "a.seg.nrrd").read_bytes()
    (tmp_path / "b.seg.nrrd").write_bytes(content.replace(b"Segment0_Layer:=0", b"Segment0_Layer:=7"))
    with pytest.raises(VolumeError, match="what it says of its segments is damaged"):
        read_segments(tmp_path / "b.seg.nrrd")
    grid, segments = read_segments(tmp_path / "a.seg.nrrd")
    assert grid.matches(GRID)
    assert {key: s.name for key, s in segments.items()} == {
        f"Segment_{n}": s.name for n, s in enumerate(SEGMENTS, start=1)
    }
    assert segments["Segment_1"].color == (1, 0, 0)
    assert segments["Segment_1"].terminology == KIDNEY
    assert json.dumps([None if s.mask is None else s.mask.box.begin for s in segments.values()]) == json.dumps(
        [None if s.mask is None else s.mask.box.begin for s in SEGMENTS]
    )


def test_older_files_with_a_layer_for_each_segment_are_read(tmp_path):
    parts = [box((2, 3, 4), (8, 9, 10)), box((6, 7, 8), (9, 10, 11)), box((12, 3, 4), (18, 9, 10))]
    image = sitk.Compose([sitk.GetImageFromArray(each.full(SHAPE).T.copy()) for each in parts])
    for n in range(3):
        image.SetMetaData(f"Segment{n}_ID", f"Segment_{n}")
    file = tmp_path / "old.seg.nrrd"
    sitk.WriteImage(image, str(file))
    _, segments = read_segments(file)
    assert [(s.mask.box, s.mask.voxels.sum()) for s in segments.values()] == [(p.box, p.voxels.sum()) for p in parts]
    image.EraseMetaData("Segment1_ID")
    sitk.WriteImage(image, str(file))
    with pytest.raises(VolumeError, match=r"does not say which of 3 layers they lie in\). Save it again"):
        read_segments(file)
    image.SetMetaData("Segment1_ID", "Segment_1")
    image.SetMetaData("Segment1_Layer", "1")
    sitk.WriteImage(image, str(file))
    with pytest.raises(VolumeError, match="does not say which of 3 layers"):
        read_segments(file)
