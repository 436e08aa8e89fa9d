"""What is at the crosshair, in words, for those who hear the page. MRML only, no trame."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from sammed3d.web.work import Work

NEAR = 3.0
"""Millimetres within which a click is at a place."""


def at_crosshair(work: Work) -> str:
    """Say where the crosshair is, which value is there, and which segments and clicks; "" where there is no image."""
    cursor = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    world = [0.0, 0.0, 0.0]
    if work.volume_node is None or cursor is None or not cursor.GetCursorPositionRAS(world):
        return ""
    matrix = vtk.vtkMatrix4x4()
    work.volume_node.GetRASToIJKMatrix(matrix)
    image = work.volume_node.GetImageData()
    value = _value(image, matrix, world)
    if value is None:
        return "Outside the image."
    if work.picture is None:
        place = ", ".join(f"{sides[x < 0]} {abs(x):.0f}" for sides, x in zip(("RL", "AP", "SI"), world, strict=True))
        place += " mm"
    else:
        column, row = (round(x) for x in matrix.MultiplyPoint((*world, 1.0))[:2])
        place = f"Column {column}, row {row}"
    there = [f"value {value:.6g}", *(_segments(work, world) or ["no segment"]), *_clicks(work, world)]
    return f"{place}: {', '.join(there)}."


def _segments(work: Work, world: list[float]) -> list[str]:
    """Names of the segments at a place."""
    found, segmentation = [], work.segmentation_node.GetSegmentation()
    for row in work.rows():
        labelmap = work.segmentation_node.GetBinaryLabelmapInternalRepresentation(row.id)
        if row.ml is None or labelmap is None:
            continue
        matrix = vtk.vtkMatrix4x4()
        labelmap.GetWorldToImageMatrix(matrix)
        if _value(labelmap, matrix, world) == segmentation.GetSegment(row.id).GetLabelValue():
            found.append(row.name)
    return found


def _clicks(work: Work, world: list[float]) -> list[str]:
    """Clicks of the selected segment at a place."""
    [prompts] = work.segmenter.objectPrompts([work.segment_id]) if work.segment_id else [None]
    near = [] if prompts is None else [c for c in prompts.clicks if np.linalg.norm(np.subtract(c.world, world)) < NEAR]
    return [f"a {'positive' if click.positive else 'negative'} click" for click in near]


def _value(image: Any, matrix: vtk.vtkMatrix4x4, world: list[float]) -> float | None:
    """The voxel at a place; None outside."""
    voxel = [round(x) for x in matrix.MultiplyPoint((*world, 1.0))[:3]]
    extent = image.GetExtent()
    if any(not low <= x <= high for x, low, high in zip(voxel, extent[::2], extent[1::2], strict=True)):
        return None
    return float(image.GetScalarComponentAsDouble(*voxel, 0))
