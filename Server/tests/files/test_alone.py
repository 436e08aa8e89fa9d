"""Folders that one run at a time writes into."""

import contextlib
import os
import subprocess
import sys

import pytest

from sammed3d.errors import ModelError, VolumeError
from sammed3d.files.alone import IN_USE, alone_in

HOLDS = """
import sys
from pathlib import Path
from sammed3d.files.alone import alone_in
with alone_in(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_and_a_later_one_is_not(tmp_path):
    with alone_in(tmp_path / "run"):
        with (
            pytest.raises(ModelError, match=r"run: another run writes into it\. Wait until"),
            alone_in(tmp_path / "run"),
        ):
            pass
        with alone_in(tmp_path / "other"):
            (tmp_path / "other" / "result").write_text("")
    assert not (tmp_path / "run").exists(), "nothing was written into it"
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["result"]
    (tmp_path / "empty").mkdir()
    with contextlib.suppress(RuntimeError), alone_in(tmp_path / "empty"):
        raise RuntimeError
    assert not list((tmp_path / "empty").iterdir())


def test_a_killed_program_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"holds"
        with pytest.raises(ModelError, match="another run"), alone_in(tmp_path):
            pass
        other.kill()
    with alone_in(tmp_path):
        assert (tmp_path / IN_USE).is_file()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions hold nobody back")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(VolumeError, match="cannot be written"), alone_in(tmp_path):
        pass
