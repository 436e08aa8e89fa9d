"""Sixty-four clients at once, and a light user beside a heavy one: over sockets of this machine, bounded in number."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from helpers import ThresholdPredictor
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.server.compute.worker_process import patch_of
from sammed3d.server.http.guard import ANYBODY
from sammed3d.server.http.keys import Keys, Quota, add_key
from sammed3d.wire import messages
from servers import serving
from workers import SMALL, job

CLIENTS, CLICKS = 64, 6
STEP = 0.02


class Slow(ThresholdPredictor):
    """Takes a while for each prediction, and notes whose it was by the clicks' first coordinate."""

    def __init__(self):
        super().__init__(preset=SMALL)
        self.order = []

    def predict(self, patch, prompts, cancellation=None):
        time.sleep(STEP)
        self.order.append(int(prompts.clicks[0].voxel[0]))
        return super().predict(patch, prompts, cancellation)


def patch(number):
    voxels = job(number).patch.voxels
    return patch_of(voxels, hashlib.sha256(voxels.data).hexdigest())


def clicks(who, count):
    return PatchPrompts([PatchClick((float(who), 2.0, 3.0 + n), True) for n in range(count)])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_sixty_four_clients_wait_about_equally_long():
    with serving(Slow(), queue=256) as server, ThreadPoolExecutor(CLIENTS) as pool:
        together = threading.Barrier(CLIENTS)

        def user(number):
            remote = RemotePredictor(server.url, patience=120)
            remote.predict(patch(number), clicks(0, 1))
            together.wait(60)
            times = []
            for count in range(1, CLICKS + 1):
                begin = time.perf_counter()
                remote.predict(patch(number), clicks(0, count))
                times.append(time.perf_counter() - begin)
            return times

        waited = np.concatenate(list(pool.map(user, range(CLIENTS))))
        refused = server.engine.metrics.registry.get_sample_value
        labels = {"method": "POST", "route": "/v1/patches/{digest}/predictions", "status": "429"}
        assert refused("sammed3d_requests_total", labels) is None, "all of them wait in the queue"
    median, late = np.percentile(waited, [50, 95])
    assert late <= 2.5 * median, f"p50 {median:.2f} s, p95 {late:.2f} s"


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_light_user_beside_a_heavy_one_waits_for_what_runs(tmp_path):
    keys = {name: add_key(tmp_path / "keys.json", name) for name in ("heavy", "light")}
    predictor, stop = Slow(), threading.Event()
    with serving(predictor, Keys.read(tmp_path / "keys.json"), queue=256) as server, ThreadPoolExecutor(16) as pool:

        def heavy(number):
            remote = RemotePredictor(server.url, key=keys["heavy"], patience=60)
            for count in range(1, 100):
                if stop.is_set():
                    break
                remote.predict(patch(number), clicks(1, count))

        busy = [pool.submit(heavy, number) for number in range(12)]
        try:
            remote = RemotePredictor(server.url, key=keys["light"], patience=60)
            remote.predict(patch(50), clicks(7, 1))
            for count in range(2, 8):
                before = len(predictor.order)
                remote.predict(patch(50), clicks(7, count))
                others = [who for who in predictor.order[before:] if who != 7]
                # one that ran when it was sent; those that were begun while it was on its way, or its answer was
                assert len(others) <= 4, "of twelve that wait"
                time.sleep(0.05)
        finally:
            stop.set()
        for each in busy:
            each.result(60)


def test_a_ledger_that_does_not_answer_does_not_hold_up_the_event_loop():
    asked, answer = threading.Event(), threading.Event()

    class Silent:
        def charge(self, user, running, quota):
            asked.set()
            answer.wait(10)
            return 0, 0.0

    options = {"quotas": {ANYBODY: Quota(per_minute=1000)}, "shared": Silent()}
    with serving(ThresholdPredictor(preset=SMALL), **options) as server, ThreadPoolExecutor(3) as pool:
        predicted = pool.submit(RemotePredictor(server.url).predict, patch(1), clicks(0, 1))
        assert asked.wait(10)
        others = [
            pool.submit(requests.request, method, server.url + path, timeout=20)
            for method, path in (
                ("HEAD", messages.PATCH.format(digest="0" * 64)),
                ("DELETE", messages.PREDICTION.format(request_id="r1")),
            )
        ]
        time.sleep(0.3)
        try:
            assert requests.get(server.url + "/livez", timeout=3).status_code == 200
        finally:
            answer.set()
        assert [other.result(20).status_code for other in others] == [404, 204]
        assert predicted.result(20).low_res.shape == SMALL.low_res_shape
