"""The widget for notebooks: clicks on pixels are clicks of the session."""

import numpy as np
import pytest

from helpers import RegionPredictor, ThresholdPredictor, long_volume, small_volume
from sammed3d.core.geometry import Grid
from sammed3d.files.picture import Picture
from sammed3d.files.volume import Volume
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.session import Session

pytest.importorskip("ipycanvas", reason="the extra [notebook] is not installed")
from ipycanvas import Canvas

from sammed3d.notebook import Clicker


@pytest.fixture
def clicker():
    return Clicker(Session(small_volume(), ThresholdPredictor()), edge=300)


def test_a_click_on_a_pixel_is_a_click_there(clicker):
    clicker.number.value = 14
    clicker.click(100.0, 150.0)
    [click] = clicker.session.current.clicks
    assert click.positive
    width, height = 240.0, 300.0
    assert click.world == pytest.approx(((1 - 100 / width) * 120 - 1.5, (1 - 150 / height) * 150 - 1.5, 42.0))
    assert clicker.status.value.startswith("Object 1: ")
    assert clicker.status.value.endswith(" s")
    clicker.kind.value = "Negative"
    clicker.click(30.0, 40.0)
    assert [click.positive for click in clicker.session.current.clicks] == [True, False]


@pytest.mark.parametrize("scale", [1e-9, 0.003, 1.0, 4000.0])
def test_the_window_of_any_image_is_set_finely_and_shows_it(scale):
    volume = small_volume()
    shares = (volume.array - volume.array.min()) / np.ptp(volume.array)
    clicker = Clicker(Session(Volume((scale * shares).astype(np.float32), volume.grid), ThresholdPredictor()))
    assert clicker.window.step == pytest.approx(scale / 4096)
    low, high = clicker.window.value
    assert 0 <= low < high <= scale * 1.001
    shown = clicker._view.pixels(clicker.number.value)  # noqa: SLF001
    assert shown.min() < 30
    assert shown.max() > 225


def test_dots_have_a_sign_for_those_who_see_both_colours_alike(clicker, monkeypatch):
    clicker.number.value = 14
    clicker.click(100.0, 150.0)
    bars = []
    monkeypatch.setattr(Canvas, "stroke_line", lambda _self, *ends: bars.append(ends))
    clicker.show()
    assert bars == [pytest.approx((96.5, 150, 103.5, 150)), pytest.approx((100, 146.5, 100, 153.5))]
    clicker.kind.value = "Negative"
    clicker.click(30.0, 40.0)
    assert bars[4:] == [pytest.approx((26.5, 40, 33.5, 40))], "behind the first click again"
    clicker.number.value = 20
    assert len(bars) == 5, "on other slices dots are too small for it"


def test_the_edges_of_a_slice_say_which_side_of_the_patient_lies_there(clicker, monkeypatch):
    written = []
    monkeypatch.setattr(Canvas, "fill_text", lambda _self, *what: written.append(what))
    clicker.show()
    left, right, bottom, top = written
    assert [letters for letters, *_ in written] == ["R", "L", "P", "A"]
    assert left[1] < 20
    assert 220 < right[1] < 240
    assert top[2] < 20
    assert 280 < bottom[2] < 300
    clicker.plane.value = "sagittal"
    assert [letters for letters, *_ in written[-4:]] == ["A", "P", "I", "S"]


def test_the_browsers_clicks_arrive(clicker):
    message = {"event": "mouse_down", "x": 100.0, "y": 150.0}
    clicker.children[1]._handle_frontend_event(None, message, [])  # noqa: SLF001 - ipycanvas has no other way in
    assert len(clicker.session.current.clicks) == 1


def test_buttons_go_back_and_forth(clicker):
    assert clicker.undo.disabled
    clicker.click(100.0, 150.0)
    mask = clicker.session.mask()
    clicker.undo.click()
    assert not clicker.session.mask().any()
    assert (clicker.undo.disabled, clicker.redo.disabled) == (True, False)
    clicker.redo.click()
    assert np.array_equal(clicker.session.mask(), mask)
    clicker.reset.click()
    assert not clicker.session.mask().any()
    clicker.undo.click()
    assert np.array_equal(clicker.session.mask(), mask)


def test_another_plane_is_shown_at_the_last_click():
    clicker = Clicker(Session(long_volume(), ThresholdPredictor()), edge=300)
    clicker.number.value = 150
    clicker.click(40.0, 60.0)
    [click] = clicker.session.current.clicks
    clicker.plane.value = "coronal"
    assert (clicker.number.max, clicker.number.value) == (59, round(click.world[1] / 3))
    assert clicker.children[1].height == 300
    clicker.plane.value = "axial"
    assert (clicker.number.max, clicker.number.value) == (199, 150)


def test_what_goes_wrong_is_said_and_changes_nothing(clicker):
    clicker.click(-50.0, 150.0)
    assert "outside" in clicker.status.value
    assert clicker.session.current is None
    clicker.session.predictor.fail = MemoryError("full")
    with pytest.raises(MemoryError):
        clicker.click(100.0, 150.0)
    assert clicker.status.value == "Failed; nothing was changed (MemoryError: full)."
    clicker.session.predictor.fail = KeyboardInterrupt()
    clicker.click(100.0, 150.0)
    assert clicker.status.value == "Stopped; nothing was changed."
    assert clicker.session.current is None or not clicker.session.current.clicks


def test_a_picture_takes_clicks_in_its_own_colours():
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[..., 0] = 40  # blue
    pixels[10:30, 60:80] = (255, 200, 0)  # a brighter square
    session = PictureSession(Picture(pixels, Grid((90, 60, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))), RegionPredictor())
    clicker = Clicker(session, edge=180)
    shown = clicker._view.pixels(0)  # noqa: SLF001 - what the canvas is given
    assert shown.shape == (120, 180, 3)
    assert (shown[40, 140].tolist(), shown[100, 20].tolist()) == ([0, 200, 255], [0, 0, 40])
    clicker.click(140.0, 40.0)
    [click] = session.session.current.clicks
    assert click.world[:2] == pytest.approx((-69.5, -19.5))
    rows, columns = np.nonzero(session.mask())
    assert (rows.min(), rows.max()) == pytest.approx((10, 29), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((60, 79), abs=2)
    assert clicker.status.value.startswith(f"Object 1: {session.mask().sum()} pixels, ")
    assert len(clicker.children) == 3, "a picture has no planes, slices and window"
