"""What a user does with the panel and the views, for tests."""

import sys
from contextlib import contextmanager

import qt
import slicerHarness
from segmenters import until

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


def wait(condition, timeout=60.0):
    """Let the application handle events until a condition holds."""
    until(condition, qt.QApplication.processEvents, timeout)


def settle(module):
    """Wait until the module has nothing under way."""
    wait(lambda: not (module.panel.segmenter.busy or module.panel.threadTime.active))
