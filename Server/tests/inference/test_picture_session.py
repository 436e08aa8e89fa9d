"""Pictures with 2-D models: pixels in, pixels out, and the same numbers as the published steps give."""

import numpy as np
import pytest
import torch

from helpers import FakePredictor, RegionPredictor
from networks import TINY_2D, TINY_PRESET_2D, filled
from peaks import peak_memory
from sammed3d import samples
from sammed3d.core.geometry import Grid
from sammed3d.errors import ModelError, PromptError, VolumeError
from sammed3d.evaluation.metrics import dice
from sammed3d.files.picture import Picture, PictureVolume
from sammed3d.files.volume import Volume
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.picture_slices import PictureSlices
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.nets import Slicewise, build
from sammed3d.nets.slicewise import PIXEL_MEAN, PIXEL_STD
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.wire import messages
from sammed3d.zoo import load_predictor
from servers import serving


def picture_of(pixels: np.ndarray) -> Picture:
    """A picture from (H, W) grey values or (H, W, 3) colours, blue first."""
    colours = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    height, width = colours.shape[:2]
    return Picture(colours.astype(np.uint8), Grid((width, height, 1), np.diag([-1.0, -1.0, 1.0, 1.0])), "p.png")


def squares() -> Picture:
    """Two bright squares of 20 pixels, at column 10 and row 30, and at column 60 and row 5."""
    grey = np.zeros((64, 96), np.uint8)
    grey[30:50, 10:30] = grey[5:25, 60:80] = 255
    return picture_of(grey)


def tiny() -> tuple[torch.nn.Module, TorchPredictor]:
    network = filled(build("sam_med2d", TINY_2D))
    return network, TorchPredictor(Slicewise(network), TINY_PRESET_2D, "tiny", device="cpu")


def test_pixels_go_in_and_pixels_come_out():
    session = PictureSession(squares(), RegionPredictor())
    session.click(15, 35)
    mask = session.mask()
    assert mask.shape == (64, 96)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == pytest.approx((30, 49), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((10, 29), abs=2)
    session.session.add_object()
    session.set_box(58, 3, 81, 26)
    assert session.mask()[15, 70] == 1
    assert session.mask()[40, 20] == 0
    session.session.undo()
    assert not session.mask().any()
    session.session.redo()
    assert session.mask()[15, 70] == 1


def test_a_large_picture_takes_hardly_more_memory_than_its_pixels():
    """Its pixels become real numbers where the model sees them, and nowhere else."""
    picture = picture_of(np.add.outer(np.arange(2000), np.arange(1500)) % 251)
    with peak_memory() as peak:
        PictureSession(picture, RegionPredictor())
        assert peak() < 1.5 * picture.pixels.nbytes


@pytest.mark.parametrize("coloured", [False, True])
def test_a_click_gives_what_the_published_steps_give(coloured):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 90, 3) if coloured else (50, 90), np.uint8)
    network, predictor = tiny()
    session = PictureSession(picture_of(pixels), predictor)
    session.click(33, 21)
    session.click(70, 40, positive=False)
    colours = session.picture.pixels.astype(np.float64)  # blue first, as the models were trained
    shown = (colours - PIXEL_MEAN) / PIXEL_STD
    rows, columns = np.arange(64) * 50 // 64, np.arange(64) * 90 // 64
    image = torch.tensor(shown[rows][:, columns].transpose(2, 0, 1)[None], dtype=torch.float32)
    places = torch.tensor([[[33 * 64 / 90, 21 * 64 / 50], [70 * 64 / 90, 40 * 64 / 50]]], dtype=torch.float32)
    with torch.inference_mode():
        embedding = network.encode(image)
        first, scores = network.decode(embedding, places[:, :1], torch.tensor([[1]]), None)
        best = first[:, scores.argmax()][:, None]
        both, scores = network.decode(embedding, places, torch.tensor([[1, 0]]), best.sigmoid())
        large = torch.nn.functional.interpolate(both, (64, 64), mode="bilinear")
        masks = (torch.nn.functional.interpolate(large, (50, 90), mode="bilinear") > 0)[0].numpy()
    order = scores[0].argsort(descending=True).tolist()
    candidates = session.candidates()
    assert [c.score for c in candidates] == pytest.approx(scores[0][order].tolist(), abs=1e-4)
    for n, candidate in zip(order, candidates, strict=True):
        assert (candidate.mask != masks[n]).mean() < 1e-3
    assert np.array_equal(candidates[0].mask, session.mask())


def test_colours_count():
    pixels = np.random.default_rng(1).integers(0, 256, (50, 90, 3), np.uint8)
    blue_first, red_first = (PictureSession(picture_of(p), tiny()[1]) for p in (pixels, pixels[..., ::-1]))
    for session in (blue_first, red_first):
        session.click(33, 21)
    assert not np.array_equal(blue_first.candidates()[0].mask, red_first.candidates()[0].mask)


def test_candidates_stay_in_the_box_as_the_mask_does_unless_that_is_not_wanted():
    pixels = np.random.default_rng(2).integers(0, 256, (50, 90), np.uint8)
    session = PictureSession(picture_of(pixels), tiny()[1])
    session.set_box(20, 10, 60, 30)
    outside = np.ones((50, 90), bool)
    outside[10:31, 20:61] = False
    assert not any(c.mask[outside].any() for c in session.candidates())
    assert not session.mask()[outside].any()
    session.session.set_honour(False)
    assert np.array_equal(session.candidates()[0].mask, session.mask())
    assert any(c.mask[outside].any() for c in session.candidates())


def test_a_mask_to_start_from_is_refined():
    session = PictureSession(squares(), RegionPredictor())
    start = np.zeros((64, 96), bool)
    start[30:50, 10:30] = True
    session.start_from(start)
    assert np.array_equal(session.mask(), start)
    session.click(70, 15)
    assert session.mask().any()
    with pytest.raises(VolumeError, match="shape"):
        session.start_from(start[:-1])


def test_what_cannot_be_is_refused():
    with pytest.raises(ModelError, match=r"3-D.*sam_med2d"):
        PictureSession(squares(), FakePredictor())
    session = PictureSession(squares(), RegionPredictor())
    with pytest.raises(PromptError, match=r"96,10 lies outside p.png, which has 96 x 64 pixels"):
        session.click(96, 10)
    with pytest.raises(PromptError, match="outside"):
        session.set_box(3, -5, 10, 10)
    with pytest.raises(PromptError, match="before the first"):
        session.candidates()
    session.click(15, 35)
    with pytest.raises(ModelError, match="shows no candidates"):
        session.candidates()


def test_two_hues_of_the_same_strength_are_a_picture():
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[..., 1], pixels[20:40, 20:40] = 200, (0, 0, 200)
    _, predictor = tiny()
    session = PictureSession(picture_of(pixels), predictor)
    session.click(30, 30)
    assert session.mask().shape == (64, 96)


def coloured() -> Picture:
    return picture_of(np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8))


@pytest.mark.parametrize("picture", [squares(), coloured()], ids=["grey", "coloured"])
def test_a_server_answers_about_pictures_as_the_model_here_does(picture):
    _, predictor = tiny()
    with serving(predictor) as server:
        there, here = (
            PictureSession(picture, RemotePredictor(server.url, "default")),
            PictureSession(picture, predictor),
        )
        for session in (there, here):
            session.click(15, 35)
            session.click(70, 10, positive=False)
        assert np.array_equal(there.mask(), here.mask())
        for one, other in zip(there.candidates(), here.candidates(), strict=True):
            assert one.score == other.score
            assert np.array_equal(one.mask, other.mask)
        assert [np.count_nonzero(f.mask) for f in there.find()] == [np.count_nonzero(f.mask) for f in here.find()]


def test_an_older_server_takes_grey_pictures_only_and_that_is_said(monkeypatch):
    with serving(tiny()[1]) as server:
        told = messages.info_to_json
        monkeypatch.setattr(
            messages, "info_to_json", lambda *a: told(*a) | {"takes_colours": False, "shows_candidates": False}
        )
        remote = RemotePredictor(server.url, "default")
        session = PictureSession(squares(), remote)
        session.click(15, 35)
        with pytest.raises(ModelError, match=r"shows no candidates\. Update it"):
            session.candidates()
        with pytest.raises(ModelError, match=r"takes grey pictures only\. Update it, predict on this computer"):
            PictureSession(coloured(), remote).click(15, 35)


def test_grey_and_coloured_slices_that_come_together_are_encoded_apart():
    predictor, alone = tiny()[1], tiny()[1]
    volumes = [PictureVolume.of(picture) for picture in (squares(), coloured())]
    grey, colours = (PictureSlices(volume, TINY_PRESET_2D).cut(volume, 0) for volume in volumes)
    assert (grey.voxels.shape[2], colours.voxels.shape[2]) == (1, 3)
    predictor.encode([grey, colours, grey])
    prompts = PatchPrompts([PatchClick((3.0, 5.0, 0.0), True)])
    for patch in (grey, colours):
        assert predictor.is_encoded(patch.digest)
        together, by_itself = (p.predict(patch, prompts).low_res for p in (predictor, alone))
        np.testing.assert_allclose(together, by_itself, atol=1e-4)


@pytest.mark.slow
def test_the_toy_that_ships_finds_kidneys_in_a_slice_that_it_did_not_see():
    volume, labels = (Volume.read(file) for file in (samples.CT_ABDOMEN, samples.CT_ABDOMEN_LABELS))
    grey = np.clip((volume.array[::-1, ::-1, 87].T + 160) / 400, 0, 1) * 255
    predictor = load_predictor(samples.SAM_MED2D_SMALL)
    assert "A toy" in predictor.notes[0]
    clicked, boxed = (PictureSession(picture_of(grey), predictor) for _ in range(2))
    clicked.click(36, 60)
    boxed.set_box(82, 53, 97, 70)
    for session, name in ((clicked, "kidney_right"), (boxed, "kidney_left")):
        truth = samples.label_names()[name] == labels.array[::-1, ::-1, 87].T
        assert dice(session.mask(), truth) > 0.8
