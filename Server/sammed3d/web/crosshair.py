"""What is at the crosshair, in words, for those who hear the page. MRML only, no trame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from sammed3d.web.work import Work

NEAR = 3.0
"""Millimetres within which a click, or a point of a drawing, is at a place."""


def at_crosshair(work: Work) -> str:
    """Say what is at the crosshair, as `at_place` does; "" where there is no image."""
    cursor = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    world = [0.0, 0.0, 0.0]
    if work.volume_node is None or cursor is None or not cursor.GetCursorPositionRAS(world):
        return ""
    return at_place(work, world)


def at_place(work: Work, world: Sequence[float]) -> str:
    """Say where a place (RAS mm) of the image is, which value is there, which segments and prompts."""
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
    there = [f"value {value:.6g}", *(_segments(work, world) or ["no segment"]), *_prompts(work, world)]
    return f"{place}: {', '.join(there)}."


def _segments(work: Work, world: Sequence[float]) -> list[str]:
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


def _prompts(work: Work, world: Sequence[float]) -> list[str]:
    """Clicks and drawings of the selected segment at a place."""
    [prompts] = work.segmenter.objectPrompts([work.segment_id]) if work.segment_id else [None]
    if prompts is None:
        return []
    clicks = [("click", c.positive) for c in prompts.clicks if np.linalg.norm(np.subtract(c.world, world)) < NEAR]
    drawn = [(d.kind, d.positive) for d in prompts.drawings if np.linalg.norm(d.array - world, axis=1).min() < NEAR]
    return [f"a {'positive' if positive else 'negative'} {kind}" for kind, positive in (*clicks, *drawn)]


def _value(image: Any, matrix: vtk.vtkMatrix4x4, world: Sequence[float]) -> float | None:
    """The voxel at a place; None outside."""
    voxel = [round(x) for x in matrix.MultiplyPoint((*world, 1.0))[:3]]
    extent = image.GetExtent()
    if any(not low <= x <= high for x, low, high in zip(voxel, extent[::2], extent[1::2], strict=True)):
        return None
    return float(image.GetScalarComponentAsDouble(*voxel, 0))
