"""The demonstration and the bundled sample, with a predictor that needs no weights."""

import numpy as np
import pytest

from helpers import ThresholdPredictor
from sammed3d import demo, load_predictor, samples
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session


def test_the_bundled_ct_has_the_labels_that_are_named():
    volume, labels = Volume.read(samples.CT_ABDOMEN), Volume.read(samples.CT_ABDOMEN_LABELS)
    assert volume.grid.matches(labels.grid)
    assert volume.array.dtype == np.int16
    names = samples.label_names()
    assert set(np.unique(labels.array)) - {0} == set(names.values())
    assert set(demo.STRUCTURES) <= names.keys()
    assert "aorta" not in names


@pytest.mark.slow
def test_the_bundled_mr_can_be_clicked_on():
    volume = Volume.read(samples.MR_SPINE)
    session = Session(volume, load_predictor("default", device="cpu"))
    session.click(volume.grid.to_world((34, 26, 33)))
    assert session.mask().any()


@pytest.mark.slow
def test_the_demonstration_scores_and_writes(tmp_path):
    results = list(demo.run(ThresholdPredictor(), tmp_path / "out"))
    assert [r.name for r in results] == list(demo.STRUCTURES)
    assert all(len(r.dice) == demo.CLICKS and 0 <= min(r.dice) <= max(r.dice) <= 1 for r in results)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["demo.html", "demo.png", "demo.seg.nrrd"]
    page = (tmp_path / "out" / "demo.html").read_text()
    assert all(name in page for name in demo.STRUCTURES)
    assert page.count("src=") == page.count('src="data:') == 1
    assert "<polyline" in page


def test_the_page_says_which_first_clicks_went_badly():
    good, bad = (demo.Result(name, [dice, 0.9], 10.0, 1.0) for name, dice in (("spleen", 0.6), ("liver", 0.3)))
    assert "did not reach a Dice of 0.5 on liver: large" in demo.page([good, bad], "M", b"")
    assert "first click reached a Dice of 0.5 on each" in demo.page([good], "M", b"")
