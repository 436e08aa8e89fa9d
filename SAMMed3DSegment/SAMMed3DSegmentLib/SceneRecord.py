"""What a scene keeps of a segment's prompts, so that tomorrow goes on where today ended.

- Its point list holds the clicks in force, and as an attribute (JSON) the whole timeline: all states with their clicks,
  boxes and models, which one the segment shows, and of which image they are.
- The masks that states started from are segments of a hidden segmentation beside the user's.

The masks that states make are not kept, but for the one that the segment shows: they can be made again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from sammed3d import BoxPrompt, Click, PromptError
from sammed3d.core.drawings import from_json, to_json
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import ObjectTimeline
from SAMMed3DSegmentLib.Hardening import movedRecord
from SAMMed3DSegmentLib.MaskGrids import matrixOfImage, matrixOfVolume, onGrid
from SAMMed3DSegmentLib.PointList import SEGMENT_ATTRIBUTE, PointListNode
from SAMMed3DSegmentLib.SegmentReader import clipped, heldMask, labelmapOfSegment
from SAMMed3DSegmentLib.SegmentVoxels import setVoxels

TIMELINE_ATTRIBUTE = "SAMMed3DSegment.Timeline"
"""Attribute of a point list: the states of its segment's prompts."""
ROLE = "SAMMed3DSegment.StartingMasks"
"""Reference from a segmentation to the one that holds the masks that its segments started from."""
VERSION = 1


@dataclass(frozen=True)
class Record:
    """What was kept of a segment's prompts.

    Attributes:
        states: states of its timeline, at least one.
        position: index of the state that the segment showed.
        image: digest of the volume's image.
        placement: where the volume lay in the segmentation's frame, see `VolumeBridge.placementOf`.
    """

    states: tuple[PromptState, ...]
    position: int
    image: str
    placement: str


def keep(
    points: PointListNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
    timeline: ObjectTimeline,
    placement: str,
) -> None:
    """Write a timeline into the scene."""
    bases = {state.base.digest: state.base for state in timeline.states if state.base is not None}
    _keepBases(segmentationNode, segmentId, volumeNode, bases)
    states = timeline.states
    shown = next((n for n, state in enumerate(states) if state is timeline.shown), timeline.position)
    content = {
        "version": VERSION,
        "image": timeline.image,
        "placement": placement,
        "position": shown,
        "states": [_written(state, before) for before, state in zip((PromptState(), *states), states, strict=False)],
    }
    text = json.dumps(content, separators=(",", ":"))
    if points.GetAttribute(TIMELINE_ATTRIBUTE) != text:
        points.SetAttribute(TIMELINE_ATTRIBUTE, text)


def kept(
    points: PointListNode,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    volumeNode: slicer.vtkMRMLScalarVolumeNode,
) -> Record | None:
    """Read what `keep` wrote; None where it is not there, or not whole (then the segment is like one drawn by hand)."""
    try:
        content = json.loads(points.GetAttribute(TIMELINE_ATTRIBUTE) or "{}")
        if content.get("version") != VERSION:
            return None
        states: list[PromptState] = []
        for written in content["states"]:
            before = states[-1] if states else PromptState()
            states.append(_read(written, before, segmentationNode, segmentId, volumeNode))
        if not states:
            return None
        position = min(max(int(content["position"]), 0), len(states) - 1)
        return Record(tuple(states), position, str(content["image"]), str(content["placement"]))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, PromptError):
        return None


def forget(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Remove the masks that a segment started from; its point list goes with what it holds."""
    store = _storeOf(segmentationNode)
    if store is not None:
        for name in _names(store, segmentId):
            store.GetSegmentation().RemoveSegment(name)


def hardened(
    points: PointListNode, segmentationNode: slicer.vtkMRMLSegmentationNode, images: tuple[str, str], matrix: np.ndarray
) -> None:
    """Bring what was kept of a segment's prompts to where a hardened transform brought their volume.

    Args:
        points: the segment's point list.
        segmentationNode: its segmentation.
        images: digests of the volume's image, before and after; what is about another image stays.
        matrix: the transform (4, 4).
    """
    text, (before, after) = points.GetAttribute(TIMELINE_ATTRIBUTE), images
    try:
        content = json.loads(text or "{}")
        if content.get("version") != VERSION or content["image"] != before:
            return
        content = movedRecord({**content, "image": after}, matrix)
    except (AttributeError, KeyError, TypeError, ValueError, PromptError):  # not whole, see `kept`
        return
    points.SetAttribute(TIMELINE_ATTRIBUTE, json.dumps(content, separators=(",", ":")))
    store = _storeOf(segmentationNode)
    for name in () if store is None else _names(store, points.GetAttribute(SEGMENT_ATTRIBUTE)):
        labelmap = labelmapOfSegment(store, name)
        if labelmap is not None:
            toWorld = vtk.vtkMatrix4x4()
            toWorld.DeepCopy((matrix @ matrixOfImage(labelmap)).ravel().tolist())
            labelmap.SetGeometryFromImageToWorldMatrix(toWorld)


def forgetAll(segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove the masks that the segments of a segmentation started from; it may have left the scene."""
    store = slicer.mrmlScene.GetNodeByID(segmentationNode.GetNodeReferenceID(ROLE) or "")
    if store is not None and not _referring(store):
        slicer.mrmlScene.RemoveNode(store)


def _written(state: PromptState, before: PromptState) -> list[object]:
    """A state as a list: how many clicks it shares with the one before, its further clicks, base, box and model.

    A click is its place, its kind, and into how many patches the object was followed after it, if it was.
    Then its drawings and whether they are honoured, if there is something to say.
    """
    shared = 0
    for a, b in zip(state.clicks, before.clicks, strict=False):
        if a != b:
            break
        shared += 1
    clicks = [
        [*click.world, int(click.positive), *([click.follow] if click.follow else [])]
        for click in state.clicks[shared:]
    ]
    box = None if state.box is None else [*state.box.begin, *state.box.end]
    further = [[to_json(d) for d in state.drawings], state.honour] if state.drawings or not state.honour else []
    return [shared, clicks, None if state.base is None else state.base.digest, box, state.model, *further]


def _read(written, before: PromptState, segmentationNode, segmentId: str, volumeNode) -> PromptState:
    shared, further, digest, corners, model, *rest = written
    drawn, honour = rest or ((), True)
    drawings = tuple(from_json(entry) for entry in drawn)
    clicks = before.clicks[:shared] + tuple(Click((x, y, z), bool(kind), *follow) for x, y, z, kind, *follow in further)
    box = None if corners is None else BoxPrompt(tuple(corners[:3]), tuple(corners[3:]))
    if digest is None or (before.base is not None and before.base.digest == digest):
        base = None if digest is None else before.base
    else:
        base = _keptBase(segmentationNode, segmentId, volumeNode, digest)
    return PromptState(clicks, base, box, str(model), drawings, bool(honour))


def _name(segmentId: str, digest: str) -> str:
    return f"{segmentId}:{digest[:16]}"


def _names(store: slicer.vtkMRMLSegmentationNode, segmentId: str) -> list[str]:
    ids = store.GetSegmentation().GetSegmentIDs()
    return [name for name in ids if name.rpartition(":")[0] == segmentId]  # ids of segments may have colons, too


def _keepBases(segmentationNode, segmentId: str, volumeNode, bases: dict[str, BoxedMask]) -> None:
    store = _storeOf(segmentationNode)
    if store is None:
        if not bases:
            return
        store = _createStore(segmentationNode)
    segmentation = store.GetSegmentation()
    wanted = {_name(segmentId, digest): base for digest, base in bases.items()}
    there = _names(store, segmentId)
    for name in there:
        if name not in wanted:
            segmentation.RemoveSegment(name)
    for name, base in wanted.items():
        if name not in there:
            segmentation.AddEmptySegment(name, name)
            segmentation.SeparateSegmentLabelmap(name)  # masks of several volumes may lie in one store
            setVoxels(store, name, matrixOfVolume(volumeNode), base, True)


def _keptBase(segmentationNode, segmentId: str, volumeNode, digest: str) -> BoxedMask | None:
    """Return the mask of a digest; whatever the transform of the volume is now, it lies in the volume's own frame.

    Raises:
        KeyError: it is not there.
    """
    store = _storeOf(segmentationNode)
    name = _name(segmentId, digest)
    if store is None or store.GetSegmentation().GetSegment(name) is None:
        raise KeyError(digest)
    matrix, held = heldMask(store, name)
    return clipped(onGrid(held, matrix, matrixOfVolume(volumeNode)), volumeNode)


def _storeOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode | None:
    """Return the segmentation that holds the starting masks of another one; None where it has none of its own.

    A copy of a segmentation refers to that of the first one, and has none.
    """
    store = segmentationNode.GetNodeReference(ROLE)
    return store if store is not None and _referring(store)[:1] == [segmentationNode] else None


def _referring(store: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLSegmentationNode]:
    """Return the segmentations of the scene that refer to a store, in the order of the scene."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSegmentationNode")
    nodes.UnRegister(None)
    every = (nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems()))
    return [node for node in every if node.GetNodeReferenceID(ROLE) == store.GetID()]


def _createStore(segmentationNode: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode:
    store = slicer.vtkMRMLSegmentationNode()
    store.SetName(f"{segmentationNode.GetName()} starting masks")
    store.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(store)
    segmentationNode.SetNodeReferenceID(ROLE, store.GetID())
    return store
