"""What goes on in the background: predictions, and 3-D surfaces that wait for the clicks to pause."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

import slicer

from sammed3d import Cancellation, Predictor, SAMMed3DError
from SAMMed3DSegmentLib.Following import FollowChoice
from SAMMed3DSegmentLib.InferenceThread import InferenceThread
from SAMMed3DSegmentLib.Job import Job
from SAMMed3DSegmentLib.Surface import SurfaceQueue


class Background:
    """Say what is under way, fetch results, cancel. A front end calls `poll` from a timer while `busy`.

    Args:
        thread: evaluates prompts.
        onChanged: called on the main thread whenever there is something new to show.

    Attributes:
        onChanged: called whenever there is something new to show.
        modelChoice: from a model's name to what the thread is told; asked at every click, since settings may change.
        followChoice: whether objects are followed beyond a patch; asked at every click, too.
        message: what the user should know about the last operation; "" if all is well.
        seconds: time by stage of the last prediction.
    """

    def __init__(self, thread: InferenceThread, onChanged: Callable[[], None]) -> None:
        self._thread = thread
        self.onChanged = onChanged
        self.modelChoice: Callable[[str], Hashable] = str
        self.followChoice: Callable[[], FollowChoice] = FollowChoice
        self.message = ""
        self.seconds: dict[str, float] = {}
        self._surfaces = SurfaceQueue()

    @property
    def busy(self) -> bool:
        """Whether predictions are under way: call `poll` again soon."""
        return self._thread.busy

    @property
    def working(self) -> bool:
        """Whether the background needs time; also while it is on its way out of a prediction that was cancelled."""
        return self._thread.working

    def wait(self, seconds: float) -> bool:
        """Wait for a result, that long at most; tells whether there is one."""
        return self._thread.wait(seconds)

    @property
    def stage(self) -> str:
        """What the running prediction is doing; see `InferenceThread.stage`."""
        return self._thread.stage

    @property
    def underWay(self) -> list[str]:
        """Ids of the segments whose predictions run or wait, in order."""
        return [key[1] for key in self._thread.keys]

    @property
    def progress(self) -> tuple[float | None, float]:
        """How far the running prediction is; see `InferenceThread.progress`."""
        return self._thread.progress

    @property
    def patches(self) -> tuple[int, int]:
        """Into which further patch an object is followed, and of how many; see `InferenceThread.patches`."""
        return self._thread.patches

    def poll(self) -> None:
        """Write the results that are ready. Call it from the main thread."""
        jobs = self._thread.finished()
        if jobs:
            for job in jobs:
                text = self._taken(job)
                # Jobs that were cancelled together end one after the other: what each took back is said.
                if text and job.cancelled and self.message:
                    self.message += f" {text.removeprefix('Cancelled. ')}"
                elif text:
                    self.message = text
            self.onChanged()

    def cancel(self) -> None:
        """Stop all predictions; segments stay as they are. Redo brings back the clicks that were not evaluated."""
        self.message = ""
        self._thread.cancel()
        self.poll()
        self.onChanged()

    def predictorFor(self, model: Hashable, cancellation: Cancellation) -> Predictor:
        """Return what `modelChoice` named, loaded if it is not; for other threads than the main one."""
        return self._thread.predictorFor(model, cancellation)

    @property
    def hasModel(self) -> bool:
        """Whether a model is loaded."""
        return self._thread.hasModel

    def forgetPredictors(self) -> None:
        """Load predictors anew at the next click: what they may do was changed."""
        self._thread.cancel()
        self._thread.forgetModel()
        self._thread.release()

    def surfacesOf(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """See to it that the 3-D surfaces of a segmentation are made anew where they are stale."""
        self._surfaces.add(segmentationNode.GetID())

    @property
    def surfacesWait(self) -> bool:
        """Whether there are surfaces to refresh."""
        return bool(self._surfaces)

    def refreshSurfaces(self) -> None:
        """Make the 3-D surfaces anew of the segments that changed; call it when the clicks pause."""
        self._surfaces.refresh()

    def _taken(self, job: Job) -> str:
        """Take a job that ended; one that cannot be written does not keep the others waiting."""
        try:
            return self._finish(job)
        except SAMMed3DError as error:
            return str(error)
        except MemoryError:
            return "There is not enough memory to write what was segmented. Close other volumes; Redo tries again."
        except Exception as error:
            logging.exception("A result could not be written")
            return f"What was segmented could not be written: {error or type(error).__name__}. Redo tries again."

    def _finish(self, job: Job) -> str:
        """Take a job that ended; returns what the user should know about it."""
        raise NotImplementedError
