"""Which model a command asks, and where it runs: in this process or on a server."""

from __future__ import annotations

import contextlib
import importlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import sammed3d
from sammed3d.core.imports import uncollected
from sammed3d.errors import ModelError
from sammed3d.inference.predictor import Predictor

ModelOption = Annotated[str, typer.Option(help="An installed model, a checkpoint file, or a folder of ONNX files.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
RuntimeOption = Annotated[str, typer.Option(help="torch, onnx or onnx-int8; the latter two are exported at first use.")]
ServerOption = Annotated[str | None, typer.Option(help="Address of a server; --model is then one that it serves.")]
KeyOption = Annotated[
    str, typer.Option(envvar="SAMMED3D_KEY", help="Your key for the server; better in the environment.")
]
CaOption = Annotated[Path | None, typer.Option(help="Certificate (PEM) of the authority that signed the server's.")]
NoProxyOption = Annotated[bool, typer.Option("--no-proxy", help="Reach the server past the proxies in use.")]


@dataclass(frozen=True)
class Choice:
    """A model as it is chosen on the command line; see the options of `segment`."""

    model: str
    device: str
    precision: str
    family: str | None
    base: str | None
    runtime: str
    server: str | None
    key: str
    ca: Path | None
    proxies: bool

    def prepare(self) -> None:
        """Begin to import what a model of this process needs (torch, above all), while something else is done."""
        if self.server is None:
            threading.Thread(target=_import_networks, name="import").start()

    def load(self) -> Predictor:
        """Return what answers with that model.

        Raises:
            ModelError: there is no such model, or it cannot run so.
        """
        if self.server is None:
            return sammed3d.load_predictor(
                self.model,
                self.device,
                self.precision,  # type: ignore[arg-type]
                self.family,
                self.base,
                runtime=self.runtime,  # type: ignore[arg-type]
            )
        if (self.device, self.precision, self.family, self.base, self.runtime) != ("auto", "auto", None, None, "torch"):
            raise ModelError(
                "With --server, device, precision, family, base and runtime are the server's: leave them out."
            )
        from sammed3d.predictors.remote import RemotePredictor  # noqa: PLC0415 - only where it is used

        verify = True if self.ca is None else str(self.ca)
        return RemotePredictor(self.server, self.model, key=self.key, verify=verify, proxies=self.proxies)


def check_server_options(server: str | None, ca: Path | None, no_proxy: bool = False, fetches: bool = False) -> None:
    """Refuse options about the way to a server where none is asked.

    Args:
        server: its address; None where predictions are made in this process.
        ca: certificate of its authority.
        no_proxy: whether it is to be reached past proxies.
        fetches: whether the image comes from a server.

    Raises:
        typer.BadParameter: names the option.
    """
    given = "--ca" if ca is not None else "--no-proxy" if no_proxy else ""
    if given and server is None and not fetches:
        raise typer.BadParameter(f"{given} is about a server. Give its address with --server, or leave {given} out.")


def _import_networks() -> None:
    # what goes wrong is met again by `load`, where it is explained
    with contextlib.suppress(Exception), uncollected(freeze=True):
        importlib.import_module("sammed3d.zoo.load")
