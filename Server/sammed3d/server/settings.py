"""All settings of the server: from the command line, else the environment, else a file, else what is safe."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sammed3d.errors import ModelError
from sammed3d.server.addresses import host_alone, origin_of
from sammed3d.wire.loopback import bare


def _listed(value: Any) -> Any:
    """Make a list of a text: of names with commas between them, or of JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [name for part in value.split(",") if (name := part.strip())]


Names = Annotated[list[str], NoDecode, BeforeValidator(_listed)]
"""A list, which the environment and the file may also give as one text with commas."""

HostNames = Annotated[list[Annotated[str, AfterValidator(host_alone)]], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[list[Annotated[str, AfterValidator(origin_of)]], NoDecode, BeforeValidator(_listed)]
Host = Annotated[str, AfterValidator(bare)]


class ServerSettings(BaseSettings):
    """What `sammed3d serve` can be told.

    Each field is an option of the command (`--cache-mib`), a variable of the environment (`SAMMED3D_CACHE_MIB`) and an
    entry of the configuration file (`cache_mib = 2048`). The command line wins over the environment, and that over the
    file.
    """

    model_config = SettingsConfigDict(env_prefix="SAMMED3D_", extra="forbid", env_ignore_empty=True)

    host: Host = Field("127.0.0.1", description="Address to listen on; others than loopback need keys and TLS.")
    port: int = Field(8443, ge=0, lt=1 << 16, description="Port to listen on; 0 for any that is free.")
    model: Names = Field(["default"], description="Installed models to serve; the first is the default.")
    device: Names = Field(["auto"], description="Devices, a process on each: auto, cpu, cuda:0, mps.")
    keys: Path | None = Field(None, description="File of keys; see serve-key.")
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM.")
    tls_key: Path | None = Field(None, description="Private key, PEM.")
    insecure_http: bool = Field(False, description="Do without TLS, where a reverse proxy in front encrypts.")
    host_name: HostNames = Field([], description="Further host names to answer to.")
    origin: Origins = Field([], description="Web pages of other origins that may use the server (CORS).")
    max_body: int = Field(64 << 20, gt=0, description="Bytes of the largest request of our own clients.")
    memory_mib: int | None = Field(
        None, gt=0, description="All memory of the server; half of what there is if not said."
    )
    cache_mib: int | None = Field(None, ge=0, description="Memory for uploaded patches; a share of all if not said.")
    gpu_cache_mib: int | None = Field(None, gt=0, description="On each GPU for embeddings, and again for logits [512].")
    host_cache_mib: int | None = Field(
        None, ge=0, description="The same in the computer's memory, for each device; a share of all if not said."
    )
    queue: int | None = Field(None, gt=0, description="Predictions that may wait or run; 16 to 256 by the memory.")
    batch: int = Field(0, ge=0, description="Patches encoded together; 0 for one on a CPU and four on a GPU.")
    nninteractive: bool | None = Field(None, description="Speak nnInteractive 2; yes on loopback if not said.")
    nninteractive_axes: str = Field("SPL", description="Directions of the axes of nnInteractive images.")
    monailabel: bool | None = Field(None, description="Speak MONAI Label; yes on loopback if not said.")
    sessions: int = Field(8, gt=0, description="Volumes of clients of other products that are open at once.")
    volume_mib: int | None = Field(None, gt=0, description="Largest volume of such a client; 1024 where there is room.")
    volumes_mib: int | None = Field(None, gt=0, description="Memory for their volumes; a share of all if not said.")
    dicomweb: str = Field("", description="DICOMweb server whose series clients of MONAI Label may name.")
    dicomweb_ca: Path | None = Field(None, description="Certificate (PEM) of the authority that signed that server's.")
    dicomweb_authorization: SecretStr = Field(
        SecretStr(""), description="What the header Authorization says there; from the environment or the file alone."
    )
    allow_training: bool = Field(False, description="Let clients of MONAI Label start trainings on the server's cases.")
    training_data: Path | None = Field(None, description="Those cases: a dataset as `sammed3d collect` writes it.")
    training_minutes: float = Field(20.0, gt=0, description="Of the longest training.")
    admin_port: int = Field(0, ge=0, lt=1 << 16, description="Port of Prometheus metrics; 0 for none.")
    admin_host: Host = Field("127.0.0.1", description="Address of the metrics; others than loopback need keys and TLS.")
    log: Literal["text", "json"] = Field("text", description="Format of log lines.")
    ray: bool = Field(False, description="Run on Ray Serve, with a replica for each device.")
    ray_address: str = Field("", description="Address of a Ray cluster to join; none for one on this machine.")

    file: ClassVar[Path | None] = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is given
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say in which order sources are asked."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _entries(cls.file))


def _entries(file: Path | None) -> dict[str, Any]:
    """Return the entries of a TOML file; editors and shells of Windows put a mark in front, which TOML has none of."""
    return {} if file is None else tomllib.loads(file.read_text(encoding="utf-8-sig"))


def read_settings(file: Path | None, **given: Any) -> ServerSettings:
    """Put the settings together.

    Args:
        file: TOML file, or None.
        given: the options of the command line; None where one was not given.

    Raises:
        ModelError: names the setting that is wrong.
    """
    if file is not None and not file.is_file():
        raise ModelError(f"{file}: there is no such configuration file.")

    class FromFile(ServerSettings):
        pass

    FromFile.file = file
    try:
        return FromFile(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "a setting"
        why = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            why = "there is none of that name; `sammed3d serve --help` lists them"
        raise ModelError(f"The server's setting {name!r} is wrong: {why}.") from error
    except ValueError as error:  # TOML that is none
        raise ModelError(f"The server's settings cannot be read: {error}.") from error


def default_of(name: str) -> str:
    """Return a field's description and default, for the help of the command line."""
    field = ServerSettings.model_fields[name]
    default = field.default
    shown = " ".join(default) if isinstance(default, list) else default
    return f"{field.description}" + (f" [default: {shown}]" if shown not in (None, "", False) else "")
