"""The sample image that the package ships, for the Sample Data module and the "Try it" button."""

from __future__ import annotations

from pathlib import Path

import slicer

from sammed3d import samples

NAME = "SAMMed3DSegmentCT"


def register(iconFolder: Path) -> None:
    """Show the sample in the Sample Data module."""
    import SampleData  # noqa: PLC0415 - a module of Slicer's, there when the application has started

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="SAMMed3DSegment",
        sampleName=NAME,
        thumbnailFileName=str(iconFolder / "SAMMed3DSegment.png"),
        uris=samples.CT_ABDOMEN.as_uri(),
        fileNames=samples.CT_ABDOMEN.name,
        nodeNames="Trunk CT",
        loadFileType="VolumeFile",
    )


def load() -> slicer.vtkMRMLScalarVolumeNode:
    """Load the sample CT into the scene and show it."""
    node = slicer.util.loadVolume(str(samples.CT_ABDOMEN), {"name": "Trunk CT"})
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
