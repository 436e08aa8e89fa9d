"""Which model a command asks, and where: options that would do nothing are refused."""

import pytest
from typer.testing import CliRunner

from sammed3d.cli.app import app


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def one_line(result):
    return " ".join(result.stderr.replace("│", " ").split())


COMMANDS = [
    ("segment", "ct.nii.gz", "--click", "1,2,3", "-o", "mask.nii.gz"),
    ("segment", "slice.png", "--click-xy", "1,2", "-o", "mask.png"),
    ("find", "ct.nii.gz", "-o", "found.nii.gz"),
    ("propagate", "heart.nii.gz", "--click", "1,2,3", "-o", "masks.nii.gz"),
]


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((command, "--no-proxy") for command in COMMANDS),
        *((command, "--ca") for command in (*COMMANDS, ("view", "ct.nii.gz"), ("serve-view",))),
    ],
    ids=lambda given: "-".join(given[:2]) if isinstance(given, tuple) else given,
)
def test_options_of_a_server_are_not_ignored_without_one(command, option):
    result = run(*command, *([option, "authority.pem"] if option == "--ca" else [option]))
    assert result.exit_code == 2
    assert f"{option} is about a server. Give its address with --server, or leave {option} out" in one_line(result)


def test_a_series_of_a_server_takes_its_authority(tmp_path):
    address = "dicomweb://pacs.example/dicom-web/studies/1.2/series/1.3"
    result = run("segment", address, "--click", "1,2,3", "-o", tmp_path / "mask.nii.gz", "--ca", tmp_path / "none.pem")
    assert result.exit_code == 1
    assert "none.pem" in one_line(result)
