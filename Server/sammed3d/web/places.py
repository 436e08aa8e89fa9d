"""Where predictions run and with which models: in this process, or on a server. Kept in memory alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sammed3d.errors import ModelError
from sammed3d.wire.messages import ModelInfo
from SAMMed3DSegmentLib.Predictors import ModelChoice, Predictors
from SAMMed3DSegmentLib.Settings import LOCAL, SERVER, Settings


@dataclass(frozen=True)
class Offer:
    """A model to choose, as lists of the page want it.

    Attributes:
        value: its name.
        title: people's.
        by_slice: whether it is a 2-D model, which pictures need; None where that is not known before it is loaded.
    """

    value: str
    title: str
    by_slice: bool | None = None


class Places:
    """Know where the next click is evaluated, and what can be chosen there.

    Args:
        installed: returns the models on this computer.
        device: torch device for models in this process.
        may_choose: whether the user may choose another place.

    Attributes:
        predictors: load them.
        models: what can be chosen now, the first one first.
        may_choose: whether the user may choose another place.
    """

    def __init__(self, installed: Callable[[], Sequence[Offer]], device: str = "auto", may_choose: bool = True) -> None:
        self._installed = installed
        self._settings = Settings(_Memory())
        self._settings.device = device
        self.predictors = Predictors(self._settings)
        self.may_choose = may_choose
        self.models = list(installed())

    @property
    def url(self) -> str:
        """Address of the server that predicts; "" while this process does."""
        return self._settings.url if self._settings.place == SERVER else ""

    def choice_of(self, model: str) -> ModelChoice:
        """Return what the inference thread is told of a model."""
        choice: ModelChoice = self.predictors.choiceOf(model)
        return choice

    def use_this_computer(self) -> None:
        """Predict in this process from the next click on."""
        self._settings.place = LOCAL
        self.models = list(self._installed())

    def server(self, url: str, key: str = "", authority: str = "", proxies: bool = True) -> ModelChoice:
        """Return a server as a choice, to ask it by `served`, without using it yet.

        Raises:
            ModelError: no address was given.
        """
        if not url.strip():
            raise ModelError("Give the server's address, such as https://gpu.example:8443.")
        return ModelChoice(
            "", SERVER, "", url.strip(), key.strip(), consent=True, authority=authority, useProxies=proxies
        )

    def served(self, server: ModelChoice) -> list[Offer]:
        """Ask a server what it serves; takes seconds, from any thread.

        Raises:
            ModelError: it cannot be used, or serves nothing; says what to do.
        """
        models: list[ModelInfo] = self.predictors.served(server)
        if not models:
            raise ModelError(f"{server.url} serves no model. Start it with one.")
        return [Offer(model.name, model.title, model.preset.by_slice) for model in models]

    def use_server(self, server: ModelChoice, models: Sequence[Offer]) -> None:
        """Predict on a server that answered, from the next click on; the user has agreed to that."""
        settings = self._settings
        settings.url, settings.key = server.url, server.key
        settings.authority, settings.useProxies = server.authority, server.useProxies
        settings.consent = True
        settings.place = SERVER
        self.models = list(models)


class _Memory:
    """What `Settings` wants of a store."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def value(self, name: str) -> object:
        return self._values.get(name)

    def setValue(self, name: str, value: object) -> None:  # noqa: N802 - as QSettings calls it
        self._values[name] = value
