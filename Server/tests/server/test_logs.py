"""Every line of a log has the form that was asked for."""

import json
import subprocess
import sys

import pytest

SERVER = """
import logging, sys, warnings
from sammed3d.cli.terminal import explained
from sammed3d.server import logs
with explained(False):
    logs.set_up(sys.argv[1])
    warnings.warn("the image: 3 NaN voxels", stacklevel=1)
    logging.getLogger("uvicorn.error").info("Uvicorn running on http://127.0.0.1")
    logging.getLogger("uvicorn.error").warning("No supported WebSocket library detected.")
    logging.getLogger("sammed3d.server").info("said")
"""


@pytest.mark.parametrize("kind", ["json", "text"])
def test_warnings_are_lines_of_the_log(kind):
    done = subprocess.run([sys.executable, "-c", SERVER, kind], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    if kind == "json":
        found = [json.loads(line) for line in lines]
        assert [line["message"] for line in found] == ["the image: 3 NaN voxels", "said"]
        assert [line["level"] for line in found] == ["warning", "info"]
    else:
        assert lines[0].endswith("WARNING sammed3d.server the image: 3 NaN voxels")
