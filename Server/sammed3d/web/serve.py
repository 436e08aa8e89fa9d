"""The page, served to one user by this process."""

from __future__ import annotations

import asyncio
import secrets
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sammed3d.errors import ModelError
from sammed3d.files.volume import Volume
from sammed3d.web import slicer_scene
from sammed3d.web.allowance import ANY_SIZE, Allowance
from sammed3d.wire.loopback import bare, is_loopback

if TYPE_CHECKING:
    from sammed3d.web.page import Page
    from sammed3d.web.places import Places
    from sammed3d.web.several import Several

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Server:
    """A server that predicts: address, the user's key, certificate of its authority ("" for those of the computer)."""

    url: str
    key: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Start:
    """What the page begins with.

    Attributes:
        volume: shown at once, perhaps a picture; None for none.
        sample: reads the volume of the button "Sample".
        model: chosen first; the name of an installed model or a checkpoint file, or of one of the server's.
        device: torch device for models in this process.
        server: predicts in place of this process; None for none.
        may_choose_place: whether the user may let another server predict, or this process.
        allowance: how much memory there is for images.
        cautions: what the user should know of the volume.
        several: what the user can choose from; None where the volume is alone.
        series: which of them the volume is.
    """

    volume: Volume | None
    sample: Callable[[], Volume]
    model: str = "default"
    device: str = "auto"
    server: Server | None = None
    may_choose_place: bool = True
    allowance: Allowance = ANY_SIZE
    cautions: tuple[str, ...] = ()
    several: Several | None = None
    series: int = 0


def serve(start: Start, host: str, port: int, open_browser: bool, ready: Callable[[str], None] = print) -> None:
    """Serve the page until the process is stopped.

    Args:
        start: what it begins with.
        host: address to listen on, of this computer alone.
        port: 0 for any that is free.
        open_browser: whether to open the page.
        ready: called with the address, token included, once the page answers.

    Raises:
        ModelError: trame-slicer is not installed, the server cannot be used, or others could reach the address.
    """
    host = bare(host)
    check_host(host)
    app = slicer_scene.start()
    from trame.app import get_server  # noqa: PLC0415 - there once trame is
    from trame_client.module.vue3 import www  # noqa: PLC0415
    from trame_slicer import module  # noqa: PLC0415

    from sammed3d.web.crosshair import at_crosshair, at_place  # noqa: PLC0415
    from sammed3d.web.departed import allow_for_departed  # noqa: PLC0415
    from sammed3d.web.gate import QUERY, Gate  # noqa: PLC0415
    from sammed3d.web.page import Page  # noqa: PLC0415
    from sammed3d.web.routes import Routes  # noqa: PLC0415
    from sammed3d.web.work import Work  # noqa: PLC0415

    places = _places(start)
    token = secrets.token_urlsafe(24)
    server = get_server(client_type="vue3")
    server.enable_module(module)
    static = Path(__file__).with_name("static")
    scripts = [f"sammed3d/{name}.js" for name in ("sammed3d", "connection", "drawing", "views_by_keys")]
    server.enable_module({"serve": {"sammed3d": str(static)}, "scripts": scripts})
    page = Page(server, app, Work(places.predictors.load, places.choice_of), places, start.model, start.sample)
    server.controller.trigger("alive")(lambda: None)
    server.controller.trigger("crosshair")(lambda: at_crosshair(page.work))
    server.controller.trigger("next_click")(lambda: at_place(page.work, place) if (place := page.tour.next()) else "")
    tasks: set[asyncio.Future[None]] = set()

    def guard(site: Any) -> None:
        Gate(token, LOOPBACK | {host}, (Path(www) / "index.html").read_text(encoding="utf-8")).guard(site.app)
        Routes(page, start.allowance).add_to(site.app)
        for handler in site._ws_handlers:  # noqa: SLF001 - there is no other way to them
            allow_for_departed(handler)

    def begin(**_: Any) -> None:
        tasks.add(asyncio.ensure_future(page.keep_going()))
        _open(page, start)
        address = f"http://{f'[{host}]' if ':' in host else host}:{server.port}/?{QUERY}={token}"
        ready(address)
        if open_browser:
            webbrowser.open(address)

    server.controller.on_server_bind.add(guard)
    server.controller.on_server_ready.add(begin)
    try:
        with _without_arguments():
            server.start(
                host=host, port=port, open_browser=False, show_connection_info=False, timeout=0, disable_logging=True
            )
    except OSError as error:
        raise ModelError(f"Port {port} of {host} cannot be had. Choose another one, or leave --port out.") from error
    finally:
        page.series.forget()
        page.work.close()


def _open(page: Page, start: Start) -> None:
    """Show what the page begins with."""
    if start.several is not None:
        page.series.offer(start.several)
        if start.volume is None:
            page.series.ask()
        else:
            page.series.show(start.series, start.volume, start.cautions)
    elif start.volume is not None:
        page.open(start.volume, start.cautions)


def check_host(host: str) -> None:
    """Refuse an address that others can reach: the page has neither keys nor TLS.

    Raises:
        ModelError: it is one.
    """
    if not is_loopback(bare(host)):
        raise ModelError(
            f"Listening on {host} lets others in, and the page has neither keys nor TLS. Listen on 127.0.0.1; from "
            "another computer, reach it through an SSH tunnel (docs/browser.md)."
        )


def _places(start: Start) -> Places:
    from sammed3d.web.places import Offer, Places  # noqa: PLC0415 - needs the module's code
    from sammed3d.zoo.about_file import works_by_slice  # noqa: PLC0415
    from sammed3d.zoo.store import ModelStore  # noqa: PLC0415

    def installed() -> list[Offer]:
        found = [Offer(model.name, model.title, model.by_slice) for model in ModelStore().models()]
        known = start.server is not None or any(offer.value == start.model for offer in found)
        if known:
            return found
        return [Offer(start.model, Path(start.model).name, works_by_slice(Path(start.model))), *found]

    places = Places(installed, start.device, start.may_choose_place)
    if start.server is not None:
        server = places.server(start.server.url, start.server.key, start.server.authority)
        models = places.served(server)
        if start.model != "default" and all(model.value != start.model for model in models):
            raise ModelError(
                f"{start.server.url} does not serve {start.model!r}; it has {', '.join(m.value for m in models)}."
            )
        places.use_server(server, models)
    return places


@contextmanager
def _without_arguments() -> Iterator[None]:
    """Keep the command line from trame, which reads it, too, and must not take our options for its own."""
    before, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = before
