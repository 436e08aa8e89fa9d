"""What commands print: words of users are shown as they are."""

import errno
import os
import subprocess
import sys
import warnings
from itertools import pairwise

import pytest
from rich.table import Table
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.cli.terminal import explained, print_table, screen

NAME = "kidney [/left] [red]:a:"


def test_square_brackets_and_colons_in_names_are_shown_as_they_are(capsys):
    table = Table("Segment")
    table.add_row(NAME)
    print_table(table)
    screen.print(NAME, highlight=False)
    with explained(debug=False):
        warnings.warn(NAME, stacklevel=1)
    shown = capsys.readouterr()
    assert NAME in shown.out
    assert shown.err.splitlines() == [NAME, f"Warning: {NAME}"]


@pytest.mark.parametrize("name", ["kidney [/left]", "[bold]kidney"])
def test_a_segment_with_square_brackets_in_its_name_ends_well(tiny_checkpoint, tmp_path, name):
    ct = write_image(tmp_path / "ct.nii.gz", phantom((60, 70, 50)), make_affine((3, 3, 3)))
    arguments = ["segment", ct, "--click", "90,105,75", "--name", name, "--model", tiny_checkpoint, "--device", "cpu"]
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "--follow", "-o", tmp_path / "mask.seg.nrrd")])
    assert result.exit_code == 0, result.output
    assert name in result.stdout
    assert f"{name}: " in result.stderr, "how far it was followed"


def test_names_and_signs_that_the_output_has_no_letters_for_end_nothing(tmp_path):
    """As what is piped on Windows."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    write_image(tmp_path / "images" / "肝.nii.gz", phantom((20, 22, 18)), make_affine((3, 3, 3)))
    (tmp_path / "labels" / "肝.nii.gz").write_bytes(b"no image")
    command = [sys.executable, "-m", "sammed3d", "data", "check", str(tmp_path)]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 1
    said = done.stdout.decode("cp1252")
    assert "\\u809d: " in said
    assert "\\u2717 " in said
    assert "1 cases, 1 with problems." in said
    assert b"Error" not in done.stderr


def test_a_reader_that_is_gone_is_no_error_to_explain(monkeypatch, tmp_path):
    """As after `| head`."""

    def gone(*_arguments, **_options):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    file = write_image(tmp_path / "ct.nii.gz", phantom((6, 7, 8)), make_affine((3, 3, 3)))
    monkeypatch.setattr("sammed3d.cli.info.print_table", gone)
    result = CliRunner().invoke(app, ["info", str(file)])
    assert (result.exit_code, result.stderr) == (1, "")


@pytest.mark.parametrize("command", ["propagate", "replay", "learn", "evaluate"])
def test_help_fills_the_width_of_a_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    lines = CliRunner().invoke(app, [command, "--help"]).output.split("Arguments")[0].splitlines()
    for line, following in pairwise(lines):
        if line.strip() and following.strip() and "Usage" not in line:
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > 78, f"a word more would fit: {line!r}"
