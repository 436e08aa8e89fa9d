"""The one family of exceptions of this package.

Every message is written for the person who meets it: what happened, with which input, and what to do about it.
"""


class SAMMed3DError(Exception):
    """Base of every error that this package raises on purpose."""


class VolumeError(SAMMed3DError):
    """An image or mask cannot be used: unreadable, wrong dimension, constant, mismatching geometry."""


class SeveralSeriesError(VolumeError):
    """A folder holds several series of DICOM slices, and it was not said which one is meant."""


class EmptyVolumeError(VolumeError):
    """An image holds nothing to segment: all voxels are equal, or none has a finite value."""


class PromptError(SAMMed3DError):
    """A click or a prompt file cannot be used: outside the volume, malformed, unknown version."""


class ModelError(SAMMed3DError):
    """A model is unknown, not installed, or does not fit the machine (device, precision)."""


class ModelReplacedError(ModelError):
    """A server runs another model under a name than when it was first asked; a new predictor asks that one."""


class CheckpointError(ModelError):
    """A weights file is unreadable, unsafe, incomplete, or of another architecture."""


class AmbiguousFamilyError(CheckpointError):
    """A weights file fits several families, and nothing tells which it is.

    Attributes:
        names: the names of the families that fit.
    """

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message)
        self.names = names


class PredictionCancelled(SAMMed3DError):  # noqa: N818 - it is an outcome that was asked for, not a failure
    """The prediction was cancelled; nothing was changed."""


class VolumeWarning(UserWarning):
    """An image was usable only after a repair (for example non-finite voxels were replaced)."""


class ModelWarning(UserWarning):
    """A model may give worthless answers, is damaged and left out, or is asked where others can read it."""
