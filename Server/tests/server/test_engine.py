"""The engine: whose patch is whose, who has to wait, and which request counts."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from helpers import ThresholdPredictor
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.inference.predictor import Cancellation, PatchClick, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset
from sammed3d.server.compute.admission import Admission, BusyError
from sammed3d.server.compute.engine import Engine, EnginePredictor
from sammed3d.server.compute.scheduler import Scheduler
from sammed3d.server.compute.worker import UnavailableError
from sammed3d.server.compute.worker_process import Held as InUse
from sammed3d.server.http.keys import Quota
from sammed3d.wire.messages import ModelInfo, Question, Turn
from workers import SMALL, job

PROMPTS = PatchPrompts([PatchClick((1.0, 2.0, 3.0), True)])
MODEL = ModelInfo("default", "Test", "0" * 64, "", SMALL)


class Held:
    """A device that answers when it is told to."""

    held = InUse(device=7, resident=1 << 20, caches={"embeddings": (5, 9)})

    def __init__(self):
        self.is_ready, self.jobs, self.cancelled, self.closed = True, {}, [], False

    def submit(self, asked):
        self.jobs[asked.number] = (asked, Future())
        return self.jobs[asked.number][1]

    def cancel(self, asked):
        self.cancelled.append(asked.number)
        self.jobs[asked.number][1].set_exception(PredictionCancelled("cancelled"))

    def answer_all(self):
        for _, future in self.jobs.values():
            if not future.done():
                future.set_result(Prediction(np.zeros((4, 4, 4), np.float32), None, {"decode": 0.01}))

    def close(self):
        self.closed = True


def voxels(seed):
    return job(seed).patch.voxels


def digest(seed):
    return f"{seed:064x}"


def ask(engine, user="anna", seed=1, request="r", turn=None):
    return engine.predict(user, digest(seed), Question("default", request, PROMPTS, turn))


@pytest.fixture
def device():
    return Held()


def engine_with(device, **options):
    engine = Engine([MODEL], [device], **options)
    for user in ("anna", "ben"):
        for seed in range(1, 5):
            engine.put_patch(user, digest(seed), voxels(seed))
    return engine


def test_more_than_the_queue_holds_are_told_to_come_back(device):
    engine = engine_with(device, queue=2)
    assert engine.is_ready
    ask(engine)
    ask(engine, "ben")
    assert not engine.is_ready
    with pytest.raises(BusyError, match="busy"):
        ask(engine)
    device.answer_all()
    assert engine.is_ready
    assert ask(engine) is not None


def test_a_newer_request_of_a_session_makes_the_older_one_void(device):
    engine = engine_with(device)
    first = ask(engine, turn=Turn("s", 1))
    other = ask(engine, "ben", turn=Turn("s", 1))
    second = ask(engine, turn=Turn("s", 2))
    assert isinstance(first.future.exception(), PredictionCancelled)
    assert not other.future.done(), "another user's session of the same name is another one"
    with pytest.raises(PredictionCancelled, match="overtaken"):
        ask(engine, turn=Turn("s", 1))
    assert not second.future.done()


def test_quotas_bound_what_waits_and_what_is_asked_per_minute(device):
    quotas = {"anna": Quota(waiting=1), "ben": Quota(per_minute=3)}
    engine = engine_with(device, quotas=quotas)
    ask(engine)
    with pytest.raises(BusyError, match="Too many predictions of this key"):
        ask(engine)
    for _ in range(3):
        ask(engine, "ben")
    with pytest.raises(BusyError, match="per minute"):
        ask(engine, "ben")


def test_a_new_turn_does_not_count_against_the_quota_that_the_old_one_used(device):
    engine = engine_with(device, quotas={"anna": Quota(waiting=1)})
    ask(engine, turn=Turn("s", 1))
    assert ask(engine, turn=Turn("s", 2)) is not None


def test_the_minute_passes(device, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("sammed3d.server.compute.admission.time.monotonic", lambda: now[0])
    engine = engine_with(device, quotas={"anna": Quota(per_minute=60)})
    for _ in range(60):
        ask(engine)
        device.answer_all()
    with pytest.raises(BusyError):
        ask(engine)
    now[0] += 1.01
    ask(engine)
    with pytest.raises(BusyError):
        ask(engine)


def test_a_users_patches_push_out_nobody_elses(device):
    each = voxels(1).nbytes
    engine = Engine([MODEL], [device], quotas={"anna": Quota(patches_mib=1)})
    engine.put_patch("ben", digest(9999), voxels(1))
    count = 2**20 // each
    for seed in range(count + 5):
        engine.put_patch("anna", digest(seed), voxels(1))
    assert engine.has_patch("ben", digest(9999))
    assert [engine.has_patch("anna", digest(seed)) for seed in (0, 4, 5, count + 4)] == [False, False, True, True]


def test_a_patch_of_another_model_is_refused_before_any_device_sees_it(device):
    slices = Preset(patch_shape=(16, 16, 1), low_res_shape=(4, 4, 1), fit="resize")
    engine = Engine([MODEL, ModelInfo("flat", "Test", "0" * 64, "", slices)], [device])
    shapes = (16, 16, 16), (16, 16, 1), (16, 16, 3)
    taken = {"default": shapes[:1], "flat": shapes[1:]}
    for n, shape in enumerate(shapes):
        engine.put_patch("anna", digest(n), np.zeros(shape, np.float32))
        for model in engine.models:
            question = Question(model, "r", PROMPTS)
            if shape in taken[model]:
                assert engine.predict("anna", digest(n), question) is not None
                continue
            with pytest.raises(PromptError, match=rf"The patch has \(16, 16, \d+\) voxels\. {model} takes \(16, 16, "):
                engine.predict("anna", digest(n), question)
    assert len(device.jobs) == len(shapes)


def test_a_patch_always_goes_to_the_same_device_while_that_works():
    devices = [Held(), Held(), Held()]
    engine = Engine([MODEL], devices)
    for seed in range(30):
        engine.put_patch("anna", f"{seed * 7919:08x}" + "0" * 56, voxels(1))
    homes = {}
    for _ in range(2):
        for seed in range(30):
            running = engine.predict("anna", f"{seed * 7919:08x}" + "0" * 56, Question("default", "r", PROMPTS))
            homes.setdefault(seed, set()).add(devices.index(running.device))
            for device in devices:
                device.answer_all()
    assert all(len(home) == 1 for home in homes.values())
    assert len({next(iter(home)) for home in homes.values()}) == 3
    devices[0].is_ready = devices[1].is_ready = False
    assert engine.start(job(3), "anna", "r").device is devices[2]
    devices[2].is_ready = False
    with pytest.raises(UnavailableError, match="No device"):
        engine.start(job(3), "anna", "r")
    engine.close()
    assert all(device.closed for device in devices)


def test_what_is_counted(device):
    engine = engine_with(device)
    ask(engine)
    ask(engine, seed=77)
    device.answer_all()
    value = engine.metrics.registry.get_sample_value
    assert value("sammed3d_predictions") == 0
    assert value("sammed3d_device_bytes") == 7
    assert value("sammed3d_resident_bytes", {"process": "worker 0"}) == 1 << 20
    assert value("sammed3d_resident_bytes", {"process": "server"}) > 1 << 20
    assert value("sammed3d_cache_bytes", {"cache": "embeddings"}) == 5
    assert value("sammed3d_cache_limit_bytes", {"cache": "embeddings"}) == 9
    assert value("sammed3d_cache_bytes", {"cache": "patches"}) == 8 * job(1).patch.voxels.nbytes
    assert value("sammed3d_prediction_seconds_count", {"stage": "decode"}) == 1
    assert value("sammed3d_cache_lookups_total", {"cache": "patch", "result": "hit"}) == 1
    assert value("sammed3d_cache_lookups_total", {"cache": "patch", "result": "miss"}) == 1
    assert value("sammed3d_cache_lookups_total", {"cache": "embedding", "result": "hit"}) == 1


def test_where_there_is_no_room_the_heaviest_users_newest_makes_some():
    device = Held()
    engine = Engine([MODEL], [device], queue=4)
    for user in ("heavy", "light", "other"):
        engine.put_patch(user, digest(1), voxels(1))
    heavy = [ask(engine, "heavy", request=str(n)) for n in range(4)]
    light = ask(engine, "light")
    with pytest.raises(BusyError, match="busy") as refused:
        heavy[3].future.result(0)
    assert refused.value.seconds > 0
    assert not any(running.future.done() for running in (*heavy[:3], light))
    other = ask(engine, "other")
    with pytest.raises(BusyError):
        heavy[2].future.result(0)
    for user in ("heavy", "light", "other"):
        with pytest.raises(BusyError, match="busy"):  # heavy has two, the others one: nobody has two more than another
            ask(engine, user)
    device.answer_all()
    assert all(running.future.result(0) is not None for running in (*heavy[:2], light, other))
    engine.close()


def test_when_to_ask_again_follows_from_how_long_predictions_take():
    admission = Admission(2, {"few": Quota(per_minute=6)}, devices=2)
    for _ in range(100):
        admission.took(3.0)
    assert admission.refusal(8).seconds == pytest.approx(6.0, rel=0.01)
    assert admission.refusal(8).headers in ({"Retry-After": "6"}, {"Retry-After": "7"})
    assert admission.refusal(10000).seconds == 60
    for _ in range(6):
        admission.enter("few", {})
    with pytest.raises(BusyError, match="per minute") as refused:
        admission.enter("few", {})
    assert refused.value.seconds == pytest.approx(10, abs=0.5)


def test_sessions_on_the_server_can_be_cancelled():
    waiting = ThresholdPredictor(preset=SMALL)
    waiting.gate.clear()
    engine = Engine([MODEL], [Scheduler({"default": waiting})])
    predictor = EnginePredictor(engine, "anna", "default")
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel).start()
    with pytest.raises(PredictionCancelled):
        predictor.predict(job(1).patch, PROMPTS, cancellation)
    engine.close()
