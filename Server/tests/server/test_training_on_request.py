"""Trainings over MONAI Label's routes: off by default, one at a time, within quotas, with progress and a stop."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import requests

from helpers import ThresholdPredictor, make_affine, phantom, write_image
from networks import filled
from sammed3d.errors import ModelError
from sammed3d.inference.preset import Preset
from sammed3d.nets import build
from sammed3d.server.app import Facades
from sammed3d.server.compute import learning_process, training
from sammed3d.server.compute.training import Trainings
from sammed3d.server.http.keys import Keys, Quota, add_key
from sammed3d.server.memory import memory_limit
from sammed3d.server.serve import application, budget_of
from sammed3d.server.settings import read_settings
from sammed3d.zoo.checkpoint import write_checkpoint
from sammed3d.zoo.store import ModelStore
from servers import serving

SHAPE = (40, 44, 36)
PATIENCE = 200.0
"""Seconds after which something is not awaited any more, on a machine that is busy with other things."""
SIZES = {"patch_size": 32, "widths": [4, 4, 8, 8], "decoder_widths": [4, 4, 8, 8], "depths": [0, 1, 1, 1]}
PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(32, 32, 32), low_res_shape=(16, 16, 16), normalisation="none")


FEW = """
import sys
from pathlib import Path
from sammed3d.cli.app import main
from sammed3d.files.datasets import find_cases
from sammed3d.training.learning import learners, run
run.sample_case = lambda: find_cases(Path(sys.argv[2]))[0]
run.CHECKS = learners.STEPS_ALONE = 1
main()
"""
"""`sammed3d`, with a small case in place of the sample CT, few steps and one check."""


def script(body):
    """A training that is a few lines of Python."""
    return lambda _training: [sys.executable, "-u", "-c", f"import sys, time\n{body}"]


SAYS = """
print("measuring before on 3 cases", file=sys.stderr)
print("5.0 of 20.0 minutes, 40 steps: mean Dice 0.700, kept", file=sys.stderr)
"""
WAITS = f"{SAYS}\ntime.sleep(60)"


def trainings(tmp_path, command, minutes=50):
    known = {"default": "default"}
    return Trainings(
        tmp_path, tmp_path / "runs", known, 20.0, lambda _user: Quota(training_minutes=minutes), command=command
    )


def served(trains, keys=None):
    return serving(ThresholdPredictor(), keys, facades=Facades(monailabel=True, volume_mib=4, trainings=trains))


def call(method, server, path, key="", **options):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.request(method, server.url + path, headers=headers, timeout=30, **options)


def ended(server, key=""):
    """The last training, once it has ended."""
    end = time.monotonic() + PATIENCE
    while "end_ts" not in (told := call("GET", server, "/train/", key).json()):
        assert time.monotonic() < end, told
        time.sleep(0.05)
    return told


def shown(server, line, key=""):
    """The running training, once it has said a line."""
    end = time.monotonic() + PATIENCE
    while True:
        told = call("GET", server, "/train/", key, params={"check_if_running": "true"}).json()
        if any(line in each for each in told["details"]):
            return told
        assert time.monotonic() < end, told
        time.sleep(0.02)


def test_training_is_off_unless_allowed():
    with serving(ThresholdPredictor(), facades=Facades(monailabel=True, volume_mib=4)) as server:
        assert call("GET", server, "/info/").json()["trainers"] == {}
        for method, path in (("GET", "/train/"), ("POST", "/train/default"), ("DELETE", "/train/")):
            assert call(method, server, path).status_code == 404


def test_progress_is_told_and_one_runs_at_a_time_until_it_is_stopped(tmp_path):
    with served(trainings(tmp_path, script(WAITS))) as server:
        config = call("GET", server, "/info/").json()["trainers"]["default"]["config"]
        assert config == {"name": "", "minutes": 20.0}
        assert call("GET", server, "/train/").status_code == 404
        assert call("DELETE", server, "/train/").status_code == 404
        started = call("POST", server, "/train/default", json={"name": "ours", "max_epochs": 50})
        assert started.status_code == 200
        assert started.json()["request"] == {"model": "default", "name": "ours", "minutes": 20.0}
        told = shown(server, "40 steps")
        assert (told["status"], told["progress"], told["id"]) == ("RUNNING", 0.25, started.json()["id"])
        busy = call("POST", server, "/train/default")
        assert busy.status_code == 429
        assert "one at a time" in busy.json()["detail"]
        assert int(busy.headers["Retry-After"]) > 0
        stopped = call("DELETE", server, "/train/").json()
        assert stopped["status"] == "STOPPED"
        assert "'ours' goes on from here" in stopped["details"][-1]
        assert call("GET", server, "/train/", params={"check_if_running": "true"}).status_code == 404
        assert call("POST", server, "/train/default").status_code == 200, "there is room again"


def test_a_training_may_begin_while_others_are_described(tmp_path, monkeypatch):
    trains = trainings(tmp_path, script("pass"))
    described, begun = training.Training.described, []

    def begin_meanwhile(self):
        if not begun:
            begun.append(self)
            trains.start("anna", "default", {"name": "third"})
        return described(self)

    for name in ("first", "second"):
        trains.start("anna", "default", {"name": name})
        trains.close()
    with monkeypatch.context() as patched:
        patched.setattr(training.Training, "described", begin_meanwhile)
        assert [told["request"]["name"] for told in trains.status("anna", every=True)] == ["first", "second"]
    trains.close()
    assert len(trains.status("anna", every=True)) == 3


def test_what_runs_ends_with_the_server(tmp_path):
    with served(trainings(tmp_path, script(WAITS))) as server:
        call("POST", server, "/train/default")
        shown(server, "40 steps")
        [process] = [p for p in psutil.Process().children(recursive=True) if "time.sleep(60)" in " ".join(p.cmdline())]
    assert not process.is_running()


KILLED = """
import sys, time
from pathlib import Path
from sammed3d.server.compute.training import Trainings
from sammed3d.server.http.keys import Quota

def command(training):
    return [sys.executable, "-c", sys.argv[2]]

folder = Path(sys.argv[1])
trains = Trainings(folder, folder, {"default": "default"}, 20.0, lambda _user: Quota(), command=command)
trains.start("anna", "default", {})
time.sleep(600)
"""
"""A server with a training that is a few lines of Python."""

LEARNS = """
import os, sys, time
from sammed3d.server.compute.learning_process import end_with_server
end_with_server(0.5)
try:
    open("began", "w").write(str(os.getpid()))
    while True:
        time.sleep(0.05)
finally:
    open("kept", "w").write("what was learnt")
    {then}
"""


@pytest.mark.parametrize("then", ["pass", "time.sleep(600)"])
def test_what_runs_ends_with_a_server_that_is_killed(tmp_path, then):
    """It is asked first, and keeps what it has learnt, though it says nothing meanwhile."""
    learns = LEARNS.format(then=then)
    if os.name == "posix":
        learns = f"import signal\nsignal.signal(signal.SIGTERM, signal.default_int_handler)\n{learns}"
    command = [sys.executable, "-c", KILLED, str(tmp_path), learns]
    server = subprocess.Popen(command, cwd=tmp_path)
    try:
        until(lambda: (tmp_path / "began").is_file() and (tmp_path / "began").read_text())
        learning = psutil.Process(int((tmp_path / "began").read_text()))
        server.kill()
        server.wait()
        until(lambda: not learning.is_running() or learning.status() == psutil.STATUS_ZOMBIE)
    finally:
        server.kill()
        server.wait()
    assert (tmp_path / "kept").read_text() == "what was learnt"


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_training_is_one_that_watches_the_server(tmp_path):
    asked = training.Training("anna", "default", "ours", 1.0)
    command = trainings(tmp_path, None).learn_command(asked)
    words = [*command[:3], "learn", "--help"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert "sammed3d learn" in process.stdout.read()
        assert process.wait() == 0
    assert command[1:3] == ["-m", learning_process.__name__]


def test_how_it_ends_is_told_and_the_servers_files_are_not(tmp_path):
    secret = f"Error: {tmp_path}/anna/case1: damaged. Look at it."
    for body, status, last in (
        (SAYS, "DONE", "Installed as one"),
        (f"{SAYS}\nprint({secret!r}, file=sys.stderr)\nsys.exit(1)", "ERROR", "It failed; the server's log says why."),
        (
            "print('Error: Not installed: it is not better (mean Dice -0.1). Force it from /srv/x.', file=sys.stderr)\n"
            "sys.exit(1)",
            "ERROR",
            "Not installed: it is not better (mean Dice -0.1).",
        ),
    ):
        with served(trainings(tmp_path, script(body))) as server:
            call("POST", server, "/train/default", json={"name": "one"})
            told = ended(server)
            assert told["status"] == status
            assert told["details"][-1].startswith(last)
            assert str(tmp_path) not in str(told)
            assert "/srv" not in str(told)
            assert call("GET", server, "/train/", params={"all": "true"}).json() == [told]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"name": "../../etc"}, 400, "no name of a model"),
        ({"name": ["a"]}, 400, "no name of a model"),
        ({"name": "com1"}, 400, "no name of a model"),
        ({"minutes": 21}, 400, "at most 20"),
        ({"minutes": 0}, 400, "above 0"),
        ({"minutes": True}, 400, "above 0"),
        ({"minutes": "5"}, 400, "above 0"),
        ([], 422, ""),
    ],
)
def test_wishes_that_cannot_be_are_refused(tmp_path, body, status, words):
    with served(trainings(tmp_path, script(""))) as server:
        answer = call("POST", server, "/train/default", json=body)
        assert answer.status_code == status
        assert words in answer.json()["detail"]
        assert call("POST", server, "/train/other").status_code == 404
        assert call("POST", server, "/train/").status_code == 404
        assert not (tmp_path / "runs").exists()


def test_each_key_has_its_minutes_and_its_own_trainings(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    anna, ben = add_key(file, "anna"), add_key(file, "ben")
    with served(trainings(tmp_path, script(WAITS)), Keys.read(file)) as server:
        assert call("POST", server, "/train/default").status_code == 401
        call("POST", server, "/train/default", anna, json={"minutes": 20})
        shown(server, "40 steps", anna)
        other = call("GET", server, "/train/", ben, params={"check_if_running": "true"}).json()
        assert other["status"] == "RUNNING"
        assert other["details"] == []
        assert "request" not in other
        assert call("GET", server, "/train/", ben).status_code == 404
        assert call("DELETE", server, "/train/", ben).status_code == 404
        assert call("DELETE", server, "/train/", anna).status_code == 200
    late = set_forward = 0.0
    clocks = {"time": lambda: time.time() + late + set_forward, "monotonic": lambda: time.monotonic() + late}
    monkeypatch.setattr(training, "time", SimpleNamespace(**clocks))
    with served(trainings(tmp_path, script(WAITS), 30), Keys.read(file)) as server:
        assert call("POST", server, "/train/default", anna, json={"minutes": 20}).status_code == 200
        late, set_forward = 15 * 60, 7200
        assert call("DELETE", server, "/train/", anna).status_code == 200
        refused = call("POST", server, "/train/default", anna, json={"minutes": 20})
        assert refused.status_code == 429
        assert "30 minutes of training a day 15 are left" in refused.json()["detail"]
        assert call("POST", server, "/train/default", ben, json={"minutes": 20}).status_code == 200
        assert call("DELETE", server, "/train/", ben).status_code == 200
        late += 86400
        assert call("POST", server, "/train/default", anna, json={"minutes": 20}).status_code == 200, "a day later"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "needs a folder of cases"),
        ({"training_data": "."}, None),
        ({"training_data": ".", "monailabel": False}, "for clients of MONAI Label"),
        ({"training_data": ".", "ray": True}, "without Ray"),
    ],
)
def test_settings_that_cannot_train_are_refused(given, words, tmp_path):
    settings = read_settings(None, allow_training=True, **given)
    with serving(ThresholdPredictor()) as server:
        budget = budget_of(settings, (), memory_limit())
        if words is None:
            assert application(settings, server.engine, None, budget) is not None
        else:
            with pytest.raises(ModelError, match=words):
                application(settings, server.engine, None, budget)


@pytest.fixture
def cases(tmp_path):
    """Three cases with a bright ball each."""
    affine = make_affine((3.0, 3.0, 3.0))
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    for n in range(3):
        ball = sum((a - c) ** 2 for a, c in zip(axes, (16 + n, 20, 18), strict=True)) < 64
        folder = tmp_path / "cases" / f"case{n}"
        folder.mkdir(parents=True)
        write_image(folder / "image.nii.gz", (phantom(SHAPE, n) // 4 + 400 * ball).astype(np.int16), affine)
        write_image(folder / "label.nii.gz", ball.astype(np.uint8), affine)
        (folder / "labels.json").write_text('{"1": "ball"}')
    return tmp_path / "cases"


@pytest.mark.slow
def test_a_client_has_a_small_network_learn_and_reads_how_it_went(cases, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    weights = filled(build("promptable_unet", SIZES)).state_dict()
    weights["mask_decoder.logits.bias"] -= 1e4  # finds nothing, so that anything learnt is better
    start = tmp_path / "start.safetensors"
    write_checkpoint(start, weights, network="promptable_unet", sizes=SIZES, preset=PRESET.to_json(), name="start")
    options = (cases, tmp_path / "runs", {"default": str(start)}, 20.0, lambda _user: Quota(), "cpu")

    def learn(asked):
        return [sys.executable, "-c", FEW, *Trainings(*options).learn_command(asked)[3:]]

    trains = Trainings(*options, command=learn)
    with served(trains) as server:
        started = call("POST", server, "/train/default", json={"name": "ours", "minutes": 0.01})
        assert started.status_code == 200, started.text
        told = ended(server)
    assert any("measuring before on" in line for line in told["details"]), told
    assert told["details"][-1].startswith(("Installed as ours", "Not installed: "))
    assert any("minutes, " in line and "steps: mean Dice" in line for line in told["details"]), told
    installed = "ours" in {model.name for model in ModelStore().models()}
    assert told["status"] == ("DONE" if installed else "ERROR")
    assert (tmp_path / "runs" / "ours" / "learning.json").is_file()
