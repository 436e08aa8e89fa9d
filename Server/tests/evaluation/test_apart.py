"""Cases in several processes, and on a Ray cluster: the same results, and a process that dies loses nothing."""

import functools
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info
from typer.testing import CliRunner

from clusters import needs_ray
from helpers import ThresholdPredictor, make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.core import prompt_files
from sammed3d.core.control_groups import THREADS_SAID, usable_processors
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.errors import ModelError
from sammed3d.evaluation import apart
from sammed3d.evaluation.apart import DIED, Workers
from sammed3d.evaluation.protocols import PROTOCOLS
from sammed3d.evaluation.replay import cases_to_replay, replay
from sammed3d.evaluation.results import Evaluation
from sammed3d.evaluation.run import evaluate, evaluate_apart
from sammed3d.files.datasets import find_cases

SHAPE = (30, 34, 26)
AFFINE = make_affine((3.0, 3.0, 3.0))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three cases with a bright ball, its label and a click."""
    folder = tmp_path_factory.mktemp("apart") / "cases"
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    for n in range(3):
        ball = sum((a - c) ** 2 for a, c in zip(axes, (12 + n, 16, 13), strict=True)) < 50
        (folder / f"case{n}").mkdir(parents=True)
        write_image(
            folder / f"case{n}" / "image.nii.gz", (phantom(SHAPE, n) // 4 + 500 * ball).astype(np.int16), AFFINE
        )
        write_image(folder / f"case{n}" / "label.nii.gz", ball.astype(np.uint8), AFFINE)
        (folder / f"case{n}" / "labels.json").write_text('{"1": "ball"}')
        click = Click(tuple(Grid(SHAPE, AFFINE).to_world((12 + n, 16, 13)).tolist()))
        prompt_files.write(folder / f"case{n}" / "prompts.json", [ObjectPrompts("ball", (click,))])
    return folder


def doubled(case, _predictor):
    """Stands for work."""
    return 2 * case


def dies_once(case, _predictor, marks):
    """Takes its process down at case 1, the first time."""
    mark = Path(marks) / str(case)
    if case == 1 and not mark.exists():
        mark.touch()
        os._exit(1)
    return 2 * case


def dies_always(case, _predictor):
    """Takes every process down at case 1."""
    if case == 1:
        os._exit(1)
    return 2 * case


def ends_its_process(_predictor, _cases):
    """Takes every process down."""
    os._exit(1)


def no_model():
    raise ModelError("There is no such model.")


def lost(_case):
    return "lost"


def test_work_in_this_process_is_in_order():
    assert list(apart.each([1, 2, 3], doubled, ThresholdPredictor, Workers(), lost)) == [(0, 2), (1, 4), (2, 6)]
    assert list(apart.each([], doubled, no_model, Workers(), lost)) == []


def slow(case, _predictor, marks):
    """Leaves a mark for each case that is worked on."""
    (Path(marks) / str(case)).touch()
    time.sleep(0.2)
    return case


@pytest.mark.slow
def test_what_is_stopped_does_not_go_on_to_the_last_case(tmp_path):
    work = functools.partial(slow, marks=str(tmp_path))
    found = apart.each(list(range(30)), work, ThresholdPredictor, Workers(2), lost)
    next(found)
    found.close()
    assert len(list(tmp_path.iterdir())) < 15


def done_at_once_or_late(case, _predictor, finished):
    if case:
        time.sleep(15)
        finished.touch()
    return case


@pytest.mark.slow
def test_what_is_stopped_waits_for_no_case_that_is_under_way(tmp_path):
    """Who ends a job gives it a few seconds; a case may take minutes."""
    work = functools.partial(done_at_once_or_late, finished=tmp_path / "finished")
    going = apart.each([0, 1], work, ThresholdPredictor, Workers(2), lost)
    assert next(going) == (0, 0)
    with pytest.raises(KeyboardInterrupt):
        going.throw(KeyboardInterrupt)
    assert not (tmp_path / "finished").exists()


def threads(_case, _predictor):
    """How many torch uses, and how many numpy's matrix products."""
    return torch.get_num_threads(), max(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")


@pytest.mark.slow
def test_processes_share_the_processors(monkeypatch):
    for name in THREADS_SAID:
        monkeypatch.delenv(name, raising=False)
    found = dict(apart.each([0, 1], threads, ThresholdPredictor, Workers(2), lost))
    share = max(1, usable_processors() // 2)
    assert set(found.values()) == {(share, share)}
    assert "OMP_NUM_THREADS" not in os.environ
    said = min(2, usable_processors())
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert dict(apart.each([0], threads, ThresholdPredictor, Workers(4), lost)) == {0: (said, said)}


@pytest.mark.slow
def test_processes_give_the_same_scores_as_one(dataset):
    measure = functools.partial(evaluate, protocol=PROTOCOLS["honest"], clicks=2)
    cases = find_cases(dataset)
    one, two = (
        evaluate_apart(cases, measure, ThresholdPredictor, Workers(count), Evaluation("?", PROTOCOLS["honest"], 2023))
        for count in (1, 2)
    )
    assert one.scores == two.scores
    assert len(one.scores) == 6
    assert one.pictures == two.pictures
    assert one.summary() == two.summary()


# Ray


@pytest.mark.slow
@needs_ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_worker_of_a_cluster_that_dies_loses_nothing(cluster, dataset, tmp_path):
    on = Workers(ray=cluster)
    marks = functools.partial(dies_once, marks=str(tmp_path))
    found = dict(apart.each([0, 1, 2], marks, ThresholdPredictor, on, lost))
    assert found == {0: 0, 1: 2, 2: 4}
    assert (tmp_path / "1").exists(), "one did die"
    assert dict(apart.each([0, 1, 2], dies_always, ThresholdPredictor, on, lost)) == {0: 0, 1: "lost", 2: 4}
    with pytest.raises(ModelError, match="no such model"):
        list(apart.each([0], doubled, no_model, on, lost))

    cases, _ = cases_to_replay(find_cases(dataset))
    one = replay(cases, ThresholdPredictor, tmp_path / "one", "m")
    assert replay(cases, ThresholdPredictor, tmp_path / "ray", "m", on) == one
    masks = [sorted(file.name for file in (tmp_path / name).glob("*.seg.nrrd")) for name in ("one", "ray")]
    assert masks[0] == masks[1] != []
    measure = functools.partial(evaluate, protocol=PROTOCOLS["honest"], clicks=2)
    empty = Evaluation("?", PROTOCOLS["honest"], 2023)
    done = evaluate_apart(find_cases(dataset), measure, ThresholdPredictor, on, empty)
    assert done.scores == evaluate(ThresholdPredictor(), find_cases(dataset), PROTOCOLS["honest"], clicks=2).scores


@pytest.mark.slow
@needs_ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_the_commands_work_on_a_cluster(cluster, dataset, tiny_checkpoint, tmp_path):
    summaries = []
    for name, more in (("one", ()), ("ray", ("--ray", cluster))):
        command = ["evaluate", tiny_checkpoint, dataset, "--clicks", 2, "--smallest", 0, "--device", "cpu", *more]
        result = CliRunner().invoke(app, [str(a) for a in (*command, "-o", tmp_path / name)])
        assert result.exit_code == 0, result.output
        summaries.append(json.loads((tmp_path / name / "summary.json").read_text()))
    assert summaries[0] == summaries[1]
    assert summaries[0]["structures"] == 3


@pytest.mark.slow
def test_a_case_that_ends_its_process_is_told(dataset):
    empty = Evaluation("m", PROTOCOLS["honest"], 2023)
    cases = find_cases(dataset)
    done = evaluate_apart(cases[1:2], ends_its_process, ThresholdPredictor, Workers(2), empty)
    assert done.failures == [f"{cases[1].name}: {DIED}"]
    assert done.scores == []


@needs_ray
@pytest.mark.slow
def test_an_address_without_a_cluster_is_said():
    with pytest.raises(ModelError, match="no Ray cluster answers there"):
        list(apart.each([0], doubled, ThresholdPredictor, Workers(ray="127.0.0.1:1"), lost))
