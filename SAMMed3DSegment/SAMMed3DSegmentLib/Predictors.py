"""Which predictor evaluates clicks: a network in this Slicer, or a server."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field

from sammed3d import ModelError, Predictor
from sammed3d.core.imports import uncollected
from sammed3d.wire.messages import ModelInfo
from sammed3d.zoo.store import ModelStore
from SAMMed3DSegmentLib.Device import deviceInWords
from SAMMed3DSegmentLib.Settings import SERVER, Settings
from SAMMed3DSegmentLib.TorchLibraries import loadTorchLibraries

PACKAGES = {"torch": "PyTorch", "safetensors": "safetensors"}
"""What prediction in this Slicer needs beyond what Slicer bundles: importable name, and the name that people know."""
NO_CONSENT = "Nothing was sent: agree in the section 'Where it runs' before image data go to this server."


@dataclass(frozen=True)
class ModelChoice:
    """A model and the settings that decide how it runs, as they were when a click was made.

    Made on the main thread, since QSettings are not to be read in others. All that changes an answer is in it, so a
    changed setting is another choice; what does not matter for a place is left out.

    Attributes:
        model: name of the model.
        place: LOCAL or SERVER.
        device: torch device; local only.
        stamp: tells the file of weights from another one that has its name; see `ModelStore.stamp`; local only.
        url, key, consent, authority, useProxies: see `Settings`; server only.
    """

    model: str
    place: str
    device: str = ""
    url: str = ""
    key: str = field(default="", repr=False)
    consent: bool = False
    authority: str = ""
    useProxies: bool = True
    stamp: str = ""


class Predictors:
    """Load predictors as the settings say.

    Args:
        settings: where predictions run, on which device, with which server; read on the main thread only.
        store: the models on this computer; that of all tools if None.

    Attributes:
        devices: the device in words, by its setting, where a model was loaded with that.
    """

    def __init__(self, settings: Settings, store: ModelStore | None = None) -> None:
        self._settings, self._store = settings, store or ModelStore()
        self.devices: dict[str, str] = {}

    def choiceOf(self, model: str) -> ModelChoice:
        """Return what the present settings make of a model's name."""
        settings = self._settings
        if settings.place == SERVER:
            return ModelChoice(
                model,
                settings.place,
                url=settings.url,
                key=settings.key,
                consent=settings.consent,
                authority=settings.authority,
                useProxies=settings.useProxies,
            )
        return ModelChoice(model, settings.place, settings.device, stamp=self._store.stamp(model))

    def load(self, choice: ModelChoice) -> Predictor:
        """Load a predictor. Called from the inference thread; takes seconds.

        Raises:
            ModelError: a package or the model is not installed, or the server cannot be used; says what to do.
        """
        if choice.place == SERVER:
            from sammed3d.predictors.remote import RemotePredictor  # noqa: PLC0415 - only where it is used

            if not choice.consent:
                raise ModelError(NO_CONSENT)
            return RemotePredictor(
                choice.url,
                choice.model,
                key=choice.key,
                verify=choice.authority or True,
                proxies=choice.useProxies,
            )
        if missing := missingPackages():
            raise ModelError(aboutMissing(missing))
        loadTorchLibraries()
        with uncollected():
            from sammed3d import load_predictor  # noqa: PLC0415 - needs torch

        predictor = load_predictor(choice.model, device=choice.device)
        self.devices[choice.device] = deviceInWords(str(getattr(predictor, "device", choice.device)))
        return predictor

    @property
    def device(self) -> str:
        """The device in words, where a model was loaded with the present settings; "" before."""
        return self.devices.get(self._settings.device, "")

    def diagnose(self, choice: ModelChoice) -> list[str]:
        """Test a choice's server step by step; returns a line for each step. Takes seconds."""
        from sammed3d.predictors.remote import diagnose  # noqa: PLC0415 - only where it is used

        return diagnose(choice.url, choice.key, choice.authority or True, choice.useProxies)

    def served(self, choice: ModelChoice) -> list[ModelInfo]:
        """Ask a choice's server which models it serves. Takes seconds.

        Raises:
            ModelError: the server cannot be used; says what to do.
        """
        from sammed3d.predictors.remote import served_models  # noqa: PLC0415 - only where it is used

        return served_models(choice.url, choice.key, choice.authority or True, choice.useProxies)


def missingPackages() -> list[str]:
    """Return the names of the packages that prediction in this Slicer needs and that cannot be imported here.

    Nothing is imported for that: another thread may be in the middle of importing torch.
    """
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def aboutMissing(packages: Sequence[str]) -> str:
    """Say which packages are missing, and what to do about it."""
    return (
        f"{inWords(packages)} not installed in this Slicer. Press 'Install {PACKAGES[packages[0]]}...' in the section "
        "'Model', or run on a server."
    )


def inWords(packages: Sequence[str]) -> str:
    """Say which packages, with the verb: "PyTorch is", "PyTorch and safetensors are"."""
    return " and ".join(PACKAGES[name] for name in packages) + (" is" if len(packages) == 1 else " are")
