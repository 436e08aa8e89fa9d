"""The table of what was carried through a series: read whole, and shown with its own series alone."""

import pytest

from moving_ball import predictor as ballPredictor
from mrmlNodes import addSeries
from panels import carry, clickWorld, frameRows
from sammed3d.inference.series import FrameMask

pytestmark = pytest.mark.slow


@pytest.fixture
def predictor():
    return ballPredictor()


def test_a_long_remark_takes_as_many_lines_as_it_needs(module, ui, ball, browser, monkeypatch):
    remark = "edge changed (38%), mask not, goes on from frame 2"
    monkeypatch.setattr(FrameMask, "remark", property(lambda mask: remark if mask.frame == 2 else ""))
    clickWorld(module, ball.centres[0])
    carry(module)
    module.root.resize(400, 1000)
    module.root.grab()  # lays it out
    assert frameRows(ui)[2][4] == remark
    table = ui.framesTable
    heights = [table.rowHeight(row) for row in range(table.rowCount)]
    assert heights[2] > heights[1] == heights[3]
    wide = table.fontMetrics().horizontalAdvance(remark)
    assert heights[2] * table.columnWidth(4) > wide * table.fontMetrics().height()


def test_what_was_carried_through_one_series_is_not_shown_with_another(module, ui, scene, ball, browser):
    clickWorld(module, ball.centres[0])
    carry(module)
    first = module.panel.segmenter.volumeNode
    _, node = addSeries(scene, [ball.volume(number) for number in range(2)], "lung")
    ui.volumeSelector.setCurrentNode(node)
    for widget in (ui.framesTable, ui.undoPropagateButton):
        assert not widget.isVisibleTo(module.root)
    ui.volumeSelector.setCurrentNode(first)
    for widget in (ui.framesTable, ui.undoPropagateButton):
        assert widget.isVisibleTo(module.root)
