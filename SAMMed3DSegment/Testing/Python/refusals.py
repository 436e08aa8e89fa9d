"""A Slicer that refuses to write voxels, for tests."""

from contextlib import contextmanager

import pytest
import slicer


class RefusingLogic:
    """Slicer's logic of segmentations, one of whose next writes fails.

    Args:
        at: which one, from 0.
        error: what it raises; None: it says that it was not done.
        halfway: whether voxels are written all the same.
        forGood: whether all writes after it fail, too.
    """

    def __init__(self, at, error=None, halfway=False, forGood=False):
        self._at, self._error, self._halfway, self._forGood = at, error, halfway, forGood
        self._real, self.calls = slicer.vtkSlicerSegmentationsModuleLogic, 0

    def __getattr__(self, name):
        return getattr(self._real, name)

    def SetBinaryLabelmapToSegment(self, *arguments):
        refused = self.calls == self._at or (self._forGood and self.calls > self._at)
        self.calls += 1
        if not refused:
            return self._real.SetBinaryLabelmapToSegment(*arguments)
        if self._halfway:
            self._real.SetBinaryLabelmapToSegment(*arguments)
        if self._error is not None:
            raise self._error
        return False


@contextmanager
def refusing(at, **how):
    """Let one of Slicer's next writes fail."""
    with pytest.MonkeyPatch.context() as patch:
        logic = RefusingLogic(at, **how)
        patch.setattr(slicer, "vtkSlicerSegmentationsModuleLogic", logic)
        yield logic
