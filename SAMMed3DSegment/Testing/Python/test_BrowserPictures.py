"""Pictures in the page: coloured ones too, in pixels, with the answers of the command line."""

import numpy as np
import pytest
from PIL import Image

from helpers import make_affine
from mrmlNodes import voxels
from sammed3d import Grid, Picture, PictureSession, Volume, VolumeError, load_predictor, samples
from sammed3d.core.prompts import Click
from sammed3d.files.picture import PLANE, PictureVolume
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.session import inferer_for
from sammed3d.web.work import Work
from SAMMed3DSegmentLib.VolumeBridge import segmentableFromNode, volumeDigest, volumeFromNode
from segmenters import until

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
