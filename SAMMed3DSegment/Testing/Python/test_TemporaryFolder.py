"""The harness leaves nothing in the folder for temporary files, however the process ends that uses it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import slicerHarness
from segmenters import until

HARNESS = Path(slicerHarness.__file__).parents[1]
CODE = (
    f"import sys; sys.path[:0] = [{str(HARNESS)!r}]; import slicerHarness, slicer; "
    "print(slicer.app.temporaryPath, flush=True); sys.stdin.read()"
)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["by itself", "terminate", "kill"])
def test_the_folder_goes_with_the_process(end):
    process = subprocess.Popen([sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    assert folder.is_dir()
    assert folder != Path(slicerHarness.slicer.app.temporaryPath)
    if end != "by itself":
        getattr(process, end)()
    process.communicate()  # closes what it reads
    until(lambda: not folder.exists(), lambda: time.sleep(0.05))
