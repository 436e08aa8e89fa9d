"""Stand-in for the Python module of Slicer's Segment Editor effects."""

from slicerHarness.segmentEditor import qSlicerSegmentEditorScriptedEffect  # noqa: F401
