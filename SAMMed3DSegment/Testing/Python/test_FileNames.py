"""Names of files on every system."""

import pytest

from SAMMed3DSegmentLib.FileNames import LONGEST, fileNameFor


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2: Thorax", "2_ Thorax"),
        ('CT/MR \\ a*b?<c>|"d"', "CT_MR _ a_b_c_d_"),
        ("tab\tline\nend", "tab_line_end"),
        ("nul", "_nul"),
        ("COM1.old", "_COM1.old"),
        ("ends with dots. . ", "ends with dots"),
        ("", "Segmentation"),
        (" : ", "Segmentation"),
        ("..", "Segmentation"),
        ("Leber (übermäßig)", "Leber (übermäßig)"),
        ("x" * 300, "x" * LONGEST),
    ],
)
def test_names(text, name):
    assert fileNameFor(text) == name


@pytest.mark.parametrize("letter", ["a", "ä", "漢", "\U00020000"])
def test_a_long_name_is_written_with_any_letters(letter, tmp_path):
    name = fileNameFor(250 * letter)
    assert set(name) == {letter}
    assert len(name) >= 30
    (tmp_path / f"{name} 12 {name}.png").write_bytes(b"")
