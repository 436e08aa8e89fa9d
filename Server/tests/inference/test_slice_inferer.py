"""2-D models in sessions: prompts on a slice, followed from slice to slice."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import RegionPredictor, make_affine, small_volume
from networks import TINY_2D, filled
from sammed3d.core.geometry import Grid
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.files.volume import Volume
from sammed3d.inference import slice_inferer
from sammed3d.inference.predictor import Cancellation, PatchClick, PatchPrompts
from sammed3d.inference.session import Session
from sammed3d.inference.slices import Slices
from sammed3d.nets import build
from sammed3d.zoo import load_predictor
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.load import load_model

SHAPE, SPACING = (64, 64, 30), (1.0, 1.0, 3.0)


def columns(*objects: tuple[int, int, int, int]) -> np.ndarray:
    """Bright columns 16 wide on a dark ground: (i, j, first slice, one past the last)."""
    array = np.zeros(SHAPE, np.int16)
    array[0, 0] = 1000  # so that every slice has the same grey values
    for i, j, begin, end in objects:
        array[i : i + 16, j : j + 16, begin:end] = 1000
    return array


def session_on(array: np.ndarray) -> Session:
    return Session(Volume(array, Grid(SHAPE, make_affine(SPACING)), "v"), RegionPredictor())


def at(i: int, j: int, k: int) -> tuple[float, float, float]:
    return i * SPACING[0], j * SPACING[1], k * SPACING[2]


def test_an_object_is_followed_to_both_sides_until_it_vanishes():
    session = session_on(columns((8, 8, 5, 22), (40, 40, 0, 30)))
    update = session.click(at(16, 16, 12))
    expected = np.zeros(SHAPE, np.uint8)
    expected[8:24, 8:24, 5:22] = 1
    assert (session.mask() != expected).sum() == 4 * 17, "all but the corners, which interpolation rounds"
    assert update.box.begin == (8, 8, 5)
    assert update.box.end == (24, 24, 22)
    asked = [call.window.begin[2] for call in session.predictor.calls]
    assert asked == [12, *range(13, 23), *range(11, 3, -1)], "and not beyond the first empty slice"
    _, clicks, initial, box, *_ = session.predictor.calls[1]
    assert clicks == ()
    assert initial is not None
    assert box.begin == (40.0, 40.0, 0.0), "the box round the mask, columns and rows run to the left and back"
    assert box.end == (56.0, 56.0, 0.0)


@pytest.mark.slow
def test_a_model_that_floods_is_stopped():
    """No end in sight: followed so far and no further, on by a click, over a whole box where one is drawn."""
    assert slice_inferer.FOLLOWED == 64, "as docs/models.md says"
    count = 2 * slice_inferer.FOLLOWED + 40
    array = np.zeros((64, 64, count), np.int16)
    array[0, 0], array[8:24, 8:24] = 1000, 1000
    session = Session(Volume(array, Grid(array.shape, make_affine((1.0, 1.0, 1.0))), "v"), RegionPredictor())
    cancellation = Cancellation()
    session.click((16.0, 16.0, 20.0), cancellation=cancellation)
    assert session.mask()[16, 16].nonzero()[0].tolist() == list(range(20 + slice_inferer.FOLLOWED + 1))
    assert cancellation.slices == (slice_inferer.FOLLOWED + 21, slice_inferer.FOLLOWED + 21)
    session.click((16.0, 16.0, 20.0 + slice_inferer.FOLLOWED))
    assert session.mask()[16, 16].sum() == min(count, 21 + 2 * slice_inferer.FOLLOWED)
    boxed = Session(session.volume, RegionPredictor())
    boxed.set_box((6.0, 6.0, 0.0), (26.0, 26.0, count - 1.0))
    assert boxed.mask()[16, 16].all()


def test_an_object_that_moves_away_is_not_swapped_for_another():
    session = session_on(columns((8, 8, 5, 12), (40, 40, 12, 22)))
    session.click(at(16, 16, 8))
    assert session.mask()[..., 12:].sum() == 0


class Boxes(RegionPredictor):
    """Finds what is bright in a box, as models that trust their box more than the mask that they are shown."""

    def answer(self, patch, prompts):
        if prompts.box is None:
            return super().answer(patch, prompts)
        return super().answer(patch, replace(prompts, mask_prompt=None))


def test_an_object_that_is_found_beside_where_it_was_is_another_one():
    """A ring, and what is in its middle two slices further on: the box round the ring shows both."""
    array = np.zeros(SHAPE, np.int16)
    array[0, 0] = 1000
    array[8:48, 8:48, 5:12] = 1000
    array[16:40, 16:40, 5:12] = 0
    array[24:32, 24:32, 12:20] = 1000
    session = Session(Volume(array, Grid(SHAPE, make_affine(SPACING)), "v"), Boxes())
    session.click(at(10, 20, 8))
    assert session.mask()[10, 20].nonzero()[0].tolist() == list(range(5, 12))
    assert session.mask()[..., 12:].sum() == 0


def test_the_first_positive_click_of_a_slice_goes_before_the_negative_ones():
    session = session_on(columns((8, 8, 0, 10), (40, 40, 18, 25)))
    session.click(at(16, 16, 5))
    session.click(at(16, 16, 20), positive=False)
    session.click(at(48, 48, 20))
    asked = [call.clicks for call in session.predictor.calls if call.window.begin[2] == 20 and call.clicks]
    assert [[click.positive for click in clicks] for clicks in asked] == [[True, False]]
    assert session.mask()[48, 48].nonzero()[0].tolist() == list(range(18, 25))


def test_a_correction_counts_for_the_slices_nearest_to_it():
    """Two columns that touch from slice 10 on; a negative click takes the second away where it was clicked."""
    array = columns((8, 8, 0, 30), (30, 8, 0, 30))
    array[24:30, 8:24, 10:12] = 1000  # a bridge in slices 10 and 11
    session = session_on(array)
    session.click(at(16, 16, 5))
    assert session.mask()[38, 16].nonzero()[0].tolist() == list(range(10, 30)), "it leaked through the bridge"
    session.click(at(38, 16, 13), positive=False)
    mask = session.mask()
    assert mask[38, 16].nonzero()[0].tolist() == [10, 11], "where the bridge is, they are one region to the model"
    assert mask[16, 16, :10].all()
    assert mask[16, 16, 12:].all()
    assert session.undo() is not None
    assert session.mask()[38, 16, 10:].all()


def test_replaying_known_prompts_asks_nothing():
    session = session_on(columns((8, 8, 5, 22)))
    session.click(at(16, 16, 12))
    session.click(at(10, 10, 20))
    first = session.mask()
    calls = len(session.predictor.calls)
    session.undo()
    session.redo()
    assert np.array_equal(session.mask(), first)
    assert len(session.predictor.calls) == calls
    other = session_on(columns((8, 8, 5, 22)))
    other.set_clicks(session.current.clicks)
    assert np.array_equal(other.mask(), first), "the mask is a function of the prompts"


def test_answers_that_were_dropped_are_asked_for_again(monkeypatch):
    monkeypatch.setattr(slice_inferer, "ANSWERS", 4 * 16 * 16 * 4)  # four of them
    session = session_on(columns((8, 8, 5, 22)))
    session.click(at(16, 16, 12))
    first = session.mask()
    session.click(at(10, 10, 20))
    calls = len(session.predictor.calls)
    session.remove_click(1)
    assert np.array_equal(session.mask(), first)
    assert len(session.predictor.calls) > calls


def test_clicks_of_a_slice_accumulate_and_start_from_what_had_reached_it():
    session = session_on(columns((8, 8, 0, 30), (40, 40, 0, 30)))
    session.click(at(16, 16, 5))
    session.click(at(48, 48, 9))
    session.click(at(16, 16, 9), positive=False)
    _, clicks, initial, box, *_ = next(call for call in reversed(session.predictor.calls) if call.clicks)
    assert [click.positive for click in clicks] == [True, False]
    assert initial is not None
    assert box is None
    mask = session.mask()
    assert mask[16, 16].nonzero()[0].tolist() == list(range(8)), "slice 7 is as near to 5 as to 9; the lower one counts"
    assert mask[48, 48].nonzero()[0].tolist() == list(range(8, 30))


def test_negative_clicks_alone_make_nothing():
    session = session_on(columns((8, 8, 0, 30)))
    session.click(at(16, 16, 5), positive=False)
    assert session.mask().sum() == 0
    assert session.predictor.calls == []
    session.click(at(16, 16, 5))
    asked = [[click.positive for click in call.clicks] for call in session.predictor.calls]
    assert asked == [[True], [True, False]], "the positive one goes first"


def test_a_box_prompts_its_middle_slice_and_bounds_the_others():
    session = session_on(columns((8, 8, 0, 30), (40, 40, 0, 30)))
    session.set_box(at(6, 6, 8), at(26, 26, 16))
    window, clicks, initial, box, *_ = session.predictor.calls[0]
    assert window.begin[2] == 12
    assert (clicks, initial) == ((), None)
    assert box.begin == (63 - 26, 63 - 26, 0)
    assert box.end == (63 - 6, 63 - 6, 0)
    mask = session.mask()
    assert mask[16, 16].nonzero()[0].tolist() == list(range(8, 17))
    assert mask[48, 48].sum() == 0
    session.click(at(16, 16, 20))
    assert session.mask()[16, 16].nonzero()[0].tolist() == list(range(8, 21)), "a click beyond it moves the bound"
    session.undo()
    session.undo()
    assert session.current.box is None
    assert session.mask().sum() == 0


def test_prompts_with_a_box_are_saved_and_loaded(tmp_path):
    session = session_on(columns((8, 8, 0, 30)))
    session.set_box(at(6, 6, 8), at(26, 26, 16))
    session.click(at(16, 16, 18))
    session.save_prompts(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["version"] == 2
    other = session_on(columns((8, 8, 0, 30)))
    other.load_prompts(tmp_path / "p.json")
    assert other.current.prompts == session.current.prompts
    assert np.array_equal(other.mask(), session.mask())


def test_an_object_that_started_from_a_mask_changes_in_the_clicked_slices_only():
    array = columns((8, 8, 0, 30), (40, 40, 0, 30))
    session = session_on(array)
    start = np.zeros(SHAPE, np.uint8)
    start[8:24, 8:24, 4:20] = 1
    session.start_from(start)
    assert np.array_equal(session.mask(), start)
    session.click(at(48, 48, 10))
    assert (session.predictor.calls[0].mask_prompt > 0).any(), "what is there is shown to the model"
    changed = session.mask() != start
    assert changed[..., 10].any()
    assert not np.delete(changed, 10, axis=2).any()
    session.click(at(48, 48, 25))
    assert session.mask()[42:54, 42:54, 25].all()
    assert session.mask()[8:24, 8:24, 25].sum() == 0


def test_a_cancelled_walk_changes_nothing_and_goes_on_later():
    session = session_on(columns((8, 8, 0, 30)))
    cancellation = Cancellation()
    session.predictor.before = lambda *_: len(session.predictor.calls) == 6 and cancellation.cancel()
    with pytest.raises(PredictionCancelled):
        session.click(at(16, 16, 12), cancellation=cancellation)
    assert session.objects == []
    session.click(at(16, 16, 12))
    assert session.mask()[16, 16].all()
    assert len(session.predictor.calls) == 5 + 1 + 25, "what was known before is not asked again"


def test_a_checkpoint_runs_in_a_session(tiny_checkpoint_2d):
    predictor = load_predictor(tiny_checkpoint_2d, device="cpu")
    session = Session(small_volume((60, 70, 12), (1.0, 1.0, 4.0)), predictor)
    update = session.click((30.0, 35.0, 20.0))
    assert {"cut", "encode", "decode", "paint"} <= set(update.seconds)
    session.click((20.0, 30.0, 20.0), positive=False)
    session.set_box((10.0, 10.0, 10.0), (50.0, 60.0, 30.0))
    first = session.mask()
    session.undo()
    session.redo()
    assert np.array_equal(session.mask(), first)


def test_the_session_gives_the_numbers_of_the_published_predictor(tiny_checkpoint_2d):
    """One slice by hand: nearest pixels, ImageNet mean and deviation, best of three, fed back as probabilities."""
    predictor = load_predictor(tiny_checkpoint_2d, device="cpu")
    volume = small_volume((60, 70, 5), (1.0, 1.0, 4.0))
    slices = Slices(volume.grid, predictor.preset)
    network = filled(build("sam_med2d", TINY_2D))
    image = volume.array[::-1, ::-1, 2].T.astype(np.float64)  # rows, columns
    grey = (image - image.min()) / (image.max() - image.min()) * 255
    rgb = (grey[..., None] - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    rows, columns = np.floor(np.arange(64) * 70 / 64).astype(int), np.floor(np.arange(64) * 60 / 64).astype(int)
    tensor = torch.from_numpy(rgb[rows][:, columns].transpose(2, 0, 1)).float()[None]
    coords = torch.tensor([[[(59 - 20) * 64 / 60, (69 - 31) * 64 / 70], [(59 - 40) * 64 / 60, (69 - 50) * 64 / 70]]])
    with torch.inference_mode():
        embedding = network.encode(tensor)
        masks, scores = network.decode(embedding, coords[:, :1], torch.tensor([[1]]), None)
        best = masks[:, scores.argmax(1)]
        masks, scores = network.decode(embedding, coords, torch.tensor([[1, 0]]), best.sigmoid())
    expected = masks[0, scores.argmax()].numpy()
    clicks = [
        PatchClick((float(coords[0, 0, 0]), float(coords[0, 0, 1]), 0.0), True),
        PatchClick((float(coords[0, 1, 0]), float(coords[0, 1, 1]), 0.0), False),
    ]
    answer = predictor.predict(slices.cut(volume, 2), PatchPrompts(clicks))
    assert np.abs(answer.low_res[..., 0].T - expected).max() < 1e-4
    assert answer.score == pytest.approx(float(scores.max()), abs=1e-4)
    assert slices.place((20.0, 31.0, 8.0)) == (2, pytest.approx(clicks[0].voxel[:2]))
    again = predictor.predict(slices.cut(volume, 2), PatchPrompts(clicks))
    assert again.score == answer.score
    assert again.seconds == {}, "nothing was computed"


def test_models_that_do_not_know_boxes_are_told_clicks(tiny_checkpoint):
    predictor = load_predictor(tiny_checkpoint, device="cpu")
    session = Session(small_volume(), predictor)
    session.set_box((10, 10, 10), (60, 60, 60))
    [told] = session.translations(session.current.name)
    assert told.clicks[0].positive
    with pytest.raises(PromptError, match="does not know boxes"):
        session.inferer.inner.mask_of(session.current.state)


def test_adapters_can_be_left_out_and_padding_chosen(tmp_path):
    state = filled(build("sam_med2d", TINY_2D)).state_dict()
    small = RegionPredictor().preset.to_json()
    write_checkpoint(tmp_path / "m.safetensors", state, sizes=TINY_2D, preset=small)
    without = load_predictor(tmp_path / "m.safetensors", "cpu", family="sam_med2d_no_adapters")
    assert any("weights (Adapter)" in note for note in without.notes)
    volume = small_volume((60, 70, 5), (1.0, 1.0, 4.0))
    patch = Slices(volume.grid, without.preset).cut(volume, 2)
    with_adapters = load_predictor(tmp_path / "m.safetensors", "cpu", family="sam_med2d")
    click = [PatchClick((30.0, 30.0, 0.0), True)]
    answers = [p.predict(patch, PatchPrompts(click)).low_res for p in (with_adapters, without)]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    model = load_model(tmp_path / "m.safetensors", "sam_med2d_no_adapters")
    model.write(tmp_path / "without.safetensors")
    again = load_predictor(tmp_path / "without.safetensors", "cpu")
    assert np.array_equal(again.predict(patch, PatchPrompts(click)).low_res, answers[1]), "also after an export"
    assert with_adapters.preset.fit == "resize"
    assert load_predictor(tmp_path / "m.safetensors", "cpu", family="sam_med2d_padded").preset.fit == "pad"
