"""A command line imports the command that is called."""

import sys

import pytest
import typer.testing

from sammed3d.cli import app as command_line


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_is_there_alone(name):
    done = typer.testing.CliRunner().invoke(command_line.with_commands([name]), [name, "--help"])
    assert done.exit_code == 0
    assert f"{name} " in done.stdout


def test_the_command_that_is_called_is_the_only_one(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(command_line, "with_commands", lambda names: made.append(list(names)) or (lambda: None))
    for arguments in (["info", "--help"], ["--help"], [], ["nonsense"]):
        monkeypatch.setattr(sys, "argv", ["sammed3d", *arguments])
        command_line.main()
    assert made == [["info"], *[list(command_line.COMMANDS)] * 3]
    with pytest.raises(AttributeError, match="nonsense"):
        _ = command_line.nonsense
