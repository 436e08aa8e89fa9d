"""Prompts that cannot be meant for a volume are refused, in one line that says where the volume lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sammed3d.core.drawings import Drawing
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.core.rasterisation import voxels_of
from sammed3d.errors import PromptError


def check_prompts(prompts: ObjectPrompts, grid: Grid, name: str) -> ObjectPrompts:
    """Refuse prompts of which one lies outside a grid; return them with drawings in the order of their places.

    Raises:
        PromptError: one does; says which and where `name` lies.
    """
    for click in prompts.clicks:
        check_click(click, grid, name)
    if prompts.box is not None:
        check_box(prompts.box, grid, name)
    for drawing in prompts.drawings:
        check_drawing(drawing, grid, name)
    most = len(prompts.clicks)
    placed = sorted((replace(d, after=min(d.after, most)) for d in prompts.drawings), key=lambda d: d.after)
    return replace(prompts, drawings=tuple(placed))


def check_click(click: Click, grid: Grid, name: str) -> None:
    """Refuse a click outside a grid; old clicks are not checked again, so an image may be exchanged under them.

    Raises:
        PromptError: it lies outside; says where `name` lies.
    """
    if not grid.contains(click.world):
        raise PromptError(f"The click at {_mm(click.world)} lies outside {name}, {_reach(grid)}. Click inside it.")


def check_box(box: BoxPrompt, grid: Grid, name: str) -> None:
    """Refuse a box whose middle lies outside a grid.

    Raises:
        PromptError: it does.
    """
    if not grid.contains(box.middle):
        raise PromptError(f"The middle of the box, {_mm(box.middle)}, lies outside {name}. Draw it inside.")


def check_drawing(drawing: Drawing, grid: Grid, name: str) -> None:
    """Refuse a scribble or lasso that marks no voxel of a grid; parts of it may lie outside.

    Raises:
        PromptError: all of it does; says where `name` lies.
    """
    if not len(voxels_of(drawing, grid)):
        raise PromptError(f"The {drawing.kind} lies outside {name}, {_reach(grid)}. Draw it inside.")


def _reach(grid: Grid) -> str:
    corners = grid.corners()
    low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return f"which reaches from {_mm(low)} to {_mm(high)} (R, A, S in mm)"


def _mm(world: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in world) + ")"
