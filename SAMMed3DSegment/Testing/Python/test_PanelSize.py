"""The panel's room: beside the views, in large letters, with all that is in its sections."""

import pytest

import qt
from slicerHarness import segmentEditor


def test_buttons_have_room_for_their_words_in_large_letters(module, ui):
    letters = qt.QFont(module.parent.font)
    letters.setPointSize(24)
    module.parent.setFont(letters)
    module.parent.show()
    qt.QApplication.processEvents()
    buttons = [b for b in ui.positiveButton.parent().findChildren(qt.QPushButton) if b.isVisible()]
    assert len(buttons) > 10
    assert not [b.text for b in buttons if b.width < b.sizeHint().width()]


@pytest.mark.parametrize(("pixels", "width"), [(12, 290), (21, 430)])
def test_the_panel_fits_beside_the_views_also_with_all_sections_open(module, ui, chosenVolume, pixels, width):
    letters = qt.QFont("DejaVu Sans")  # wider than most
    letters.setPixelSize(pixels)
    module.parent.setFont(letters)
    ui.addSegmentButton.click()
    ui.placeSelector.setCurrentIndex(1)
    for name, section in vars(ui).items():
        if name.endswith("Section"):
            section.collapsed = False
    for name in ("progress", "download", "find", "propagate", "export"):
        getattr(ui, f"{name}Bar").setVisible(True)
    for name in ("cancel", "cancelDownload", "stopFind", "stopPropagate", "cancelExport"):
        getattr(ui, f"{name}Button").setVisible(True)
    module.parent.show()
    qt.QApplication.processEvents()
    assert module.parent.minimumSizeHint().width() <= width
    rows = ui.modelSelector.view()
    assert rows.minimumWidth >= rows.sizeHintForColumn(0), "the list of models is as wide as their names"


def test_no_text_is_cut_off_where_sections_are_opened_one_after_the_other(area, ui, chosenVolume):
    ui.placeSelector.setCurrentIndex(1)
    seen = []
    for name in ("findSection", "exportSection", "writingSection", "serverSection", "modelSection"):
        getattr(ui, name).collapsed = False
        for _ in range(3):
            qt.QApplication.processEvents()
        labels = [label for label in getattr(ui, name).findChildren(qt.QLabel) if label.wordWrap and label.text]
        assert not [label.text for label in labels if label.height < label.heightForWidth(label.width)]
        seen += labels
    assert len(seen) >= 4


def test_the_effect_fits_there_too(registered, module):
    effect = segmentEditor.qSlicerSegmentEditorEffectFactory.instance().registered[0].clone()
    effect.call("setupOptionsFrame")
    frame = effect.optionsFrame()
    letters = qt.QFont("DejaVu Sans")
    letters.setPixelSize(12)
    frame.setFont(letters)
    assert frame.minimumSizeHint().width() <= 290
