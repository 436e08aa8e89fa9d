"""The systemd unit: what systemd itself says about it, and that it names what there is."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "sammed3d.service"
WORST = 1.6
"""Exposure by `systemd-analyze security`: 0 is none, 10 all."""


@pytest.fixture(scope="module")
def service():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser["Service"]


@pytest.fixture
def unit(tmp_path):
    """The unit with a program that is here."""
    path = tmp_path / "sammed3d.service"
    path.write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", UNIT.read_text()))
    return path


def analyze(*arguments):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here (Debian's package systemd has it)")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_understands_it(unit):
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_exposes_little(unit):
    done = analyze("security", "--offline=true", str(unit))
    exposure = float(re.search(r"Overall exposure level for sammed3d.service: ([\d.]+)", done.stdout).group(1))
    assert exposure <= WORST


def test_it_runs_the_command_with_settings_that_there_are(service):
    program, command, option, file = service["ExecStart"].split()
    assert (Path(program).name, command, option) == ("sammed3d", "serve", "--config")
    assert file.startswith("/etc/sammed3d/")
    assert service["KillMode"] == "mixed", "workers are ended by the server, not beside it"
    assert int(service["TimeoutStopSec"]) > 30, "what runs is finished"
