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
    assert frameRows(ui)[2][-1] == remark
    table = ui.framesTable
    heights = [table.rowHeight(row) for row in range(table.rowCount)]
    assert heights[2] > heights[1] == heights[3]
    wide = table.fontMetrics().horizontalAdvance(remark)
    assert heights[2] * table.columnWidth(5) > wide * table.fontMetrics().height()


def test_how_far_the_object_moved_is_said_where_it_did(module, ui, ball, browser, scene):
    clickWorld(module, ball.centres[0])
    carry(module)
    found = module.panel.series.propagation.found
    assert [row[2] for row in frameRows(ui)] == ["" if not mask.moved else f"{mask.moved:.0f}" for mask in found]
    assert any(mask.moved > 1 for mask in found)
    assert not ui.framesTable.isColumnHidden(2)
    assert ui.framesTable.horizontalHeaderItem(2).text() == "Moved\n(mm)"
    module.root.resize(430, 1000)
    module.root.grab()  # lays it out
    assert not ui.framesTable.horizontalScrollBar().maximum, "remarks are not pushed out"


def test_where_nothing_moved_there_is_no_such_column(module, ui, ball, scene):
    _, node = addSeries(scene, [ball.volume(0)] * 3)
    ui.volumeSelector.setCurrentNode(node)
    clickWorld(module, ball.centres[0])
    carry(module)
    assert [row[2] for row in frameRows(ui)] == [""] * 3
    assert ui.framesTable.isColumnHidden(2)


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
