"""The sample images that the package ships, for the Sample Data module and the "Try it" button."""

from __future__ import annotations

from pathlib import Path

import slicer

from sammed3d import samples

SAMPLES = {
    "SAMMed3DSegmentCT": (samples.CT_ABDOMEN, "Trunk CT"),
    "SAMMed3DSegmentMR": (samples.MR_SPINE, "Lumbar spine MR"),
}
"""Names in the Sample Data module: file, and name of the node."""


def register(iconFolder: Path) -> None:
    """Show the samples in the Sample Data module."""
    import SampleData  # noqa: PLC0415 - a module of Slicer's, there when the application has started

    for name, (file, nodeName) in SAMPLES.items():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="SAMMed3DSegment",
            sampleName=name,
            thumbnailFileName=str(iconFolder / "SAMMed3DSegment.png"),
            uris=file.as_uri(),
            fileNames=file.name,
            nodeNames=nodeName,
            loadFileType="VolumeFile",
        )


def load() -> slicer.vtkMRMLScalarVolumeNode:
    """Load the sample CT into the scene and show it."""
    node = slicer.util.loadVolume(str(samples.CT_ABDOMEN), {"name": "Trunk CT"})
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
