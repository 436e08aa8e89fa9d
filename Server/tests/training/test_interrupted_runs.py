"""Runs that are interrupted by Ctrl-C or SIGTERM: saved as they stand, between two steps, and told how they go on."""

import signal

import pytest
import torch
from typer.testing import CliRunner

from sammed3d.cli.app import app
from sammed3d.files.image_lists import ListedImage
from sammed3d.training import launch
from sammed3d.training.click_loop import ClickLoop
from sammed3d.training.held_back import held_back
from sammed3d.training.sam_med2d import run as image_run
from sammed3d.training.sam_med2d.recipe import Recipe2d
from sammed3d.training.sam_med2d.run import ImageRun
from sammed3d.training.state import STATE
from training_runs import log_of, recipe, run_of, weights_of


class StoppedError(KeyboardInterrupt):
    """What a signal raises here."""


@pytest.fixture
def interrupting():
    """A signal that interrupts, whatever started the tests: SIGTERM."""

    def interrupt(*_):
        raise StoppedError

    usual = signal.signal(signal.SIGTERM, interrupt)
    yield signal.SIGTERM
    signal.signal(signal.SIGTERM, usual)


def stop():
    raise StoppedError


def before_call(monkeypatch, count, owner, name, happens):
    """Have something happen before the `count`-th call of a method."""
    method, calls = getattr(owner, name), 0

    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == count:
            happens()
        return method(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.slow
def test_a_run_that_is_interrupted_anywhere_ends_as_if_it_had_not_been(data, tmp_path, monkeypatch, interrupting):
    settings = recipe(epochs=1, accumulation=2, clicks=2, save_every=1000)  # 4 batches, 2 steps; then 2 structures
    run_of(data, tmp_path / "whole", settings).train()

    stands = []
    for place in (
        (1, ClickLoop, "forward", stop),  # before the first step: there is nothing to save
        (1, torch.optim.AdamW, "step", lambda: signal.raise_signal(interrupting)),  # in it, which is made to its end
        (2, ClickLoop, "forward", stop),  # among the batches of the second step
        (4, ClickLoop, "forward", stop),  # after the second step, while it validates
    ):
        run = run_of(data, tmp_path / "parts", settings)
        with monkeypatch.context() as patched:
            before_call(patched, *place)
            with pytest.raises(StoppedError):
                run.train()
        again = run_of(data, tmp_path / "parts", settings)
        stands.append((again.epoch, again.batch, again.steps))
        if len(stands) == 1:
            assert not (tmp_path / "parts" / STATE).exists()
    assert stands == [(0, 0, 0), (0, 2, 1), (0, 2, 1), (0, 4, 2)]
    run_of(data, tmp_path / "parts", settings).train()
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    kept = ("epoch", "steps", "loss", "dice", "lr", "validation_dice")
    rows = [[[row[name] for name in kept] for row in log_of(tmp_path / name)] for name in ("whole", "parts")]
    assert rows[0] == rows[1]


def test_a_run_on_images_is_saved_after_the_batch_that_was_interrupted(
    tiny_checkpoint_2d, tmp_path, monkeypatch, interrupting
):
    settings = Recipe2d.read(None, start=str(tiny_checkpoint_2d), batch_size=1, workers=0)
    listed = [ListedImage(tmp_path / f"{n}.png", (tmp_path / f"{n}_cyst.png",)) for n in range(3)]
    monkeypatch.setattr(image_run, "loaded", lambda _images, batches, _workers: iter([{} for _ in batches]))
    seen = []

    def learnt(*_):
        seen.append(len(seen))
        if len(seen) == 2:
            signal.raise_signal(interrupting)
        return 1.0 * len(seen), 0.5

    monkeypatch.setattr(image_run, "learn", learnt)
    with pytest.raises(StoppedError):
        ImageRun(settings, listed, tmp_path / "run", "cpu").train()
    again = ImageRun(settings, listed, tmp_path / "run", "cpu")
    assert (again.epoch, again.batch, again.steps, again.sums) == (0, 2, 2, [3.0, 1.0])


def test_signals_wait_until_a_block_is_done(interrupting):
    done = []

    def changed():
        with held_back():
            signal.raise_signal(interrupting)
            done.append("the rest")

    for _ in range(2):
        with pytest.raises(StoppedError):
            changed()
    assert done == ["the rest"] * 2
    with pytest.raises(StoppedError):
        signal.raise_signal(interrupting)


def test_the_end_of_a_schedulers_job_says_how_a_run_goes_on(data, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "launch", lambda *_: signal.raise_signal(signal.SIGTERM))
    done = CliRunner().invoke(app, ["train", str(data / "ready"), "--run", str(tmp_path / "run")])
    assert done.exit_code == 143
    assert "Stopped. The same command goes on from" in done.output
