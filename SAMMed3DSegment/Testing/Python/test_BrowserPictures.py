"""Pictures in the page: coloured ones too, in pixels, with the answers of the command line."""

import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from PIL import Image
from typer.testing import CliRunner

from helpers import make_affine, phantom
from mrmlNodes import drawByHand, voxels
from sammed3d import Box, Grid, Picture, PictureSession, Volume, VolumeError, load_predictor, samples
from sammed3d.cli.app import app
from sammed3d.core.prompts import Click
from sammed3d.files.picture import PLANE, PictureVolume
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.session import inferer_for
from sammed3d.web import results
from sammed3d.web.boxes import BoxDrawing
from sammed3d.web.candidates import Candidates
from sammed3d.web.drawings import Drawings
from sammed3d.web.work import Work
from SAMMed3DSegmentLib import Surface
from SAMMed3DSegmentLib.VolumeBridge import segmentableFromNode, volumeDigest, volumeFromNode
from segmenters import newSegmenter, settle, until
from slicerHarness.views import SliceView

KIDNEY = (36, 60)
"""Column and row."""


@pytest.fixture(scope="module")
def toy():
    return load_predictor(samples.SAM_MED2D_SMALL, "cpu")


@pytest.fixture(scope="module")
def grey():
    """An axial slice of the sample, (H, W), 122 x 101 pixels; in the middle of its right kidney is KIDNEY."""
    shown = Volume.read(samples.CT_ABDOMEN).array[::-1, ::-1, 87].T
    return (np.clip((shown + 160.0) / 400, 0, 1) * 255).astype(np.uint8)


def tinted(grey, *shares):
    """Return (H, W, 3) with these shares of the grey in the three colours."""
    return np.stack([(grey * share).astype(np.uint8) for share in shares], axis=2)


@pytest.fixture(params=["colour", "grey"])
def file(request, grey, tmp_path):
    """A PNG of the slice."""
    path = tmp_path / "lesion.png"
    Image.fromarray(tinted(grey, 1, 0.9, 0.7) if request.param == "colour" else grey).save(path)
    return path


@pytest.fixture
def work(scene, toy):
    work = Work(lambda _: toy)
    yield work
    work.close()


@pytest.fixture
def opened(work, file):
    work.open(PictureVolume.of(Picture.read(file)))
    return work


def place(work, column, row, positive=True):
    """Click on a pixel."""
    work.segmenter.click(work.segment_id, (-column, -row, 0.0), positive)
    until(lambda: not work.segmenter.busy, work.poll)


def made(work, segment_id=None):
    """Pixels of a segment: (H, W)."""
    return voxels(work.segmentation_node, segment_id or work.segment_id, (122, 101, 1))[..., 0].T


def test_a_picture_becomes_a_node_in_its_colours(opened, file):
    node, picture = opened.volume_node, Picture.read(file)
    assert node.GetName() == "lesion"
    assert node.GetSpacing() == (1.0, 1.0, 1.0)
    back = segmentableFromNode(node)
    assert np.array_equal(back.picture.pixels, picture.pixels)
    assert back.picture.is_coloured == picture.is_coloured
    with pytest.raises(VolumeError, match="colour or vector volume"):
        volumeFromNode(node)


def test_clicks_make_what_the_command_line_makes_of_them(opened, file, toy):
    session = PictureSession(Picture.read(file), toy)
    for column, row, positive in ((*KIDNEY, True), (26.4, 50, False), (45, 54, True)):
        place(opened, column, row, positive)
        session.click(column, row, positive)
        assert session.mask().any()
        assert np.array_equal(made(opened), session.mask())
    assert " ms (" in opened.status
    opened.undo()
    session.session.undo()
    assert np.array_equal(made(opened), session.mask())
    opened.redo()
    opened.add()
    place(opened, 90, 60)
    session.session.add_object()
    session.click(90, 60)
    assert np.array_equal(made(opened), session.mask())
    assert len(opened.rows()) == 2


def test_drawings_make_what_a_session_on_the_picture_makes_of_them(opened, file, toy):
    view = SliceView("ViewPicture")
    view.show(opened.volume_node)
    drawings = Drawings(opened, print, lambda: [(view.interactor, view.node)])
    session = PictureSession(Picture.read(file), toy)
    turn = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    middle = view.pixelOf((-KIDNEY[0], -KIDNEY[1], 0.0))
    for kind, positive, pixels in (
        ("scribble", True, np.add(middle, [(n, n) for n in range(-10, 10, 2)])),
        ("lasso", False, np.add(middle, 20 * np.stack([np.cos(turn), np.sin(turn)], axis=1) + (40, 0))),
    ):
        drawings.use(kind, positive)
        view.draw(pixels)
        until(lambda: not opened.segmenter.busy, opened.poll)
        drawn = [view.worldAt(int(x), int(y)) for x, y in pixels]
        getattr(session.session, kind)(drawn, positive)
        assert session.mask().any()
        assert np.array_equal(made(opened), session.mask())
    assert opened.segmenter.message == ""


def test_colours_count_and_tell_pictures_apart(work, grey, toy):
    """Two tints that are the same to a program that looks at the brightest colour."""
    masks, volumes = [], []
    for shares in ((1, 0.2, 0.2), (0.2, 0.2, 1)):
        picture = Picture(tinted(grey, *shares), Grid((122, 101, 1), PLANE), "tinted.png")
        work.open(PictureVolume.of(picture))
        place(work, *KIDNEY)
        session = PictureSession(picture, toy)
        session.click(*KIDNEY)
        assert np.array_equal(made(work), session.mask())
        masks.append(session.mask())
        volumes.append(segmentableFromNode(work.volume_node))
    assert not np.array_equal(*masks)
    assert np.array_equal(volumes[0].array, volumes[1].array)
    assert volumeDigest(volumes[0]) != volumeDigest(volumes[1])


def test_a_picture_under_any_matrix_is_shown_as_it_is_stored(scene, grey, toy):
    """As other programs put them into the world: on its side, larger, elsewhere."""
    picture = Picture(tinted(grey, 1, 0.9, 0.7), Grid((122, 101, 1), PLANE), "lesion.png")
    session = PictureSession(picture, toy)
    session.click(*KIDNEY)
    for matrix in (make_affine((0.5, 0.5, 4), (1.2, 0.3, -2.0), (10, 20, 30)), np.diag([1.0, 1.0, 1.0, 1.0])):
        inferer = inferer_for(PictureVolume.of(picture, Grid((122, 101, 1), matrix)), toy)
        mask, _ = inferer.mask_of(PromptState((Click(tuple((matrix @ [*KIDNEY, 0, 1])[:3].tolist())),)))
        assert np.array_equal(mask.full((122, 101, 1))[..., 0].T, session.mask())
        patch, _ = inferer.inner.questions(PromptState((Click(tuple(matrix[:3, 3].tolist())),)))[0]
        shown = patch.grid.to_index((matrix @ [*KIDNEY, 0, 1])[:3])
        assert shown[:2] == pytest.approx((KIDNEY[0] + 3, KIDNEY[1] + 13))  # in the middle of 128 x 128


def test_sizes_are_pixels_and_a_volume_after_it_has_millilitres_again(opened, scene):
    place(opened, *KIDNEY)
    assert opened.rows()[0].size == f"{np.count_nonzero(made(opened))} px"
    assert not Surface.isShown(opened.segmentation_node)
    assert not opened.has_surface
    opened.open(Volume(phantom((20, 20, 20)), Grid((20, 20, 20), np.diag([5.0, 5.0, 5.0, 1.0])), "CT"))
    assert opened.picture is None
    assert [row.size for row in opened.rows()] == [""]
    drawByHand(opened.segmentation_node, opened.segment_id, opened.volume_node, Box((2, 2, 2), (3, 3, 4)))
    assert opened.rows()[0].size == "0.25 ml", "as of a nodule"
    drawByHand(opened.segmentation_node, opened.segment_id, opened.volume_node, Box((2, 2, 2), (12, 12, 12)))
    assert opened.rows()[0].size == "125.0 ml"


def test_a_box_makes_what_the_command_line_makes_of_it(opened, file, toy):
    boxes = BoxDrawing(opened)
    boxes.begin((-50.0, -50.0, 0.0))
    roi = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsROINode")
    left, top, right, bottom = 81, 52, 98, 71
    roi.SetCenter(-(left + right) / 2, -(top + bottom) / 2, 0.0)
    roi.SetSize(right - left, bottom - top, roi.GetSize()[2])
    boxes.use()
    until(lambda: not opened.segmenter.busy, opened.poll)
    session = PictureSession(Picture.read(file), toy)
    session.set_box(left, top, right, bottom)
    assert session.mask().any()
    assert np.array_equal(made(opened), session.mask())
    place(opened, 90, 60)
    session.click(90, 60)
    assert np.array_equal(made(opened), session.mask())


def asked(work):
    candidates = Candidates(work)
    candidates.ask()
    until(lambda: not work.segmenter.busy, work.poll)
    return candidates


def test_candidates_are_those_of_the_command_line_and_a_chosen_one_is_gone_on_from(opened, file, toy):
    place(opened, *KIDNEY)
    session = PictureSession(Picture.read(file), toy)
    session.click(*KIDNEY)
    expected = session.candidates()
    candidates = asked(opened)
    rows = candidates.rows()
    assert [row.score for row in rows] == [round(each.score, 2) for each in expected]
    assert [row.pixels for row in rows] == [np.count_nonzero(each.mask) for each in expected]
    assert [row.chosen for row in rows] == [True, False, False]
    first = made(opened)
    for number in (2, 1):
        candidates.choose(number)
        assert np.array_equal(made(opened), expected[number].mask)
        assert [row.chosen for row in candidates.rows()] == [n == number for n in range(3)]
    candidates.choose(3)  # there is none
    opened.undo()
    assert np.array_equal(made(opened), first), "one step back, however many were looked at"
    assert [row.chosen for row in candidates.rows()] == [True, False, False]
    opened.redo()
    assert np.array_equal(made(opened), expected[1].mask)
    place(opened, 26, 50, positive=False)
    session.start_from(expected[1].mask)
    session.click(26, 50, positive=False)
    assert np.array_equal(made(opened), session.mask())
    assert candidates.rows() == [], "they were of other prompts"


def test_strokes_by_hand_are_not_lost_to_candidates(opened):
    place(opened, *KIDNEY)
    candidates = asked(opened)
    assert len(candidates.rows()) == 3
    drawByHand(opened.segmentation_node, opened.segment_id, opened.volume_node, Box((30, 50, 0), (50, 70, 1)))
    edited = made(opened)
    assert candidates.rows() == []
    candidates.choose(1)
    assert np.array_equal(made(opened), edited)


def test_candidates_of_a_box_stay_in_it_and_go_with_the_segment(opened, file, toy):
    boxes = BoxDrawing(opened)
    boxes.begin((-50.0, -50.0, 0.0))
    roi = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(-89.5, -61.5, 0.0)
    roi.SetSize(17, 19, roi.GetSize()[2])
    boxes.use()
    until(lambda: not opened.segmenter.busy, opened.poll)
    session = PictureSession(Picture.read(file), toy)
    session.set_box(81, 52, 98, 71)
    candidates = asked(opened)
    assert [row.pixels for row in candidates.rows()] == [np.count_nonzero(each.mask) for each in session.candidates()]
    opened.add()
    assert candidates.rows() == []


def test_candidates_are_refused_where_there_are_none(opened, predictor, scene):
    assert asked(opened).rows() == []
    assert "Click inside the object first" in opened.status
    opened.open(Volume(phantom((20, 20, 20)), Grid((20, 20, 20), np.diag([5.0, 5.0, 5.0, 1.0])), "CT"))
    assert asked(opened).rows() == []


def test_a_predictor_without_candidates_says_so(scene, toy, grey):
    work = Work(lambda _: WithoutCandidates(toy))
    try:
        work.open(PictureVolume.of(Picture(tinted(grey, 1, 1, 1), Grid((122, 101, 1), PLANE), "lesion.png")))
        place(work, *KIDNEY)
        assert asked(work).rows() == []
        assert "shows no candidates" in work.status
        assert made(work).any()
    finally:
        work.close()


class WithoutCandidates:
    """A predictor that answers as another one and shows nothing else, as one on an older server."""

    def __init__(self, predictor):
        self.name, self.preset, self.capabilities = predictor.name, predictor.preset, predictor.capabilities
        self.predict = predictor.predict


def test_strokes_by_hand_are_gone_on_from(opened, file, toy):
    place(opened, *KIDNEY)
    drawByHand(opened.segmentation_node, opened.segment_id, opened.volume_node, Box((30, 50, 0), (50, 70, 1)))
    edited = made(opened)
    assert edited[50:70, 30:50].all()
    place(opened, 40, 60)
    session = PictureSession(Picture.read(file), toy)
    session.start_from(edited)
    session.click(40, 60)
    assert np.array_equal(made(opened), session.mask())
    opened.undo()
    assert np.array_equal(made(opened), edited)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.25, 0.25)])
def test_downloads_are_the_files_that_the_command_line_writes(work, file, tmp_path, spacing):
    """Also of a file that says how large its pixels are, where 3D Slicer lays the mask on the picture by that."""
    image = sitk.ReadImage(str(file))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(file))
    work.open(PictureVolume.of(Picture.read(file)))
    with pytest.raises(VolumeError, match="no segment with anything in it"):
        results.write(work, "png", tmp_path)
    place(work, *KIDNEY)
    work.segments.rename(work.segment_id, "kidney")
    for kind, ending in (("png", ".png"), ("seg.nrrd", ".seg.nrrd")):
        (folder := tmp_path / kind).mkdir()
        found, written = results.write(work, kind, folder), tmp_path / f"by_command{ending}"
        options = ["--model", str(samples.SAM_MED2D_SMALL), "--device", "cpu", "--click-xy", "36,60"]
        result = CliRunner().invoke(app, ["segment", str(file), *options, "--name", "kidney", "-o", str(written)])
        assert result.exit_code == 0, result.output
        one, other = sitk.ReadImage(str(found)), sitk.ReadImage(str(written))
        assert found.name == ("lesion kidney.png" if kind == "png" else "lesion segmentation.seg.nrrd")
        assert np.array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))
        assert one.GetSpacing() == pytest.approx(other.GetSpacing())
        assert one.GetOrigin() == pytest.approx(other.GetOrigin())
    with pytest.raises(VolumeError, match=r"no download 'nii.gz'. Use png"):
        results.write(work, "nii.gz", tmp_path)
    work.add()
    place(work, 90, 60)
    (folder := tmp_path / "several").mkdir()
    with zipfile.ZipFile(results.write(work, "png", folder)) as archive:
        assert archive.namelist() == ["lesion 1 kidney.png", "lesion 2 kidney 2.png"]


def test_slicer_goes_on_with_the_scene(opened, file, toy, tmp_path):
    place(opened, *KIDNEY)
    saved = results.write(opened, "mrb", tmp_path)
    opened.close()
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(saved))
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLVectorVolumeNode")
    segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    [segment_id] = segmentation.GetSegmentation().GetSegmentIDs()
    segmenter, thread = newSegmenter(node, segmentation, lambda _: toy)
    try:
        segmenter.click(segment_id, (-26.0, -50.0, 0.0), False)
        settle(segmenter)
        session = PictureSession(Picture.read(file), toy)
        session.click(*KIDNEY)
        session.click(26, 50, False)
        assert np.array_equal(voxels(segmentation, segment_id, (122, 101, 1))[..., 0].T, session.mask())
    finally:
        segmenter.forgetScene()
        thread.stop()


def test_a_model_of_volumes_is_refused_with_the_remedy_and_nothing_is_lost(scene, file, predictor, toy):
    work = Work({"default": predictor, "toy": toy}.get)
    try:
        work.open(PictureVolume.of(Picture.read(file)))
        work.segmenter.click(work.segment_id, (-36.0, -60.0, 0.0))
        until(lambda: not work.segmenter.busy, work.poll)
        assert "works in 3-D. Choose a model of 2-D images: sam_med2d or ft_sam2d" in work.status
        assert not made(work).any()
        work.segmenter.model = "toy"
        place(work, *KIDNEY)
        assert made(work).any()
    finally:
        work.close()
