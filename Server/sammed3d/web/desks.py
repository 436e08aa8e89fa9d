"""Volumes that are put aside with all work on them, while another one is worked on. MRML only, no trame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer

from sammed3d.files.picture import Picture
from sammed3d.web.segments import masks_of
from SAMMed3DSegmentLib import DrawingNodes, PointList

if TYPE_CHECKING:
    from sammed3d.web.work import Work


@dataclass(frozen=True, eq=False)
class Desk:
    """A volume and its segments. They stay in the scene, hidden, and so do their prompts and the way back.

    Attributes:
        volume_node, picture, segmentation_node, segment_id: as in `Work`.
    """

    volume_node: Any
    picture: Picture | None
    segmentation_node: Any
    segment_id: str

    def remove(self) -> None:
        """Take all of it out of the scene; prompts go with their segmentation."""
        for node in (self.segmentation_node, self.volume_node):
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)


def put_aside(work: Work) -> Desk | None:
    """Hide what is worked on, to go on with it later; what nobody has worked on is removed, and None is returned."""
    work.place("")
    desk = Desk(work.volume_node, work.picture, work.segmentation_node, work.segment_id)
    ids, segmenter = work.segments.ids(), work.segmenter
    steps = any(segmenter.canUndo(each) or segmenter.canRedo(each) for each in ids)
    if not (steps or segmenter.underWay or any(row.ml is not None for row in work.rows())):
        desk.remove()
        return None
    desk.segmentation_node.GetDisplayNode().SetVisibility(False)
    work.aside.append(desk)
    return desk


def take_up(work: Work, desk: Desk) -> None:
    """Go on with what was put aside."""
    work.aside.remove(desk)
    desk.segmentation_node.GetDisplayNode().SetVisibility(True)
    work.begin(desk)


def all_masks(work: Work) -> frozenset[tuple[str, int]]:
    """Return the masks of what is worked on and of what is put aside; see `segments.masks_of`."""
    nodes = (work.segmentation_node, *(desk.segmentation_node for desk in work.aside))
    return frozenset(mask for node in nodes for mask in masks_of(node))


class PromptsShown:
    """Whether clicks and drawings are shown: those of what is worked on, as the user wants it, and no others.

    Args:
        work: what is worked on.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._wanted = True

    def show(self, wanted: bool) -> None:
        """Show them, or hide them."""
        self._wanted = wanted
        self.keep()

    def keep(self) -> None:
        """Follow what came or went; a new one is hidden where all others are, which may be put aside."""
        for node in (*PointList.pointLists(), *DrawingNodes.drawingNodes()):
            shown = self._wanted and PointList.segmentationOf(node) is self._work.segmentation_node
            if bool(node.GetDisplayVisibility()) != shown:
                node.SetDisplayVisibility(shown)
