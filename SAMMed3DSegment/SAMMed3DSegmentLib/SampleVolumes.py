"""The sample images that the package ships, for the Sample Data module and the "Try it" button."""

from __future__ import annotations

from pathlib import Path

import slicer

from sammed3d import samples

SAMPLES = {
    "Trunk CT (SAM-Med3D)": (samples.CT_ABDOMEN, "Trunk CT"),
    "Lumbar spine MR (SAM-Med3D)": (samples.MR_SPINE, "Lumbar spine MR"),
}
"""Texts of the buttons in the Sample Data module, where other extensions' are beside them: file, name of the node."""


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
