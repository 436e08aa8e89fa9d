"""Mistakes that are easily made in Python: told in words, before anything is mixed up."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from helpers import CENTRE, ThresholdPredictor, small_volume
from sammed3d.core.prompts import Click
from sammed3d.errors import ModelError, PromptError, VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session


def session():
    return Session(small_volume(), ThresholdPredictor())


@pytest.mark.parametrize("word", ["negative", "no", "", None, 2, -1, np.array([True, False]), torch.zeros(2)])
def test_words_are_no_polarity(word):
    """Each of them would be positive, or negative, because Python takes it so."""
    with pytest.raises(PromptError, match=r"is positive \(True\) or negative \(False\), not"):
        session().click(CENTRE, word)


@pytest.mark.parametrize("kind", [bool, int, float, np.bool_, np.uint8, np.float32, np.array, torch.tensor])
def test_labels_of_any_kind_of_number_are(kind):
    assert [Click(CENTRE, kind(value)).positive for value in (1, 0)] == [True, False]


@pytest.mark.parametrize("corner", [None, "abc", (1, 2), (1, 2, float("nan"))])
def test_corners_that_are_none_are_told_as_such(corner):
    with pytest.raises(PromptError, match=r"A corner of a box needs (three|finite) coordinates"):
        session().set_box(CENTRE, corner)


def test_names_and_colours_that_no_file_can_hold_are_refused_when_they_are_given():
    with pytest.raises(PromptError, match="An object's name is text, not 5"):
        session().add_object(5)
    for colour in ("red", (1, 2, 3), (0.1, 0.2), 7, (0, 0, float("nan"))):
        with pytest.raises(PromptError, match="A colour is red, green and blue from 0 to 1, not"):
            session().add_object("liver", colour)
    assert session().add_object("liver", np.array([0, 0.5, 1])).name == "liver"


def test_what_is_no_array_no_volume_or_no_predictor_is_told_with_what_makes_one():
    volume = small_volume()
    for voxels in (volume.array.tolist(), torch.tensor(volume.array)):
        with pytest.raises(VolumeError, match=r"ct: voxels are a NumPy array, not a (list|Tensor). Make one"):
            Volume(voxels, volume.grid, "ct")
        with pytest.raises(VolumeError, match=r"A mask is a NumPy array, not a (list|Tensor). Make one"):
            session().start_from(voxels)
    with pytest.raises(VolumeError, match=r"A session takes a volume, not a str\. Make one: Volume.read"):
        Session("ct.nii.gz", ThresholdPredictor())
    with pytest.raises(ModelError, match=r"A session takes a predictor, not its name\. .*load_predictor\('default'\)"):
        Session(volume, "default")


def test_a_second_thread_is_refused_while_a_session_is_at_work_and_nothing_is_mixed_up():
    """Both would make an object of the same name, and clicks of one would be lost."""
    predictor = ThresholdPredictor()
    predictor.gate.clear()
    shared = Session(small_volume(), predictor)
    thread = threading.Thread(target=shared.click, args=(CENTRE,))
    thread.start()
    assert predictor.asked.wait(60)
    others = (
        lambda: shared.click(CENTRE),
        lambda: shared.scribble([CENTRE]),
        lambda: shared.set_box(CENTRE, (1, 1, 1)),
        lambda: shared.start_from(np.ones(shared.volume.grid.shape)),
        lambda: shared.add_object("other"),
        shared.undo,
        shared.redo,
        shared.reset,
        shared.uncertainty,
    )
    for other in others:
        with pytest.raises(PromptError, match=r"at work in another thread.*a session of its own; they can share"):
            other()
    predictor.gate.set()
    thread.join()
    assert [(each.name, len(each.clicks)) for each in shared.objects] == [("Object 1", 1)]
    shared.click(CENTRE, positive=False)
    assert len(shared.current.clicks) == 2


def test_a_session_is_free_again_after_an_error():
    failing = session()
    failing.predictor.fail = ModelError("out of memory")
    with pytest.raises(ModelError):
        failing.click(CENTRE)
    done = []
    thread = threading.Thread(target=lambda: done.append(failing.undo()))
    thread.start()
    thread.join()
    assert done == [None]


FORKED = """
import os, sys
import torch
from sammed3d.errors import ModelError
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session
from sammed3d.zoo import load_predictor
import helpers
session = Session(helpers.small_volume(), load_predictor(sys.argv[1], "cpu"))
torch.set_num_threads(int(sys.argv[2]))
session.click(helpers.CENTRE)
if os.fork() == 0:
    try:
        torch.set_num_threads(int(sys.argv[2]))
        Session(session.volume, session.predictor).click(helpers.CENTRE)
        print("answered", flush=True)
    except ModelError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("threads", "said"), [(2, 'Start processes by "spawn"'), (1, "answered")])
def test_a_process_that_was_forked_is_told_instead_of_waiting_for_ever(tiny_checkpoint, threads, said):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, tiny_checkpoint, str(threads)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert said in done.stdout, done.stderr
