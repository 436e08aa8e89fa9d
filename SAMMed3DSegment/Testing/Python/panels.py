"""What a user does with the panel and the views, for tests."""

import sys
import time
from contextlib import contextmanager

import qt
import slicerHarness

OURS = ("SAMMed3DSegment", "SAMMed3DSegmentLib", "sammed3d")


@contextmanager
def keptModules():
    """Take the module off the screen afterwards, and put its code back as it was before a reload."""
    kept = {name: value for name, value in sys.modules.items() if name.partition(".")[0] in OURS}
    try:
        yield kept
    finally:
        slicerHarness.unloadModule("SAMMed3DSegment")
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        sys.modules.update(kept)


def settle(module, timeout=20.0):
    """Wait until the module has nothing under way."""
    end = time.monotonic() + timeout
    while module.panel.segmenter.busy or module.panel.threadTime.active:
        assert time.monotonic() < end
        qt.QApplication.processEvents()
