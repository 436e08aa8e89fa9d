"""The table of what was carried through a series: read whole, and shown with its own series alone."""

import pytest

import qt
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
    assert ui.framesTable.horizontalHeaderItem(2).text() == "Moved\n(mm)"
    module.root.resize(430, 1000)
    module.root.grab()  # lays it out
    assert not ui.framesTable.isColumnHidden(2)
    assert not ui.framesTable.horizontalScrollBar().maximum, "remarks are not pushed out"


def test_a_narrow_panel_does_without_numbers_that_remarks_say_where_they_matter(
    module, ui, ball, browser, area, monkeypatch
):
    remark = "overlap 0.41, volume -38%, goes on from frame 2"
    monkeypatch.setattr(FrameMask, "remark", property(lambda mask: remark if mask.frame == 2 else ""))
    clickWorld(module, ball.centres[0])
    carry(module)
    letters = qt.QFont("DejaVu Sans")
    letters.setPixelSize(12)
    module.parent.setFont(letters)
    table, hidden = ui.framesTable, {}
    for width in (430, 330, 288, 330, 430):
        area.resize(width, 1600)
        events()
        again = [column for column in range(6) if table.isColumnHidden(column)]
        assert hidden.setdefault(width, again) == again
        assert not table.horizontalScrollBar().maximum
        assert table.columnWidth(5) > 75
    assert [hidden[width] for width in (430, 330, 288)] == [[], [2, 4], [2, 3, 4]]
    mask = module.panel.series.propagation.found[2]
    for part in ("Frame: 3", f"Moved (mm): {mask.moved:.0f}", f"Change: {mask.change}", f"Look at it: {remark}"):
        assert part in table.item(2, 0).toolTip().split("\n")


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


def events():
    for _ in range(4):
        qt.QApplication.processEvents()


@pytest.fixture
def fill(module, ui, ball, browser, area):
    """List frames as done; what was carried is a matter of other tests."""
    clickWorld(module, ball.centres[0])
    carry(module)
    area.ensureWidgetVisible(ui.framesTable)
    events()

    def fill(numbers):
        module.panel.series.propagation.found = [FrameMask(number, None, 1.0, 0.9, 0.1, 0.1) for number in numbers]
        module.panel.series.fill()
        events()

    return fill


def topFrame(table):
    return table.item(table.rowAt(0), 0).text()


def test_what_is_read_stays_where_it_is_while_frames_come_before_and_after_it(ui, fill):
    table = ui.framesTable
    fill(range(10, 40))
    assert topFrame(table) == "11"
    fill(range(9, 40))
    assert topFrame(table) == "10", "at the top, what comes first is shown"
    table.verticalScrollBar().setValue(12)
    events()
    read = topFrame(table)
    assert read not in ("10", "11")
    for first, last in ((9, 41), (5, 41), (2, 50)):
        fill(range(first, last))
        assert topFrame(table) == read
    table.selectRow(table.rowCount - 1)  # of a frame that this series does not have
    table.verticalScrollBar().setValue(0)
    fill(range(2, 51))
    assert topFrame(table) == "3"


def test_the_row_of_the_frame_that_is_shown_is_the_selected_one(ui, fill, browser):
    """Else a frame that one came back from could not be selected again."""
    table = ui.framesTable
    fill(range(4))

    def selected():
        return [row for row in range(table.rowCount) if table.item(row, 0).isSelected()]

    assert selected() == [browser.GetSelectedItemNumber()] == [0]
    table.selectRow(3)
    events()
    assert browser.GetSelectedItemNumber() == 3
    browser.SetSelectedItemNumber(1)
    events()
    assert selected() == [1]
    table.selectRow(3)
    events()
    assert (browser.GetSelectedItemNumber(), selected()) == (3, [3])
    browser.SetPlaybackActive(True)
    for number in (0, 1, 2):
        browser.SetSelectedItemNumber(number)
        events()
        assert selected() == [3], "not while it is played"
    browser.SetPlaybackActive(False)
    events()
    assert selected() == [2]
    browser.SetSelectedItemNumber(4)
    events()
    assert selected() == [], "a frame that is not done"
