"""Which models the page offers, and where they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sammed3d.errors import SAMMed3DError
from sammed3d.web.places import Places
from sammed3d.web.work import Work, explained

HERE, SERVER = "here", "server"
NOT_YOURS = "Where predictions run is up to whoever serves this page."


class Models:
    """The list of models, of the place where predictions run.

    Args:
        state: the page's.
        work: whose predictions they make.
        places: where predictions run.
        say: shows a line.
    """

    def __init__(self, state: Any, work: Work, places: Places, say: Callable[[str], None]) -> None:
        self._state, self._work, self._places, self._say = state, work, places, say

    @property
    def fit_pictures(self) -> bool:
        """Whether there is one that is not known to work in 3-D."""
        return any(offer.by_slice is not False for offer in self._places.models)

    def show(self) -> None:
        """Show the models of the place where predictions run, and choose one if the chosen one is not there.

        For a picture those that are known to work in 3-D are left out, unless nothing else is there.
        """
        models, chosen = self._places.models, self._work.segmenter.model
        if self._state.flat:
            fitting = [model for model in models if model.by_slice is not False]
            models = sorted(fitting, key=lambda model: not model.by_slice) or models
        names = [model.value for model in models]
        if chosen not in names:
            chosen = self._work.segmenter.model = names[0]
        with self._state as state:
            state.models, state.model = [asdict(model) for model in models], chosen

    def choose(self, model: str) -> None:
        """Predict with another model from now on, if it is offered."""
        if model in (offer.value for offer in self._places.models):
            self._work.segmenter.model = model

    async def use_server(self, url: str, key: str) -> None:
        """Predict on a server from now on, if it answers; the user has agreed to that."""
        if not self._places.may_choose:
            self._say(NOT_YOURS)
            return
        self._say(f"Asking {url} for its models...")
        try:
            server = self._places.server(url, key)
            models = await asyncio.to_thread(self._places.served, server)
        except SAMMed3DError as error:
            self._say(explained(error))
            return
        self._places.use_server(server, models)
        self.show()
        self._say(f"Predictions run on {url} from now on.")

    def use_this_computer(self) -> None:
        """Predict in this process from now on."""
        if not self._places.may_choose:
            self._say(NOT_YOURS)
            return
        self._places.use_this_computer()
        self.show()
        self._say("Predictions run on this computer from now on.")
