"""The panel's room: beside the views, in large letters, with all that is in its sections."""

import pytest

import qt


def test_buttons_have_room_for_their_words_in_large_letters(module, ui):
    letters = qt.QFont(module.parent.font)
    letters.setPointSize(24)
    module.parent.setFont(letters)
    module.parent.show()
    qt.QApplication.processEvents()
    buttons = [b for b in ui.positiveButton.parent().findChildren(qt.QPushButton) if b.isVisible()]
    assert len(buttons) > 10
    assert not [b.text for b in buttons if b.width < b.sizeHint().width()]


@pytest.mark.parametrize(("pixels", "width"), [(12, 420), (21, 600)])
def test_the_panel_fits_beside_the_views_also_with_all_sections_open(module, ui, chosenVolume, pixels, width):
    letters = qt.QFont("DejaVu Sans")  # wider than most
    letters.setPixelSize(pixels)
    module.parent.setFont(letters)
    ui.addSegmentButton.click()
    ui.placeSelector.setCurrentIndex(1)
    for name, section in vars(ui).items():
        if name.endswith("Section"):
            section.collapsed = False
    for name in ("progressBar", "cancelButton", "downloadBar", "cancelDownloadButton", "findBar", "stopFindButton"):
        getattr(ui, name).setVisible(True)
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
