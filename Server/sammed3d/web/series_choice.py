"""The list of series or frames of what was opened: one is shown at a time, and the work on the others stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sammed3d.errors import SAMMed3DError
from sammed3d.files.volume import Volume
from sammed3d.web.desks import Desk, put_aside, take_up
from sammed3d.web.images import with_cautions
from sammed3d.web.several import FRAME, Several
from sammed3d.web.widgets import window_of
from sammed3d.web.work import explained


class SeriesChoice:
    """Let the user choose what is shown.

    Args:
        page: which shows it.
        state: trame's.

    Attributes:
        reading: held while a volume is read, by uploads too.
    """

    def __init__(self, page: Any, state: Any) -> None:
        self._page, self._state = page, state
        self.reading = asyncio.Lock()
        self._tasks: set[asyncio.Future[None]] = set()
        self._close: Callable[[], None] = lambda: None
        self._asked = 0
        self.forget()

    def forget(self) -> None:
        """Offer nothing any more: what is shown next is alone."""
        self._close()
        self._close = lambda: None
        self._several: Several | None = None
        self._number: int | None = None
        self._desks: dict[int, tuple[Desk, str, list[str]]] = {}  # and window and cautions
        self._state.update(
            {"series": [], "series_number": None, "series_kind": "", "series_asked": 0, "series_open": False}
        )

    def offer(self, several: Several, close: Callable[[], None] = lambda: None) -> None:
        """Show what there is to choose from. What was shown before stays until the user has chosen.

        Args:
            several: what there is.
            close: called when it is not needed any more.
        """
        self.forget()
        self._several, self._close = several, close
        with self._state as state:
            state.series = [{"value": number, "title": title} for number, title in enumerate(several.titles)]
            state.series_kind = several.kind.capitalize()

    def ask(self) -> None:
        """Ask the user for one; of frames the first one is shown."""
        if self._several is not None and self._several.kind == FRAME:
            self.pick(0)
        elif self._several is not None:
            self._asked += 1
            with self._state as state:
                state.series_asked, state.series_open = self._asked, True
            self._page.say(f"There are {len(self._several.titles)} series. Choose one in the list Series.")

    def pick(self, number: int) -> None:
        """Show another one, read in the background; what was done on the one before stays."""
        if self._several is None or number == self._number:
            return
        task = asyncio.ensure_future(self._show(self._several, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def show(self, number: int, volume: Volume, cautions: Sequence[str]) -> None:
        """Show one of them, which is read."""
        beside = self._number is not None
        self._put_aside()
        work = self._page.work
        self._page.show(lambda: work.open(volume, beside), window_of(volume), cautions)
        self._now(number)

    def receive(self, what: str) -> None:
        """Say what is arriving or being read; "" for nothing."""
        with self._state as state:
            state.receiving = what

    async def _show(self, several: Several, number: int) -> None:
        async with self.reading:
            if several is not self._several or number == self._number:
                return
            try:
                if number in self._desks:
                    self._return_to(number)
                else:
                    self.receive(f"Reading {several.kind} {several.titles[number]}...")
                    volume, cautions = await asyncio.to_thread(with_cautions, lambda: several.at(number))
                    if several is self._several:  # else something was opened meanwhile
                        self.show(number, volume, cautions)
            except (SAMMed3DError, OSError, MemoryError) as error:
                if several is self._several:
                    known = isinstance(error, SAMMed3DError)
                    words = f"It could not be read ({type(error).__name__}). What was shown is as it was."
                    self._page.say(explained(error) if known else words)
            finally:
                self.receive("")

    def _return_to(self, number: int) -> None:
        self._put_aside()
        desk, window, cautions = self._desks.pop(number)
        self._page.show(lambda: take_up(self._page.work, desk), window, cautions)
        self._now(number)

    def _put_aside(self) -> None:
        """Keep what is worked on, where it is one of these."""
        if self._number is None:
            return
        self._page.put_tools_down()
        desk = put_aside(self._page.work)
        if desk is not None:
            self._desks[self._number] = desk, self._state.window, list(self._state.cautions)

    def _now(self, number: int) -> None:
        self._number = number
        with self._state as state:
            state.series_number = number
