"""In which order a device works, and that it loses nothing."""

import threading
import time

import numpy as np
import pytest

from helpers import ThresholdPredictor, small_volume
from networks import TINY_PRESET
from sammed3d.errors import PredictionCancelled
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server.compute.scheduler import Job, Scheduler
from workers import SMALL, job


@pytest.fixture
def gated():
    """A predictor whose first job waits at the gate, and that has encoded nothing yet."""
    predictor = ThresholdPredictor(preset=SMALL)
    predictor.encoded = set()
    predictor.gate.clear()
    return predictor


def digest(seed):
    return job(seed).patch.digest


def scheduler_with(gated, batch=1):
    """A scheduler that is held up by a first job, so that others queue behind it."""
    scheduler = Scheduler({"default": gated}, batch)
    gated.encoded.add(digest(99))
    first = scheduler.submit(job(99))
    gated.asked.wait(5)
    return scheduler, first


def test_clicks_on_known_patches_overtake_new_patches(gated):
    scheduler, first = scheduler_with(gated)
    new = [scheduler.submit(job(1)), scheduler.submit(job(2))]
    gated.encoded.add(digest(3))
    known = scheduler.submit(job(3))
    gated.gate.set()
    for future in (first, *new, known):
        future.result(5)
    assert gated.log[1] == ("decode", digest(3))
    assert gated.log[2:] == [
        ("encode", [digest(1)]),
        ("decode", digest(1)),
        ("encode", [digest(2)]),
        ("decode", digest(2)),
    ]
    scheduler.close()


@pytest.mark.parametrize("how", ["cancel", "close", "encode"])
def test_who_hears_of_an_end_holds_nobody_up(gated, how):
    """As an engine that takes note of it, with a lock of its own under which it asks for more."""
    scheduler, first = scheduler_with(gated)
    asked, lock, more = job(1), threading.Lock(), []
    waiting = scheduler.submit(asked)

    def take_note(_):
        with lock:
            pass

    waiting.add_done_callback(take_note)
    if how == "encode":
        gated.encode = failing
    end = {"cancel": lambda: scheduler.cancel(asked), "close": scheduler.close, "encode": gated.gate.set}[how]
    with lock:
        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        wait_until(waiting.done)
        asking = threading.Thread(target=lambda: more.append(scheduler.submit(job(2))), daemon=True)
        asking.start()
        asking.join(5)
        assert more, "neither waits for the other"
    gated.gate.set()
    first.result(5)
    ending.join(5)
    assert not ending.is_alive()


def failing(*_):
    raise RuntimeError("as a device does")


def wait_until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_light_user_waits_for_what_runs_and_for_nothing_else(gated):
    scheduler, _ = scheduler_with(gated)
    gated.encoded |= {digest(seed) for seed in (*range(1, 9), 50)}
    light = []

    def come(patch, _):
        if patch.digest == digest(1):  # the heavy user's first one runs
            light.append(scheduler.submit(job(50, user="light")))

    gated.before = come
    heavy = [scheduler.submit(job(seed, user="heavy", session=str(seed))) for seed in range(1, 9)]
    gated.gate.set()
    for future in (*heavy, *light):
        future.result(5)
    assert gated.log == [("decode", digest(seed)) for seed in (99, 1, 50, 2, 3, 4, 5, 6, 7, 8)]
    scheduler.close()


def test_new_patches_of_a_heavy_user_do_not_hold_up_a_light_one(gated):
    scheduler, first = scheduler_with(gated)
    heavy = [scheduler.submit(job(seed, user="heavy", session=str(seed))) for seed in (1, 2, 3)]
    gated.encode_gate.clear()
    gated.gate.set()
    first.result(5)
    gated.encoding.wait(5)
    light = scheduler.submit(job(50, user="light"))
    gated.encode_gate.set()
    for future in (*heavy, light):
        future.result(5)
    assert gated.log[1:] == [
        (kind, [digest(seed)] if kind == "encode" else digest(seed))
        for seed in (1, 50, 2, 3)  # the first one ran when the light user came
        for kind in ("encode", "decode")
    ]
    scheduler.close()


def test_users_take_turns_and_so_do_the_sessions_of_each(gated):
    scheduler, _ = scheduler_with(gated)
    gated.encoded |= {digest(seed) for seed in range(10)}
    asked = [("a", "x", 1), ("a", "x", 2), ("a", "y", 3), ("a", "y", 4), ("b", "z", 5), ("b", "z", 6)]
    futures = [scheduler.submit(job(seed, user=user, session=session)) for user, session, seed in asked]
    gated.gate.set()
    for future in futures:
        future.result(5)
    assert [done for _, done in gated.log[1:]] == [digest(seed) for seed in (1, 5, 3, 6, 2, 4)]
    scheduler.close()


def test_what_a_process_asked_to_be_sent_goes_first(gated):
    scheduler, _ = scheduler_with(gated)
    gated.encoded |= {digest(seed) for seed in range(10)}
    futures = [scheduler.submit(job(1)), scheduler.submit(job(2), first=True)]
    gated.gate.set()
    for future in futures:
        future.result(5)
    assert [done for _, done in gated.log[1:]] == [digest(2), digest(1)]
    scheduler.close()


def test_new_patches_are_encoded_together_and_each_once(gated):
    scheduler, _ = scheduler_with(gated, batch=3)
    futures = [scheduler.submit(job(seed)) for seed in (1, 1, 2, 3, 4)]
    gated.gate.set()
    results = [future.result(5) for future in futures]
    encodes = [patches for kind, patches in gated.log if kind == "encode"]
    assert encodes == [[digest(1), digest(2), digest(3)], [digest(4)]]
    assert results[0].seconds["encode"] == 1.5
    assert all("queue" in result.seconds for result in results)
    scheduler.close()


def test_jobs_that_failed_before_are_encoded_alone(gated):
    scheduler, _ = scheduler_with(gated, batch=3)
    alone = Job("default", job(1).patch, job(1).prompts, alone=True)
    futures = [scheduler.submit(each) for each in (alone, job(2), job(3))]
    gated.gate.set()
    for future in futures:
        future.result(5)
    assert [patches for kind, patches in gated.log if kind == "encode"] == [
        [digest(1)],
        [digest(2), digest(3)],
    ]
    scheduler.close()


def test_a_waiting_job_can_be_cancelled_and_the_others_are_not(gated):
    scheduler, _ = scheduler_with(gated, batch=3)
    jobs = [job(seed) for seed in (1, 2)]
    futures = [scheduler.submit(each) for each in jobs]
    scheduler.cancel(jobs[0])
    gated.gate.set()
    with pytest.raises(PredictionCancelled):
        futures[0].result(5)
    assert futures[1].result(5) is not None
    scheduler.close()


def test_an_encoding_stops_only_when_all_who_wait_for_it_are_gone(gated):
    scheduler, _ = scheduler_with(gated, batch=2)
    gated.encode_gate.clear()
    jobs = [job(1), job(2)]
    futures = [scheduler.submit(each) for each in jobs]
    gated.gate.set()
    gated.encoding.wait(5)
    scheduler.cancel(jobs[0])
    gated.encode_gate.set()
    assert futures[1].result(5) is not None
    with pytest.raises(PredictionCancelled):
        futures[0].result(5)
    assert ("encode", [digest(1), digest(2)]) in gated.log
    scheduler.close()


def test_an_error_of_the_encoder_reaches_all_who_wait_for_it(gated):
    scheduler, _ = scheduler_with(gated, batch=2)
    gated.fail = RuntimeError("out of memory")
    futures = [scheduler.submit(job(seed)) for seed in (1, 2)]
    gated.gate.set()
    for future in futures:
        with pytest.raises(RuntimeError, match="out of memory"):
            future.result(5)
    gated.fail = None
    assert scheduler.submit(job(5)).result(5) is not None
    scheduler.close()


def test_the_end_finishes_what_runs_and_cancels_what_waits(gated):
    scheduler, running = scheduler_with(gated)
    waiting = scheduler.submit(job(1))
    threading.Timer(0.1, gated.gate.set).start()
    scheduler.close()
    assert running.result(0) is not None
    assert isinstance(waiting.exception(0), PredictionCancelled)
    assert not scheduler.is_ready


def test_patches_encoded_together_give_the_answers_of_each_alone(tiny_network):
    volume = small_volume((70, 80, 60))
    lattice = Lattice(volume.grid, TINY_PRESET.spacing)
    places = [(60, 75, 45), (100, 75, 45), (60, 120, 90)]
    windows = [lattice.window_at(place, TINY_PRESET.patch_shape) for place in places]
    patches = [cut_patch(volume, lattice, window, TINY_PRESET) for window in windows]
    click = (PatchClick((30.0, 31.0, 32.0), True),)
    alone = [
        TorchPredictor(tiny_network, TINY_PRESET, device="cpu").predict(p, PatchPrompts(click)).low_res for p in patches
    ]
    together = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
    assert not together.is_encoded(patches[0].digest)
    together.encode(patches)
    for patch, one in zip(patches, alone, strict=True):
        assert together.is_encoded(patch.digest)
        done = together.predict(patch, PatchPrompts(click))
        assert "encode" not in done.seconds
        np.testing.assert_allclose(done.low_res, one, atol=1e-4)
