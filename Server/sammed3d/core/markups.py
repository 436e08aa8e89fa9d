"""Markups of 3D Slicer (`.mrk.json`): point lists are clicks, curves scribbles, closed curves lassos, ROIs boxes.

Slicer's coordinates are LPS unless the file says otherwise; they are converted here. Markups of the same name are one
object. The corners of curves are joined by straight lines; Slicer draws a spline through them, but freehand curves
have a corner every few pixels.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sammed3d.core.drawings import Drawing, Lasso, Scribble
from sammed3d.core.geometry import Point3
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.errors import PromptError

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
KNOWN = ("Fiducial", "Curve", "ClosedCurve", "ROI")
ORIENTATION = (-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0)


def objects_from(data: dict[str, Any], name: str) -> tuple[ObjectPrompts, ...]:
    """Return the objects of a markups file, as parsed JSON.

    Raises:
        PromptError: `name` holds none of the markups that are prompts, or a malformed one.
    """
    found: dict[str, ObjectPrompts] = {}
    try:
        for number, markup in enumerate(data["markups"], start=1):
            if markup.get("type") in KNOWN:
                title = str(markup.get("name") or f"Object {number}")
                found[title] = _added(found.get(title, ObjectPrompts(title, ())), markup)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise PromptError(f"{name}: a control point is incomplete or malformed ({error}).") from error
    except PromptError as error:
        raise PromptError(f"{name}: {error}") from error
    if not found:
        raise PromptError(f"{name}: this markups file holds no point list, curve or ROI.")
    return tuple(found.values())


def clicks_json(clicks: Sequence[Click]) -> str:
    """Return clicks as a markups file: one point list, polarity in each point's description."""
    points = [
        {
            "id": str(n),
            "label": f"{'P' if c.positive else 'N'}-{n}",
            "description": "positive" if c.positive else "negative",
            "associatedNodeID": "",
            "position": _flip_lps(c.world),
            "orientation": list(ORIENTATION),
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for n, c in enumerate(clicks, start=1)
    ]
    return _file({"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points})


def drawing_json(drawing: Drawing) -> str:
    """Return a drawing as a markups file: a curve or a closed curve; a painted one as its voxels, joined."""
    said = "positive" if drawing.positive else "negative"
    points = [
        {"id": str(n), "description": said, "position": _flip_lps(p), "positionStatus": "defined"}
        for n, p in enumerate(drawing.points, start=1)
    ]
    kind = "Curve" if isinstance(drawing, Scribble) else "ClosedCurve"
    return _file({"type": kind, "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points})


def _file(markup: dict[str, Any]) -> str:
    return json.dumps({"@schema": SCHEMA, "markups": [markup]}, indent=2)


def _added(prompts: ObjectPrompts, markup: dict[str, Any]) -> ObjectPrompts:
    """Return an object's prompts with those of one more markup."""
    ras = str(markup.get("coordinateSystem", "LPS")).upper() in ("RAS", "0")
    if markup["type"] == "ROI":
        return replace(prompts, box=_box(markup, ras))
    points = [p for p in markup["controlPoints"] if p.get("positionStatus", "defined") == "defined"]
    places = [tuple(p["position"]) if ras else _flip_lps(p["position"]) for p in points]
    if markup["type"] == "Fiducial":
        clicks = tuple(Click(place, _is_positive(p)) for place, p in zip(places, points, strict=True))
        return replace(prompts, clicks=(*prompts.clicks, *clicks))
    kind = Scribble if markup["type"] == "Curve" else Lasso
    positive = all(_is_positive(p) for p in points[:1])
    drawn = kind(tuple(places), positive, after=len(prompts.clicks))
    return replace(prompts, drawings=(*prompts.drawings, drawn))


def _box(markup: dict[str, Any], ras: bool) -> BoxPrompt:
    """Return the box round a ROI, which may be turned."""
    half = np.array(markup["size"], np.float64) / 2
    centre = np.array(markup["center"], np.float64)
    turned = np.array(markup.get("orientation", np.eye(3).ravel()), np.float64).reshape(3, 3)
    if half.shape != (3,) or centre.shape != (3,):
        raise PromptError("A ROI needs a centre and a size of three numbers.")
    if not half.min() > 0:
        raise PromptError("This ROI has no size. Draw it round the object.")
    signs = np.array(list(itertools.product((-1, 1), repeat=3)))
    corners = centre + (signs * half) @ turned.T
    if not ras:
        corners = corners * (-1, -1, 1)
    (a, b, c), (d, e, f) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return BoxPrompt((a, b, c), (d, e, f))


def _flip_lps(position: Sequence[float]) -> Point3:
    return -float(position[0]), -float(position[1]), float(position[2])


def _is_positive(point: dict[str, Any]) -> bool:
    """Slicer's points carry no polarity: the description says it, or a label that starts with N or ends with '-'."""
    description = str(point.get("description", "")).strip().lower()
    if description in ("positive", "negative"):
        return description == "positive"
    label = str(point.get("label", "")).strip().lower()
    return not (label.startswith(("n-", "neg")) or label.endswith("-"))
