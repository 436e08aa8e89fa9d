"""What a user is told about a result."""

from __future__ import annotations

import numpy as np

from sammed3d import VolumeError
from sammed3d.inference.inferer import in_effect
from SAMMed3DSegmentLib.Job import Job
from SAMMed3DSegmentLib.VolumeBridge import VolumeImages

NOTHING_CHANGED = "The click changed nothing: what it says is so already. Click where the segment is wrong."


def takenBack(job: Job, name: str, count: int, when: str = "") -> str:
    """Say what a failure or a cancellation took back of the segment of a name, and when that can be done again."""
    what = "1 click" if count == 1 else f"{count} clicks"
    verb, them = ("was", "it") if count == 1 else ("were", "them")
    text = f"{what} of {name} {verb} taken back; Redo brings {them} again{when}." if count else ""
    return f"{job.error or 'Cancelled.'} {text}".strip()


def aboutOutdated(volumeNode, name: str, images: VolumeImages, frames: bool) -> tuple[str, str]:
    """Say why a result was not written, and when what was taken back for it can be done again.

    Args:
        volumeNode: shows another image than when the prediction began, or another frame.
        name: of the segment.
        images: of volume nodes.
        frames: whether the segmentation shows one frame of a series after the other.
    """
    if frames:
        return "The result is of a frame that is not shown any more, and was not written. Go back to it.", ""
    try:
        images.of(volumeNode)
    except VolumeError as error:  # there is none any more, or it cannot be segmented now
        return f"{error} The result was not written.", ""
    shows = f"{volumeNode.GetName()} shows another image by now than {name} was clicked in"
    return f"{shows}; the result was not written.", " when that image is shown"


def aboutResult(job: Job) -> str:
    """Say what may be wondered about in a result; of an object's first one also what was done to the image's voxels."""
    state = job.state
    isFirst = len(state.clicks) + len(state.drawings) + (state.box is not None) == 1
    return " ".join(filter(None, (_aboutMask(job), job.volume.remark if isFirst else "")))


def _aboutMask(job: Job) -> str:
    if job.mask is not None or job.state.is_start or job.error is not None:
        return NOTHING_CHANGED if _changedNothing(job) else aboutFollowing(job)
    asked = any(drawing.positive for drawing in job.state.drawings)
    if job.state.box is None and not asked and not in_effect(job.state):
        return "A negative click takes away, and there is nothing yet. Place a positive one in the structure first."
    return "The model found nothing there. Undo, and click further inside the structure."


def _changedNothing(job: Job) -> bool:
    """Tell whether the first click on a mask that was given left it as it was."""
    state = job.state
    if state.base is None or job.mask is None or job.error or state.box or state.drawings or len(in_effect(state)) != 1:
        return False
    was, now = state.base.cropped(), job.mask.cropped()
    return was is not None and now is not None and was.box == now.box and np.array_equal(was.voxels, now.voxels)


def aboutFollowing(job: Job) -> str:
    """Say how far an object was followed, and how to go on."""
    if job.followed is None:
        return ""
    if job.error is not None:
        return f"{job.error} {job.followed.message}".strip()
    if job.following.alone and not (job.followed.patches or job.followed.goes_on):
        return "There is nothing to follow: the object ends within what was looked at."
    return job.followed.message
