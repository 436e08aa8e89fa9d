"""Which predictor evaluates clicks: a network in this Slicer, or a server."""

from __future__ import annotations

import importlib.util

from sammed3d import ModelError, Predictor
from SAMMed3DSegmentLib.Settings import SERVER, Settings

NO_TORCH = (
    "PyTorch is not installed in this Slicer. Press 'Install PyTorch...' in the section Model, or run on a server."
)
NO_CONSENT = "Nothing was sent: agree in the section 'Where it runs' before image data go to this server."


class Predictors:
    """Load predictors by name, as the settings say.

    Args:
        settings: where predictions run, on which device, with which server.

    A name says everything that changes the answer, so a changed setting is another name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def nameOf(self, model: str) -> str:
        """Return the full name of a model under the present settings."""
        if self._settings.place == SERVER:
            return f"server|{self._settings.url}|{model}"
        return f"local|{self._settings.device}|{model}"

    def load(self, name: str) -> Predictor:
        """Load the predictor of a full name. Called from the inference thread; takes seconds.

        Raises:
            ModelError: torch or the model is not installed, or the server cannot be used; says what to do.
        """
        place, where, model = name.split("|", 2)
        if place == "server":
            from sammed3d.predictors.remote import RemotePredictor  # noqa: PLC0415 - only where it is used

            if where != self._settings.url or not self._settings.consent:
                raise ModelError(NO_CONSENT)
            return RemotePredictor(
                where,
                model,
                key=self._settings.key,
                verify=self._settings.authority or True,
                proxies=self._settings.useProxies,
            )
        if not torchInstalled():
            raise ModelError(NO_TORCH)
        from sammed3d import load_predictor  # noqa: PLC0415 - needs torch

        return load_predictor(model, device=where)

    def diagnose(self, url: str, key: str) -> list[str]:
        """Test a server step by step; returns a line for each step. Takes seconds."""
        from sammed3d.predictors.remote import diagnose  # noqa: PLC0415 - only where it is used

        return diagnose(url, key, self._settings.authority or True, self._settings.useProxies)


def torchInstalled() -> bool:
    """Tell whether torch can be imported, without importing it."""
    return importlib.util.find_spec("torch") is not None
