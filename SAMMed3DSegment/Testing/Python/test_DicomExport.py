"""DICOM SEG from the panel: in the background, with progress, Cancel, and what came of it."""

import threading

import pytest

from panels import placeClick, settle, wait
from sammed3d import VolumeError
from SAMMed3DSegmentLib import DicomSeg, Exporter
from segmenters import SPOTS


class Writing:
    """Stands for what writes the file: half of it, then it waits for its gate."""

    def __init__(self):
        self.gate, self.error = threading.Event(), None

    def __call__(self, segments, folder, report, cancellation):
        report(3, 6)
        assert self.gate.wait(30)
        cancellation.check()
        if self.error is not None:
            raise self.error
        return folder / "liver.dcm"


@pytest.fixture
def writing(module, ui, chosenVolume, monkeypatch, tmp_path):
    """The export under way."""
    writing = Writing()
    monkeypatch.setattr(DicomSeg, "gather", lambda *_: "segments")
    monkeypatch.setattr(DicomSeg, "write", writing)
    ui.positiveButton.click()
    placeClick(module, SPOTS[0])
    ui.folderButton.directory = str(tmp_path)
    ui.formatSelector.setCurrentIndex(ui.formatSelector.findData(Exporter.DICOM))
    ui.exportButton.click()
    wait(lambda: ui.exportBar.maximum == 6)
    yield writing
    writing.gate.set()
    settle(module)


def test_while_it_is_written_there_is_progress_and_no_second_one_begins(module, ui, writing):
    assert ui.exportLabel.text == "Writing the file..."
    assert ui.exportBar.value == 3
    assert not ui.exportButton.enabled
    for widget in (ui.exportBar, ui.cancelExportButton):
        assert widget.isVisibleTo(ui.exportSection)
    writing.gate.set()
    settle(module)
    assert ui.exportLabel.text == "Wrote liver.dcm"
    assert ui.exportButton.enabled
    for widget in (ui.exportBar, ui.cancelExportButton):
        assert not widget.isVisibleTo(ui.exportSection)


def test_cancel_says_that_nothing_was_written(module, ui, writing):
    ui.cancelExportButton.click()
    writing.gate.set()
    settle(module)
    assert ui.exportLabel.text == "Stopped; nothing was written."
    assert ui.exportButton.enabled


def test_why_it_cannot_be_written_is_said(module, ui, writing):
    writing.error = VolumeError("CT: it was not loaded from the DICOM database.")
    writing.gate.set()
    settle(module)
    assert ui.exportLabel.text == "CT: it was not loaded from the DICOM database."
