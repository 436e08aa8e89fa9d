"""What was clicked and drawn in which frame of a series, kept in the scene at the sequence of segmentations."""

from __future__ import annotations

import json

import slicer

from sammed3d import ObjectPrompts, PromptError
from sammed3d.core import prompt_files
from SAMMed3DSegmentLib.FrameSequence import FrameSequence
from SAMMed3DSegmentLib.Segmenter import Segmenter

ATTRIBUTE = "SAMMed3DSegment.Prompts."
"""Attribute of the sequence, with a segment's id: JSON, from index value to the prompts of that frame."""


def kept(
    frames: FrameSequence, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str
) -> dict[int, ObjectPrompts]:
    """Return a segment's prompts by frame, the one that was clicked in first before the others.

    Raises:
        PromptError: what the scene holds of them was damaged.
    """
    sequence = frames.segmentations(segmentationNode)
    text = None if sequence is None else sequence.GetAttribute(ATTRIBUTE + segmentId)
    known = {}
    try:
        entries = dict(json.loads(text or "{}")).items()
    except (ValueError, TypeError) as error:
        raise PromptError(f"{sequence.GetName()}: the prompts that it keeps are damaged ({error}).") from error
    for index, entry in entries:
        number = frames.browser.GetMasterSequenceNode().GetItemNumberFromIndexValue(index, True)
        if number >= 0:
            [known[number]] = prompt_files.loads(json.dumps(entry), sequence.GetName())
    return known


def keep(
    frames: FrameSequence,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    known: dict[int, ObjectPrompts],
) -> None:
    """Keep a segment's prompts in the scene."""
    index = frames.browser.GetMasterSequenceNode().GetNthIndexValue
    text = json.dumps({index(number): json.loads(prompt_files.dumps([each])) for number, each in known.items()})
    sequence = frames.segmentations(segmentationNode)
    if sequence.GetAttribute(ATTRIBUTE + segmentId) != text:
        sequence.SetAttribute(ATTRIBUTE + segmentId, text)


def note(segmenter: Segmenter, segmentId: str) -> None:
    """Keep what the prompts of a segment are in the frame that is shown, so that other frames can go on from there."""
    frames, node = FrameSequence.of(segmenter.volumeNode), segmenter.segmentationNode
    if frames is None or frames.segmentations(node) is None or not segmenter.isAbout(segmentId):
        return
    try:
        known, own = kept(frames, node, segmentId), shown(segmenter, segmentId)
    except PromptError:  # said where somebody wants to go on from them
        return
    if own is None:
        known.pop(frames.shown, None)
    else:
        known[frames.shown] = own
    keep(frames, node, segmentId, known)


def shown(segmenter: Segmenter, segmentId: str) -> ObjectPrompts | None:
    """Return the prompts of a segment in the frame that is shown; None where it has none there."""
    state = segmenter.promptsInForce(segmentId)
    if state is None or state.is_start or not segmenter.isAbout(segmentId):
        return None
    return segmenter.objectPrompts([segmentId])[0]


def told(known: dict[int, ObjectPrompts], first: int, chosen: range, name: str) -> dict[int, ObjectPrompts]:
    """Return what the frames are told: `first` all that was said on the way to it from where the object was clicked.

    Raises:
        PromptError: nothing was said in any frame.
    """
    if not known:
        raise PromptError(f"Nobody has clicked in {name} in any frame. Click inside it first.")
    origin = next(iter(known))
    way = range(origin, first + 1) if origin <= first else range(origin, first - 1, -1)
    joined = ObjectPrompts(name, ())
    for each in (known[number] for number in way if number in known):
        joined = joined.joined(each)
    others = {number: each for number, each in known.items() if number in chosen and number != first}
    return {first: joined, **others}
