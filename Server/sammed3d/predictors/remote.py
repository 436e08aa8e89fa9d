"""The predictor that asks a server. It needs `requests` alone, and sends patches and clicks, nothing else."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.interpolation import Float32
from sammed3d.errors import ModelError, PredictionCancelled
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts, Prediction
from sammed3d.wire import arrays, messages
from sammed3d.wire.arrays import WireError
from sammed3d.wire.messages import ModelInfo, Question, Turn

PATIENCE = 60.0
"""Seconds during which a server that restarts or is busy is asked again."""
TIMEOUTS = (5.0, 120.0)
REMEMBERED = 256
RETRIED = (429, 502, 503, 504)


class RemotePredictor:
    """Ask a server for predictions; the same answers as in this process, from the server's hardware.

    Args:
        url: of the server, for example "https://gpu.hospital.example:8443".
        model: name of a model that it serves.
        key: the user's key; "" where none is needed.
        verify: True, or a file with the certificates of the authority that signed the server's.
        proxies: whether to use the proxies of the environment.
        patience: seconds during which a server that restarts or is busy is asked again.

    Raises:
        ModelError: the server cannot be reached (one try), refuses the key, speaks another protocol or lacks the model.

    The server keeps nothing that is needed: a patch that it forgot is uploaded again without a word.
    """

    def __init__(
        self,
        url: str,
        model: str = "default",
        *,
        key: str = "",
        verify: bool | str = True,
        proxies: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self.url = _checked_url(url)
        self._patience = patience
        self._session = _session(key, verify, proxies)
        self._uploaded: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.local()
        info = self._info()
        described = next((m for m in info if m.name == model), None)
        if described is None:
            served = ", ".join(m.name for m in info) or "none"
            raise ModelError(f"{self.url}: does not serve the model {model!r} (served: {served}). Choose another one.")
        self._model = model
        self.name = f"{described.title} on {urlsplit(self.url).netloc}"
        self.preset = described.preset
        self.capabilities = described.capabilities

    def predict(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None) -> Prediction:
        """Apply a box and clicks in order; see `Predictor.predict`.

        Raises:
            ModelError: the server cannot be reached within the patience, or refuses.
        """
        prompts.check(self.preset)
        cancellation = cancellation or Cancellation()
        begin = time.perf_counter()
        for _ in range(3):  # a patch may be forgotten between its upload and its use
            self._upload(patch, cancellation)
            cancellation.enter("decode")
            response = self._post(patch, prompts, cancellation)
            if response.status_code == 404 and response.headers.get(messages.MISSING_HEADER) == messages.MISSING_PATCH:
                with self._lock:
                    self._uploaded.pop(patch.digest, None)
                continue
            return self._read(response, time.perf_counter() - begin)
        raise ModelError(
            f"{self.url}: forgets patches as soon as they are there. Its cache is too small (--cache-mib)."
        )

    def predict_each(
        self,
        patch: Patch,
        clicks: Sequence[PatchClick],
        passes: int = 1,
        cancellation: Cancellation | None = None,
    ) -> Float32:
        """Answer each of several clicks as the only one of an object of its own; see `TorchPredictor.predict_each`.

        Sends a request for each click and pass.
        """
        answers = []
        for click in clicks:
            low_res: Float32 | None = None
            for _ in range(passes):
                low_res = self.predict(patch, PatchPrompts([click], mask_prompt=low_res), cancellation).low_res
            answers.append(low_res)
        return np.stack([answer for answer in answers if answer is not None])

    def _upload(self, patch: Patch, cancellation: Cancellation) -> None:
        with self._lock:
            known = patch.digest in self._uploaded
        if known:
            return
        cancellation.enter("send")
        path = messages.PATCH.format(digest=patch.digest)
        if self._ask("HEAD", path, cancellation, digest=patch.digest).status_code != 200:
            response = self._ask("PUT", path, cancellation, arrays.pack(patch.voxels), digest=patch.digest)
            if response.status_code != 201:
                raise ModelError(self._explain(response))
        with self._lock:
            self._uploaded[patch.digest] = None
            while len(self._uploaded) > REMEMBERED:
                self._uploaded.popitem(last=False)

    def _post(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation) -> requests.Response:
        request = secrets.token_hex(16)
        body = Question(self._model, request, prompts, self._turn()).to_bytes()
        stop = threading.Thread(target=self._stop, args=(request, patch.digest), daemon=True)
        with cancellation.calling(stop.start):
            path = messages.PREDICTIONS.format(digest=patch.digest)
            return self._ask("POST", path, cancellation, body, digest=patch.digest)

    def _turn(self) -> Turn:
        """Number the requests of a thread: it waits for one at a time, so a newer one makes an older one void."""
        if not hasattr(self._turns, "session"):
            self._turns.session, self._turns.number = secrets.token_hex(16), 0
        self._turns.number += 1
        return Turn(self._turns.session, self._turns.number)

    def _stop(self, request: str, digest: str) -> None:
        """Tell the server that the user cancelled."""
        with contextlib.suppress(requests.RequestException):
            url = self.url + messages.PREDICTION.format(request_id=request)
            self._session.delete(url, headers={messages.ROUTING_HEADER: digest}, timeout=TIMEOUTS)

    def _ask(
        self,
        method: str,
        path: str,
        cancellation: Cancellation,
        body: bytes | None = None,
        patience: float | None = None,
        digest: str | None = None,
    ) -> requests.Response:
        """Send a request that can be repeated; waits out restarts and overload, with growing pauses."""
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        headers = {} if digest is None else {messages.ROUTING_HEADER: digest}
        pause = 0.1
        while True:
            cancellation.check()
            try:
                response = self._session.request(method, self.url + path, data=body, headers=headers, timeout=TIMEOUTS)
                if not _is_passing(response) or time.monotonic() > deadline:
                    return response
                pause = max(pause, min(float(response.headers.get("Retry-After", 0) or 0), 5.0))
            except requests.exceptions.SSLError as error:
                raise ModelError(_tls_words(self.url)) from error
            except (requests.ConnectionError, requests.Timeout) as error:
                if time.monotonic() > deadline:
                    raise ModelError(
                        f"{self.url}: cannot be reached ({type(error).__name__}). Check address, network and server; "
                        "nothing was lost."
                    ) from error
            cancellation.wait(pause)
            pause = min(2 * pause, 2.0)

    def _read(self, response: requests.Response, elapsed: float) -> Prediction:
        if response.status_code == messages.CANCELLED:
            raise PredictionCancelled("The prediction was cancelled; nothing was changed.")
        if response.status_code != 200:
            raise ModelError(self._explain(response))
        try:
            found = messages.answer_from_bytes(response.content, self.preset.low_res_shape)
        except WireError as error:
            raise ModelError(f"{self.url}: answered something that is no prediction ({error}).") from error
        network = max(0.0, elapsed - sum(found.seconds.values()))
        return replace(found, seconds={**found.seconds, "network": network})

    def _info(self) -> list[ModelInfo]:
        # The first contact is not repeated: a wrong address should be known at once, and nobody can cancel this.
        response = self._ask("GET", messages.INFO, Cancellation(), patience=0)
        if response.status_code != 200:
            raise ModelError(self._explain(response))
        try:
            info: dict[str, Any] = response.json()
            protocol = info["protocol"]
        except (requests.JSONDecodeError, KeyError, TypeError) as error:
            raise ModelError(f"{self.url}: is no SAMMed3DSegment server. Check the address.") from error
        if protocol != messages.PROTOCOL:
            raise ModelError(f"{self.url}: {_versions(protocol)}")
        try:
            return [ModelInfo.from_json(model) for model in info["models"]]
        except (WireError, KeyError, TypeError) as error:
            raise ModelError(f"{self.url}: says something of its models that cannot be read ({error}).") from error

    def _explain(self, response: requests.Response) -> str:
        return f"{self.url}: {explain(response)}"


def _is_passing(response: requests.Response) -> bool:
    """Tell whether the answer may be another one in a moment: overload, a restart, or a proxy that lost its server."""
    from_server = messages.REQUEST_ID_HEADER in response.headers
    return response.status_code in RETRIED or (response.status_code == 500 and not from_server)


def explain(response: requests.Response) -> str:
    """Say in a sentence why a server refused."""
    known = {
        401: "the key was refused. Enter the key that the administrator gave you.",
        413: "the patch is larger than the server accepts (--max-body).",
        421: "the server does not answer to this host name; the administrator can allow it with --host-name.",
        426: "server and program speak different protocols. Update the older of the two.",
        429: "the server is busy. Try again in a moment.",
    }
    if response.status_code in known:
        return known[response.status_code]
    try:
        detail = str(response.json()["detail"])
    except (requests.JSONDecodeError, KeyError, TypeError):
        return f"HTTP {response.status_code}, and no explanation: is this a SAMMed3DSegment server?"
    return f"{detail} (HTTP {response.status_code})"


def diagnose(url: str, key: str = "", verify: bool | str = True, proxies: bool = True) -> list[str]:
    """Test a server step by step; returns a line for each step, the last one says what to do if it failed."""
    try:
        address = _checked_url(url)
        session = _session(key, verify, proxies)
    except ModelError as error:
        return [f"✗ {error}"]
    report = [f"✓ The address is well-formed: {address}"]
    try:
        response = session.get(address + messages.LIVE, timeout=TIMEOUTS)
    except requests.exceptions.SSLError:
        return [*report, f"✗ {_tls_words(address)}"]
    except requests.RequestException as error:
        return [*report, f"✗ Nothing answers there ({type(error).__name__}). Is the server running, the port open?"]
    encrypted = "encrypted" if address.startswith("https") else "NOT encrypted"
    report.append(f"✓ Something answers; the connection is {encrypted}")
    if response.status_code != 200:
        return [*report, f"✗ {explain(response)}"]
    response = session.get(address + messages.INFO, timeout=TIMEOUTS)
    if response.status_code != 200:
        return [*report, f"✗ {explain(response)}"]
    report.append("✓ The key is accepted" if key else "✓ No key is needed")
    try:
        info = response.json()
        models = [f"{m['title']} ({m['device']})" for m in info["models"]]
        protocol = info["protocol"]
    except (requests.JSONDecodeError, KeyError, TypeError):
        return [*report, "✗ This is no SAMMed3DSegment server."]
    if protocol != messages.PROTOCOL:
        return [
            *report,
            f"✗ {_versions(protocol)}",
        ]
    return [*report, f"✓ Models: {', '.join(models) or 'none'}"]


def _versions(theirs: Any) -> str:
    return f"The server speaks protocol {theirs}, this program {messages.PROTOCOL}. Update the older of the two."


class _Session(requests.Session):
    """A session whose own certificates win over those that the environment names (REQUESTS_CA_BUNDLE)."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        return super().request(*args, **{"verify": self.verify} | kwargs)


def _session(key: str, verify: bool | str, proxies: bool) -> requests.Session:
    if isinstance(verify, str) and not Path(verify).is_file():
        raise ModelError(f"{verify}: there is no such file of certificates.")
    session = _Session()
    session.trust_env = proxies
    session.verify = verify
    session.headers[messages.PROTOCOL_HEADER] = str(messages.PROTOCOL)
    if key:
        session.headers["Authorization"] = f"Bearer {key}"
    return session


def _checked_url(url: str) -> str:
    url = url.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ModelError(f"{url!r} is no address of a server. It looks like https://gpu.hospital.example:8443")
    return url


def _tls_words(url: str) -> str:
    return (
        f"{url}: its certificate cannot be trusted. If your hospital has its own authority, name the file of its "
        "certificate (settings of the module, or --ca)."
    )
