"""Requests that survive what networks do: repeated where that is safe, cancelled at once, else explained."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
import requests.adapters
from urllib3.connection import HTTPConnection

from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import ModelError
from sammed3d.network_errors import fits_a_header, in_words, is_final, names_a_server, wrong_with_certificates
from sammed3d.wire import messages

CONNECT, SILENCE = 5.0, 15.0
"""Seconds to wait for a connection, and for the next byte; a server that computes says in time that it still does."""
TIMEOUTS = (CONNECT, SILENCE)
RETRIED = (408, 429, 502, 503, 504)
LOST = "Nothing was lost."
PIECE = 64 << 10
BUFFER = 256 << 10
"""Bytes that a connection takes before they are on their way."""
IDLE = 30.0
"""Seconds after which a thread ends that had no request to send."""
COURTESY = 0.5
"""Seconds for which an upload lets the line to a click that has just begun."""


@dataclass(frozen=True, eq=False)
class Reply:
    """A whole answer.

    Attributes:
        status: status code of HTTP.
        headers: headers of HTTP; names in any case.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport:
    """The way to one server.

    Args:
        url: the server's address.
        key: the user's key; "" where none is needed.
        verify: True, or a file with the certificates of the authority that signed the server's.
        proxies: whether to use the proxies of the environment.
        patience: seconds during which a request is repeated.

    Raises:
        ModelError: the address, the key or the file of certificates is none.

    Requests run in threads that are kept, so that who waits for one can leave as soon as the user cancels: a connection
    that is silent holds up a thread of its own, and nobody else.
    """

    def __init__(self, url: str, key: str, verify: bool | str, proxies: bool, patience: float) -> None:
        self.url = checked_url(url)
        self.session = session(key, verify, proxies)
        self._patience = patience
        self._helpers = _Helpers()
        self._urgent, self._quiet_until = 0, 0.0
        self._calm = threading.Condition()

    def ask(
        self,
        method: str,
        path: str,
        cancellation: Cancellation,
        body: bytes | None = None,
        *,
        digest: str | None = None,
        patience: float | None = None,
        upload: bool = False,
    ) -> Reply:
        """Send a request that can be repeated; waits out restarts, overload and broken connections.

        Args:
            method: method of HTTP.
            path: after the server's address.
            cancellation: ends the waiting at once.
            body: the bytes to send.
            digest: digest of the patch that it is about, for routers.
            patience: seconds during which it is repeated, where it is not the usual.
            upload: whether the body is large: its progress is told, and other requests go before it.

        Raises:
            ModelError: the server cannot be reached within the patience, or cannot be trusted.
            PredictionCancelled: `cancellation` was used.
        """
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        headers = {} if digest is None else {messages.ROUTING_HEADER: digest}
        pause = 0.1
        while True:
            cancellation.check()
            try:
                reply = self._once(method, path, cancellation, body, headers, upload)
                if not _is_passing(reply) or time.monotonic() > deadline:
                    return reply
                pause = max(pause, min(_retry_after(reply), 5.0))
            except OSError as error:  # which those of `requests` are, too
                if is_final(error) or time.monotonic() > deadline:
                    raise ModelError(f"{self.url}: {in_words(error, self.url)} {LOST}") from error
            cancellation.wait(pause)
            pause = min(2 * pause, 2.0)

    def tell(self, method: str, path: str, digest: str | None = None) -> None:
        """Send a request whose answer nobody waits for; what goes wrong is not repeated."""
        headers = {} if digest is None else {messages.ROUTING_HEADER: digest}
        self._helpers.start(lambda: self._send(method, path, None, headers), lambda _reply, _error: None)

    def _once(
        self,
        method: str,
        path: str,
        cancellation: Cancellation,
        body: bytes | None,
        headers: dict[str, str],
        upload: bool,
    ) -> Reply:
        """Send a request in a thread that is kept, and wait for its answer or for the user's cancelling."""
        ready = threading.Event()
        found: list[tuple[Reply | None, Exception | None]] = []

        def finish(reply: Reply | None, error: Exception | None) -> None:
            found.append((reply, error))
            ready.set()

        data: Any = _Upload(body, cancellation, self._let_pass) if upload and body is not None else body
        if not upload:
            self._hurry(1)
        try:
            with cancellation.calling(ready.set):
                self._helpers.start(lambda: self._send(method, path, data, headers), finish)
                ready.wait()
        finally:
            if not upload:
                self._hurry(-1)
        cancellation.check()
        reply, error = found[0]
        if error is not None:
            raise error
        assert reply is not None  # noqa: S101 - one of the two is there
        return reply

    def _send(self, method: str, path: str, data: Any, headers: dict[str, str]) -> Reply:
        response = self.session.request(
            method, self.url + path, data=data, headers=headers, timeout=TIMEOUTS, allow_redirects=False
        )
        if method != "HEAD" and not _is_whole(response):
            raise requests.exceptions.ChunkedEncodingError("The answer is cut off.")
        return Reply(response.status_code, response.headers, response.content)

    def _hurry(self, change: int) -> None:
        with self._calm:
            self._urgent += change
            self._quiet_until = time.monotonic() + COURTESY if change > 0 else self._quiet_until
            self._calm.notify_all()

    def _let_pass(self) -> None:
        """Wait while smaller requests are under way, but not for long after they began."""
        with self._calm:
            self._calm.wait_for(lambda: self._urgent == 0, max(0.0, self._quiet_until - time.monotonic()))


class _Upload:
    """A body that is read piece by piece: tells how far it is, stops when cancelled, and lets others go first."""

    def __init__(self, data: bytes, cancellation: Cancellation, let_pass: Callable[[], None]) -> None:
        self._data, self._cancellation, self._let_pass = memoryview(data), cancellation, let_pass
        self._sent = 0

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int = PIECE) -> bytes:
        """Return the next piece."""
        self._cancellation.check()
        if self._sent % PIECE == 0:
            self._let_pass()
        piece = bytes(self._data[self._sent : self._sent + min(size, PIECE)])
        self._sent += len(piece)
        self._cancellation.share = self._sent / max(1, len(self._data))
        return piece


class _Helpers:
    """Threads that do one thing after the other; as many as are needed at once, and kept for the next, for a while."""

    def __init__(self) -> None:
        self._idle: list[_Helper] = []
        self._lock = threading.Lock()

    def start(self, work: Callable[[], Reply], finish: Callable[[Reply | None, Exception | None], None]) -> None:
        """Do something in a thread; `finish` is called there with the result or what was raised."""
        with self._lock:
            helper = self._idle.pop() if self._idle else _Helper(self._keep, self._let_go)
        helper.do(work, finish)

    def _keep(self, helper: _Helper) -> None:
        with self._lock:
            self._idle.append(helper)

    def _let_go(self, helper: _Helper) -> bool:
        """Forget a helper that has nothing to do; False where it has just been given something."""
        with self._lock:
            if helper not in self._idle:
                return False
            self._idle.remove(helper)
            return True


class _Helper:
    def __init__(self, keep: Callable[[_Helper], None], let_go: Callable[[_Helper], bool]) -> None:
        self._keep, self._let_go = keep, let_go
        self._wake = threading.Semaphore(0)
        self._work: tuple[Callable[[], Reply], Callable[[Reply | None, Exception | None], None]] | None = None
        threading.Thread(target=self._run, name="sammed3d-request", daemon=True).start()

    def do(self, work: Callable[[], Reply], finish: Callable[[Reply | None, Exception | None], None]) -> None:
        self._work = work, finish
        self._wake.release()

    def _run(self) -> None:
        while True:
            if not self._wake.acquire(timeout=IDLE) and self._let_go(self):
                return
            if self._work is None:
                continue
            work, finish = self._work
            self._work = None
            reply, failure = None, None
            try:
                reply = work()
            except Exception as error:  # whoever waits decides what to make of it
                failure = error
            self._keep(self)
            finish(reply, failure)
            del work, finish, reply, failure


def _is_passing(reply: Reply) -> bool:
    """Tell whether the answer may be another one in a moment: overload, a restart, or a proxy that lost its server."""
    return reply.status in RETRIED or (reply.status == 500 and not is_from_server(reply))


def is_from_server(reply: Reply) -> bool:
    """Tell whether the server itself answered, and no proxy in front of it."""
    kind = reply.headers.get("Content-Type", "")
    return messages.REQUEST_ID_HEADER in reply.headers or kind.startswith(messages.PROBLEM)


def _is_whole(response: requests.Response) -> bool:
    """Tell whether an answer came to its end: cut off in its head it has no length; older urllib3 do not compare.

    The length is that of what came over the wire, which a proxy may have compressed.
    """
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit():
        return bool(int(announced) == response.raw.tell())
    return "Transfer-Encoding" in response.headers or response.status_code == 204


def _retry_after(reply: Reply) -> float:
    try:
        return float(reply.headers.get("Retry-After", 0) or 0)
    except ValueError:
        return 0.0


class _Session(requests.Session):
    """A session whose own certificates win over those that the environment names (REQUESTS_CA_BUNDLE)."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        return super().request(*args, **{"verify": self.verify} | kwargs)


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections that buffer little of what is sent: progress is true, and a slow line does not look silent.

    Linux lets a sender go on only when a third of the buffer is free, which takes seconds where it grew to megabytes.
    """

    _options: ClassVar = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)]

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, socket_options=self._options)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, socket_options=self._options)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the key: without an `auth`, `requests` replaces it by what ~/.netrc says of the machine."""
    return request


def session(key: str, verify: bool | str, proxies: bool) -> requests.Session:
    """Make a session of `requests` for a server.

    Raises:
        ModelError: there is no such file of certificates, or the key cannot be one.
    """
    if isinstance(verify, str) and (wrong := wrong_with_certificates(verify)):
        raise ModelError(wrong)
    made = _Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    made.trust_env = proxies
    made.auth = _as_it_is
    made.verify = verify
    made.headers["Accept-Encoding"] = "identity"  # images, masks and logits are compressed as they are
    made.headers[messages.PROTOCOL_HEADER] = str(messages.PROTOCOL)
    if key:
        made.headers["Authorization"] = f"Bearer {_sendable(key)}"
    return made


def _sendable(key: str) -> str:
    """Return a key without what was copied along round it.

    Raises:
        ModelError: it holds characters that no header can have.
    """
    key = key.strip()
    if not fits_a_header(key):
        raise ModelError("The key holds characters that cannot be sent, so it is not one. Copy it again.")
    return key


def checked_url(url: str) -> str:
    """Return the address of a server, which may have a path, without spaces round it and slashes at its end.

    Raises:
        ModelError: it is none, or has a user, a query or a fragment.
    """
    url = url.strip().rstrip("/")
    parts = urlsplit(url) if names_a_server(url) else None
    if parts is None or parts.username or parts.query or parts.fragment:
        raise ModelError(f"{url!r} is no address of a server. It looks like https://gpu.hospital.example:8443")
    return url
