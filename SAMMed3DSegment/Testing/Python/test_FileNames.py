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
