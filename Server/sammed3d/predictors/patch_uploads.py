"""Patches on their way to a server: each is sent once, ahead of its question where that is known early enough."""

from __future__ import annotations

import contextlib
import threading

from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import ModelError, SAMMed3DError
from sammed3d.inference.patch import Patch
from sammed3d.predictors.diagnosis import explain
from sammed3d.predictors.sent import Sent
from sammed3d.predictors.transport import Transport
from sammed3d.wire import arrays, messages

UNHEARD = (401, 421, 426)
"""Refusals after which no patch is sent: the server would close the connection on it before its answer is read."""
UPLOAD = "sammed3d-upload"
"""Name of a thread that sends a patch ahead."""
WAITING = 0.05
"""Seconds between two looks whether the user has cancelled, while a patch is on its way."""


class PatchUploads:
    """What a server has of patches, and what is on its way there. Thread-safe.

    Args:
        transport: the way to the server.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sent = Sent()
        self._under_way: dict[str, threading.Event] = {}

    def see_to(self, patch: Patch, cancellation: Cancellation) -> None:
        """See to it that the server has a patch; waits for it where it is on its way.

        Raises:
            ModelError: the server refuses it, or cannot be reached within the patience.
            PredictionCancelled: `cancellation` was used.
        """
        if patch.digest in self._sent:
            return
        cancellation.enter("send")
        while (under_way := self._under_way.get(patch.digest)) is not None and not under_way.wait(WAITING):
            cancellation.check()
        if patch.digest not in self._sent:
            self._send(patch, cancellation, politely=True)

    def begin_to_send(self, patch: Patch | None) -> None:
        """Send the patch of the next question in a thread of its own, while the one that was asked is answered."""
        if patch is None or patch.digest in self._sent or patch.digest in self._under_way:
            return
        done = self._under_way[patch.digest] = threading.Event()

        def send() -> None:
            try:
                with contextlib.suppress(SAMMed3DError):  # who needs the patch sends it again, and says what is wrong
                    self._send(patch, Cancellation(), politely=False)
            finally:
                self._under_way.pop(patch.digest, None)
                done.set()

        threading.Thread(target=send, name=UPLOAD, daemon=True).start()

    def forget(self, patch: Patch) -> None:
        """Take note that the server has a patch no longer."""
        self._sent.forget(patch.digest)

    def _send(self, patch: Patch, cancellation: Cancellation, politely: bool) -> None:
        """Send a patch that the server may have already; `politely` lets smaller requests go first."""
        path = messages.PATCH.format(digest=patch.digest)
        known = self._transport.ask("HEAD", path, cancellation, digest=patch.digest)
        if known.status in UNHEARD:
            raise ModelError(f"{self._transport.url}: {explain(known)}")
        if known.status != 200:
            body = arrays.pack(patch.voxels)
            reply = self._transport.ask("PUT", path, cancellation, body, digest=patch.digest, upload=politely)
            if reply.status != 201:
                raise ModelError(f"{self._transport.url}: {explain(reply)}")
        self._sent.add(patch.digest)
