import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import make_affine
from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError
from sammed3d.evaluation import report
from sammed3d.evaluation.images import ImageEvaluation
from sammed3d.evaluation.metrics import dice
from sammed3d.evaluation.protocols import PROTOCOLS
from sammed3d.evaluation.replay import write_table
from sammed3d.evaluation.results import Evaluation, Score
from sammed3d.simulation.clicks import next_click

GRID = Grid((20, 20, 20), make_affine((1, 1, 3), (0.1, 0.2, 0.3), (5, 6, 7)))


def block(*slices):
    mask = np.zeros(GRID.shape, np.uint8)
    mask[slices] = 1
    return mask


def voxel(click):
    return np.rint(GRID.to_index(click.world)).astype(int).tolist()


def test_the_first_click_is_the_middle_of_the_largest_part():
    truth = block(slice(2, 9), slice(2, 9), slice(2, 9)) | block(slice(15, 17), slice(15, 17), slice(15, 17))
    click = next_click(np.zeros_like(truth), truth, GRID)
    assert click.positive
    assert voxel(click) == [5, 5, 5]


def test_depth_is_in_mm():
    """A slab 5 voxels (5 mm) deep along I and 3 voxels (9 mm) along K: I decides."""
    truth = block(slice(5, 10), slice(0, 20), slice(4, 7))
    assert voxel(next_click(np.zeros_like(truth), truth, GRID))[0] == 7


def test_surplus_is_clicked_away_where_it_is_the_largest_error():
    truth = block(slice(2, 6), slice(2, 6), slice(2, 6))
    mask = block(slice(3, 6), slice(2, 6), slice(2, 6)) | block(slice(10, 17), slice(10, 17), slice(10, 17))
    click = next_click(mask, truth, GRID)
    assert not click.positive
    assert voxel(click) == [13, 13, 13]


def test_of_errors_of_one_size_what_is_missing_goes_first():
    truth, mask = block(slice(2, 5), slice(2, 5), slice(2, 5)), block(slice(12, 15), slice(12, 15), slice(12, 15))
    click = next_click(mask, truth, GRID)
    assert click.positive
    assert voxel(click) == [3, 3, 3]


def test_of_voxels_of_one_depth_the_middle_one_is_clicked():
    truth = block(slice(3, 4), slice(2, 17), slice(5, 6))
    assert voxel(next_click(np.zeros_like(truth), truth, GRID)) == [3, 9, 5]


def test_diagonal_neighbours_belong_together():
    truth = block(slice(0, 2), slice(0, 2), slice(0, 2)) | block(slice(2, 4), slice(2, 4), slice(2, 4))
    other = block(slice(10, 13), slice(10, 12), slice(10, 12))  # 12 voxels against 8 + 8
    assert voxel(next_click(np.zeros_like(truth), truth | other, GRID))[0] < 5


def test_no_error_no_click():
    truth = block(slice(2, 6), slice(2, 6), slice(2, 6))
    assert next_click(truth, truth, GRID) is None


def test_dice():
    a, b = block(slice(0, 4), slice(0, 1), slice(0, 1)), block(slice(2, 6), slice(0, 1), slice(0, 1))
    assert dice(a, b) == pytest.approx(0.5)
    assert dice(a * 7, a) == 1
    assert dice(a * 0, a * 0) == 1


def test_scores_are_grouped_anew_after_each_change():
    done = Evaluation("m", PROTOCOLS["honest"], 1)
    first = Score("c", "liver", 1.0, "m", 1, 0.5, 0.4, 0.3, 0.2)
    done.scores.append(first)
    assert done.of("m", "c", "liver") == [0.5]
    done.scores.append(replace(first, click=2, dice=0.6))
    assert done.of("m", "c", "liver") == [0.5, 0.6]
    done.scores = [replace(first, dice=0.1), replace(first, dice=0.2)]
    assert done.of("m", "c", "liver") == [0.1, 0.2]
    assert done.of("m", "c", "spleen") == []


def test_a_report_of_many_structures_goes_through_the_scores_a_few_times():
    """Not once for each of them, which for a large dataset would take hours."""
    looked = []

    class Counted(Score):
        def __getattribute__(self, name):
            looked.append(name)
            return super().__getattribute__(name)

    done = Evaluation("m", PROTOCOLS["honest"], 1)
    done.scores = [Counted(f"c{n}", "liver", 1.0, "m", k, 0.5, 0.4, 0.3, 0.2) for n in range(50) for k in (1, 2)]
    looked.clear()
    report.html(done)
    assert len(looked) < 50 * len(done.scores)


def test_every_number_of_a_structure_stands_under_its_title():
    """Also where fewer clicks were asked for than the protocol's tables have, and for a method that gave up."""
    scores = [Score("case", "nodule", 0.034, "a", n, 0.5, 0.4, 0.3, 0.25) for n in (1, 2, 3)]
    scores += [Score("case", "nodule", 0.034, "a long name & more", 1, 0.5, 0.4, 0.3, 0.25)]
    page = report.html(Evaluation("a", PROTOCOLS["honest"], 1, scores))
    head, row = re.search(r"<h2>Structures</h2><table><tr>(.*?)</tr><tr>(.*?)</tr>", page).groups()
    titles, cells = (re.findall(r"<t[dh]>(.*?)</t[dh]>", each) for each in (head, row))
    assert len(titles) == len(cells)
    found = dict(zip(titles, cells, strict=True))
    assert (found["ml"], found["a 3"], found["volume error"]) == ("0.034", "0.50", "+25 %")
    assert "a 5" not in found
    two = report.html(Evaluation("a", PROTOCOLS["honest"], 1, scores[:2]))
    assert [re.findall("<th>Dice at (\\d+)</th>", two), re.findall("<th>NSD at (\\d+)</th>", two)] == [["1", "2"]] * 2
    assert found["a long name &amp; more 3"] == ""


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: report.write(Evaluation("m", PROTOCOLS["honest"], 0), folder),
        lambda folder: ImageEvaluation("m", 0).write(folder),
        lambda folder: write_table([], folder / "scores.csv"),
    ],
    ids=["volumes", "images", "replay"],
)
def test_scores_that_cannot_be_written_leave_the_earlier_ones_and_are_told(write, tmp_path, monkeypatch):
    (tmp_path / "scores.csv").write_text("earlier")

    def full(path, _text, **_options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(VolumeError, match=r"scores\.csv: cannot be written\. Check .* free space"):
        write(tmp_path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["earlier"]
