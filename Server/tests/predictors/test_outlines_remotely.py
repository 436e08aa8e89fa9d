"""Sessions with a server are sent outlines: the same masks as in this process, whatever a user does."""

import numpy as np
import pytest
import requests

from helpers import long_volume, small_volume
from rough import PLACES, PRESET, RoughPredictor, drawn_mask, pair
from sammed3d import samples
from sammed3d.errors import ModelError
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.wire import messages
from sammed3d.zoo import load_predictor
from servers import serving


@pytest.fixture
def served():
    with serving(RoughPredictor()) as server:
        yield server


@pytest.fixture
def received(monkeypatch):
    """Bytes of the answers to predictions."""
    sizes, request = [], requests.Session.request

    def counted(session, method, url, **options):
        response = request(session, method, url, **options)
        if method == "POST":
            sizes.append(len(response.content))
        return response

    monkeypatch.setattr(requests.Session, "request", counted)
    return sizes


def random_walk(session, seed, steps=14, start=None):
    """Click in one patch and in others, undo, redo, move, remove, apply the prompts anew; yields the masks.

    At the step `start`, the object starts from a mask that was drawn.
    """
    rng = np.random.default_rng(seed)
    session.add_object("thing")
    for step in range(steps):
        clicks = session.current.clicks
        if step == start:
            session.start_from(drawn_mask())
        what = rng.choice(["click", "undo", "redo", "move", "remove", "again"], p=[0.5, 0.15, 0.1, 0.1, 0.05, 0.1])
        near = PLACES[rng.integers(len(PLACES)) if rng.random() < 0.4 else 0]
        place = tuple(np.array(near) + rng.uniform(-20, 20, 3))
        if what == "click" or not clicks:
            session.click(place, bool(rng.random() < 0.7) or step == 0)
        elif what == "move":
            session.move_click(int(rng.integers(len(clicks))), place)
        elif what == "remove":
            session.remove_click(int(rng.integers(len(clicks))))
        elif what == "again":
            session.add_object(f"again {step}")
            session.set_prompts(session.objects[-2].prompts)
        else:
            getattr(session, what)()
        yield session.mask()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "start"), [(6, 0), (7, 0), (8, 4)])
def test_masks_that_started_from_a_drawn_one_are_too(served, seed, start):
    here, there = pair(served)
    shown = 0
    for mask, other in zip(random_walk(here, seed, start=start), random_walk(there, seed, start=start), strict=True):
        assert np.array_equal(mask, other)
        shown += mask.any()
    assert shown > 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_masks_are_those_of_this_process_bit_for_bit(served, tmp_path, seed):
    here, there = pair(served)
    shown = 0
    for mask, other in zip(random_walk(here, seed), random_walk(there, seed), strict=True):
        assert np.array_equal(mask, other)
        shown += mask.any()
    assert shown > 8
    there.save_prompts(tmp_path / "prompts.json")
    for session in pair(served):
        session.load_prompts(tmp_path / "prompts.json")
        for each in here.objects:
            assert np.array_equal(session.mask(each.name), here.mask(each.name))


def test_how_sure_the_model_is_and_where_to_click_next_are_the_same(served):
    here, there = pair(served, small_volume((60, 60, 60)))
    for session in (here, there):
        session.click((90.0, 90.0, 90.0))
        session.click((60.0, 100.0, 80.0), positive=False)
    mine, theirs = here.uncertainty(), there.uncertainty()
    for name in ("probability", "disagreement", "entropy"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name))
    assert here.suggest() == there.suggest()
    assert np.array_equal(here.mask(), there.mask())


def test_outlines_are_enough_in_further_patches_too(served, received):
    here, there = pair(served)
    for place in (*PLACES[:3], PLACES[0], PLACES[1]):
        for session in (here, there):
            session.click(place)
        assert np.array_equal(here.mask(), there.mask())
    whole = len(messages.answer_to_bytes(RoughPredictor().predict(*asked(here))))
    assert sum(received) < 5 * whole / 2
    before = len(received)
    there.undo()
    there.redo()
    assert len(received) == before


def test_who_needs_all_logits_is_sent_them(served, received):
    here, there = pair(served)
    for place in PLACES[1:3]:
        for session in (here, there):
            session.click(place)
    whole = len(messages.answer_to_bytes(RoughPredictor().predict(*asked(here))))
    assert [size > whole / 2 for size in received] == [False, False]
    there.uncertainty()
    assert [size > whole / 2 for size in received[2:4]] == [True, True]


def asked(session):
    """Patch and prompts of a click."""
    patch = session.inferer.inner.patch(session.inferer.inner.lattice.window_at(PLACES[0], PRESET.patch_shape))
    return patch, messages.prompts_from_json({"clicks": [[32, 32, 20, True]]}, PRESET.patch_shape)


def test_a_mask_drawn_by_hand_is_refined_with_outlines(served, received):
    here, there = pair(served)
    for session in (here, there):
        session.start_from(drawn_mask())
    for offset in (0, 6, 12):
        for session in (here, there):
            session.click(tuple(np.add(PLACES[0], offset)))
        assert np.array_equal(here.mask(), there.mask())
    whole = len(messages.answer_to_bytes(RoughPredictor().predict(*asked(here))))
    assert len(received) == 3
    assert max(received) < whole / 2


@pytest.mark.parametrize("keeps", [True, False])
def test_an_outline_that_leaves_the_mask_open_is_followed_by_what_is_missing(served, received, monkeypatch, keeps):
    """As if the server had chosen badly what it sends; it may have forgotten its answers by then."""
    monkeypatch.setattr("sammed3d.wire.outlines.blended", lambda low_res, *_: np.zeros(low_res.shape, bool))
    wanted, logits_of = [], RemotePredictor.logits_of

    def asked_for(remote, answer, marked, cancellation):
        found = logits_of(remote, answer, marked, cancellation) if keeps else None
        wanted.append(marked.mean())
        return found

    monkeypatch.setattr(RemotePredictor, "logits_of", asked_for)
    here, there = pair(served)
    for place in (PLACES[0], PLACES[2], PLACES[3]):
        for session in (here, there):
            session.click(place)
        assert np.array_equal(here.mask(), there.mask())
    whole = len(messages.answer_to_bytes(RoughPredictor().predict(*asked(here))))
    assert wanted
    assert 0 < max(wanted) < 0.5
    assert any(size > whole / 2 for size in received) is not keeps


def test_what_a_server_has_forgotten_by_then_is_computed_again(served):
    here, there = pair(served)
    for session in (here, there):
        session.click(PLACES[0])
    served.stop()
    served.start()
    for session in (here, there):
        session.click(PLACES[2])
    assert np.array_equal(here.mask(), there.mask())


def test_a_server_that_is_gone_by_then_leaves_the_object_as_it_was(served):
    here = Session(long_volume(), RoughPredictor())
    there = Session(long_volume(), RemotePredictor(served.url, patience=0.2))
    for session in (here, there):
        session.click(PLACES[0])
    served.stop()
    with pytest.raises(ModelError, match="cannot be reached"):
        there.click(PLACES[2])
    with pytest.raises(ModelError, match="cannot be reached"):
        there.uncertainty()
    assert np.array_equal(here.mask(), there.mask())
    served.start()
    for session in (here, there):
        session.click(PLACES[2])
    assert np.array_equal(here.mask(), there.mask())


def test_an_older_server_that_knows_no_outlines_sends_the_whole(served, received, monkeypatch):
    to_bytes = messages.answer_to_bytes
    monkeypatch.setattr(messages, "answer_to_bytes", lambda prediction, *_: to_bytes(prediction))
    here, there = pair(served)
    for place in (PLACES[0], PLACES[2]):
        for session in (here, there):
            session.click(place)
        assert np.array_equal(here.mask(), there.mask())
    assert len(received) == 2


@pytest.mark.slow
def test_a_further_click_of_the_default_model_brings_at_most_60_kb(received):
    volume = Volume.read(samples.CT_ABDOMEN)
    labels = Volume.read(samples.CT_ABDOMEN_LABELS).array
    here = Session(volume, load_predictor("default", device="cpu"))
    with serving(load_predictor("default", device="cpu")) as server:
        there = Session(volume, RemotePredictor(server.url))
        for label in largest(labels, 2):
            places = np.argwhere(labels == label)
            middle = places[np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()]
            for session in (here, there):
                session.add_object(f"label {label}")
            for offset, positive in (((0, 0, 0), True), ((3, -2, 2), True), ((-8, 6, 0), False)):
                for session in (here, there):
                    session.click(tuple(volume.grid.to_world(middle + offset)), positive)
                assert here.mask().any()
                assert np.array_equal(here.mask(), there.mask())
    assert len(received) == 6 + 2, "each first click is answered in a wide patch before"
    assert max(received) <= 60_000


def largest(labels, count):
    """The labels of most voxels."""
    sizes = np.bincount(labels.ravel().astype(int))
    sizes[0] = 0
    return np.argsort(-sizes)[:count].tolist()
