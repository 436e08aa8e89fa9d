"""Send mutated requests to every route of a server in this process, and say which ended in an error of the server.

    python Server/tests/fuzz.py --count 100000 --seed 7

Bodies and heads start from good ones and are changed: values of JSON by hostile ones, bytes flipped, cut and doubled,
lengths that lie, wrong types, heads of other protocols. The same seed draws the same requests. No answer may be 500 or
more but 503, which says that the server is full.
"""

# ruff: noqa: E501 - tables of hostile values read better in long lines

from __future__ import annotations

import argparse
import asyncio
import collections
import hashlib
import json
import logging
import random
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import nibabel
import numpy as np

from helpers import ThresholdPredictor, phantom
from sammed3d.core.geometry import Grid
from sammed3d.inference.predictor import PatchBox, PatchClick, PatchPrompts
from sammed3d.inference.preset import Preset
from sammed3d.server.app import Facades, create_app
from sammed3d.server.compat import image_files
from sammed3d.server.compat.nninteractive.arrays import pack
from sammed3d.server.compute.engine import Engine
from sammed3d.server.compute.scheduler import Scheduler
from sammed3d.wire import arrays, messages
from sammed3d.wire.messages import ModelInfo, Question, Turn
from workers import SMALL

FLAT = Preset(patch_shape=(16, 16, 1), low_res_shape=(4, 4, 1), normalisation="grey", fit="resize")
BOUNDARY = "fuzzfuzzfuzz"
HOSTILE_JSON = [
    "9" * 5000, "-" + "9" * 400, "1e999", "-1e999", "NaN", "Infinity", "1e308", "-0.0", "1e-320", "null", "true", '""',
    '"' + "a" * 3000 + '"', '"\\ud800"', '"\\u0000"', "[]", "{}", "[[[[]]]]", "[" * 60 + "]" * 60, "[" * 3000,
    '{"":{"":{}}}', "123456789012345678901234567890", "-1", "0", "1.5", '"../../etc/passwd"', "[null, null, null]",
    '[1e400, "x", {}]', "9007199254740993", '"\\ud83d\\ude00"',
]  # fmt: skip
HOSTILE_TEXT = [
    b"", b"\xff\xfe", b"\x00", b"%00%ff", b"a" * 9000, b"../..", b"\xed\xa0\x80", b"; charset=punycode", b"1e400",
    b"multipart/form-data", b"application/json; charset=utf-7", b"\xc3\x28", b"{", b"9" * 5000, b'"', b"idna", b"undefined",
]  # fmt: skip
CHARSETS = [b"punycode", b"idna", b"undefined", b"utf-16", b"unicode_escape", b"rot13", b"base64", b"\xff", b"nonsense"]


@dataclass(frozen=True)
class Sent:
    """A request.

    Attributes:
        method, path: where to.
        headers: names and values, as bytes.
        body: all of it.
        parts: the number of pieces that it comes in.
    """

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    parts: int = 1


@dataclass
class Found:
    """What came of it.

    Attributes:
        statuses: how often each was answered.
        errors: requests that ended in an error of the server, with status and answer.
    """

    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    errors: list[tuple[Sent, int, bytes]] = field(default_factory=list)


async def send(app: Callable[..., Any], sent: Sent, query: bytes = b"") -> tuple[int, bytes, dict[bytes, bytes]]:
    """Hand a request to the application, as uvicorn would; returns status, body and headers of the answer."""
    path, _, own = sent.path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": sent.method, "scheme": "http",
        "path": path, "raw_path": path.encode("latin1", "replace"), "query_string": own.encode() or query,
        "root_path": "", "headers": [(b"host", b"127.0.0.1"), *sent.headers], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    step = max(1, -(-len(sent.body) // sent.parts))
    pieces = [sent.body[n : n + step] for n in range(0, len(sent.body), step)] or [b""]
    waiting = collections.deque(
        {"type": "http.request", "body": piece, "more_body": n < len(pieces) - 1} for n, piece in enumerate(pieces)
    )
    status, headers, body = 0, {}, b""
    ended = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.popleft()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def answer(message: dict[str, Any]) -> None:
        nonlocal status, headers, body
        if message["type"] == "http.response.start":
            status, headers = message["status"], dict(message["headers"])
        else:
            body += message.get("body", b"")
            if not message.get("more_body", False):
                ended.set()

    await app(scope, receive, answer)
    return status, body, headers


def form(fields: dict[str, bytes | str], files: dict[str, bytes], charset: bytes = b"") -> tuple[bytes, bytes]:
    """Return content type and body of a form."""
    lines = []
    for name, value in fields.items():
        text = value if isinstance(value, bytes) else value.encode()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        lines.append(head + text + b"\r\n")
    for name, data in files.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.nii"\r\n\r\n'.encode()
        lines.append(head + data + b"\r\n")
    kind = f"multipart/form-data; boundary={BOUNDARY}".encode()
    return kind + (b"; charset=" + charset if charset else b""), b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


class Fuzzer:
    """Draw requests.

    Args:
        seed: the same one draws the same requests.
        lease, session: of a client of nnInteractive and one of MONAI Label.
    """

    def __init__(self, seed: int, lease: str, session: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - nothing secret is drawn
        self._lease = (b"x-lease-token", lease.encode())
        array = phantom((12, 10, 8))
        affine = np.diag([2.0, 2.0, 3.0, 1.0])
        self._nifti = nibabel.Nifti1Image(array, affine).to_bytes()
        nrrd = image_files.write((array > 300).astype(np.uint8), Grid((12, 10, 8), affine), ".nrrd")
        self._nrrd = re.sub(rb"#[^\n]*\n", b"", nrrd)  # its comments say when it was written
        self._array = pack((array > 300).astype(np.uint8)[None])
        made = [np.random.default_rng(0).standard_normal(p).astype("f4") for m in (SMALL, FLAT) for p in m.patch_shapes]
        self.patches = {hashlib.sha256(voxels.data).hexdigest(): arrays.pack(voxels) for voxels in made}
        prompts = PatchPrompts(
            [PatchClick((1.0, 2.0, 3.0), True)], PatchBox((0, 0, 0), (5, 5, 5)), np.ones((4, 4, 4), "f4")
        )
        self._question = Question("default", "r1", replace(prompts, box=None), Turn("s", 1)).to_bytes()
        head, mask = messages.split(self._question)
        layer = {"logits": "0a" * 32, "begin": [-8, 0, 3], "end": [8, 16, 19], "fading": None}
        layers = head | {"prompts": {"clicks": [[1, 2, 3, True]], "layers": [layer]}}
        flat = head | {"model": "flat", "candidates": True, "prompts": {"clicks": [[1, 2, 0, True]]}}
        self._questions = [(head, bytes(mask)), (layers, b""), (flat, b"")]
        self._params = {
            "foreground": [[3, 4, 5]],
            "background": [[1, 1, 1]],
            "label": "spleen",
            "result_extension": ".nrrd",
        }
        self._session = session

    def draw(self) -> Sent:
        """Draw a request."""
        kind = self.random.choice(
            [self._native_patch, self._native_question, self._native_question, self._monai_session, self._monai_infer,
             self._monai_infer, self._monai_token, self._nni_json, self._nni_image, self._anything]
        )  # fmt: skip
        sent = kind()
        if self.random.random() < 0.25:
            sent = self._with_hostile_head(sent)
        if self.random.random() < 0.2:
            length = self.random.choice([str(len(sent.body) + 7), "0", "-1", "9" * 30, "1e3", "", "\xb2"])
            sent = replace(sent, headers=(*sent.headers, (b"content-length", length.encode("latin1"))))
        return replace(sent, parts=self.random.choice([1, 1, 1, 2, 7]))

    def _native_patch(self) -> Sent:
        digest, patch = self.random.choice(list(self.patches.items()))
        digest = self.random.choice([digest, "0" * 64, "A" * 64, "x", "é" * 32])
        method = self.random.choice(["PUT", "PUT", "PUT", "HEAD", "PATCH"])
        return Sent(method, f"/v1/patches/{digest}", (), self._bytes(patch))

    def _native_question(self) -> Sent:
        asked, mask = self.random.choice(self._questions)
        head = self._json(asked)
        length = len(head) if self.random.random() < 0.9 else self.random.choice([0, 2**32 - 1, len(head) + 100])
        body = length.to_bytes(4, "little") + head + self._bytes(mask)
        return Sent("POST", f"/v1/patches/{self.random.choice(list(self.patches))}/predictions", (), body)

    def _monai_session(self) -> Sent:
        kind, body = form({}, {"files": self._image()}, self._charset())
        return Sent("PUT", "/session/", ((b"content-type", kind),), self._bytes(body, 0.1))

    def _monai_infer(self) -> Sent:
        files = {} if self.random.random() < 0.7 else {"file": self._image()}
        kind, body = form({"params": self._json(self._params)}, files, self._charset())
        session = self.random.choice([self._session, self._session, "", "x" * 200])
        output = self.random.choice(["image", "json", "all", "\x00"])
        query = f"?session_id={session}&output={output}" if not files else f"?output={output}"
        return Sent("POST", f"/infer/default{query}", ((b"content-type", kind),), self._bytes(body, 0.1))

    def _monai_token(self) -> Sent:
        user = self.random.choice(HOSTILE_TEXT)
        kind, body = form({"username": user, "password": self.random.choice(HOSTILE_TEXT)}, {}, self._charset())
        if self.random.random() < 0.5:
            kind = b"application/x-www-form-urlencoded" + self.random.choice([b"", b"; charset=punycode"])
            body = b"username=" + user + b"&password=%ff%fe&" + self.random.choice(HOSTILE_TEXT)
        return Sent("POST", "/auth/token", ((b"content-type", kind),), self._bytes(body, 0.2))

    def _nni_json(self) -> Sent:
        path, value = self.random.choice(
            [("/add_point_interaction", {"coordinates": [3, 4, 5], "include_interaction": True}),
             ("/add_bbox_interaction", {"bbox_coords": [[1, 5], [1, 5], [1, 5]], "include_interaction": True}),
             ("/set_target_buffer", {"shape": [12, 10, 8]}), ("/undo", {}), ("/predict", {}), ("/reset_interactions", {})]
        )  # fmt: skip
        kind = self.random.choice(
            [b"application/json", b"application/json", b"text/plain", b"application/json; charset=x"]
        )
        return Sent("POST", path, (self._lease, (b"content-type", kind)), self._bytes(self._json(value), 0.2))

    def _nni_image(self) -> Sent:
        meta = self._json({"image_properties": {"spacing": [1.0, 2.0, 3.0]}})
        path = self.random.choice(["/set_image", "/add_initial_seg_interaction"])
        return Sent("POST", path, (self._lease, (b"x-meta", meta.replace(b"\n", b""))), self._bytes(self._array))

    def _anything(self) -> Sent:
        method = self.random.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"])
        path = self.random.choice(
            ["/", "/v1/info", "/info/", "/session/x", "/v1/predictions/r1", "/capabilities", "/claim", "/lease_status",
             "/heartbeat", "/livez", "/readyz", "/auth/", "//", "/é\x00", "/v1/" + "a" * 5000, "/datastore/", "/logs/",
             "/release", f"/v1/patches/{next(iter(self.patches))}?%ff=%fe", "/session/x?update_ts=\x00"]
        )  # fmt: skip
        return Sent(
            method, path, (self._lease,) if self.random.random() < 0.3 else (), self.random.choice(HOSTILE_TEXT)
        )

    def _with_hostile_head(self, sent: Sent) -> Sent:
        names = [b"content-type", b"x-lease-token", b"x-meta", b"authorization", b"x-sammed3d-protocol", b"origin", b"host",
                 b"content-encoding", b"transfer-encoding", b"expect", b"cookie", b"upgrade", b"x-session-id"]  # fmt: skip
        name, value = self.random.choice(names), self.random.choice([*HOSTILE_TEXT, b"0x1", b"1.0", b"http://[::1"])
        kept = sent.headers if self.random.random() < 0.5 else tuple(h for h in sent.headers if h[0] != name)
        return replace(sent, headers=(*kept, (name, value)))

    def _charset(self) -> bytes:
        return self.random.choice(CHARSETS) if self.random.random() < 0.2 else b""

    def _json(self, value: Any) -> bytes:
        """Write JSON with one or two values replaced, dropped or doubled."""
        marks: dict[str, str] = {}
        for _ in range(self.random.choice([0, 1, 1, 1, 2])):
            mark = f"@@{len(marks)}@@"
            marks[f'"{mark}"'] = self.random.choice(HOSTILE_JSON)
            value = self._replaced(value, mark)
        text = json.dumps(value)
        for mark, hostile in marks.items():
            text = text.replace(mark, hostile)
        data = text.encode("utf-8", "surrogatepass")
        return data if self.random.random() < 0.9 else self._bytes(data)

    def _replaced(self, value: Any, mark: str) -> Any:
        if isinstance(value, dict) and value and self.random.random() < 0.85:
            key = self.random.choice(list(value))
            if self.random.random() < 0.1:
                return {k: v for k, v in value.items() if k != key}
            return value | {key: self._replaced(value[key], mark)}
        if isinstance(value, list) and value and self.random.random() < 0.7:
            n = self.random.randrange(len(value))
            return [*value[:n], self._replaced(value[n], mark), *value[n + 1 :]]
        return mark

    def _image(self) -> bytes:
        """An image file with fields of its header changed."""
        if self.random.random() < 0.4:
            head, mark, rest = self._nrrd.partition(b"\n\n")
            lines = head.split(b"\n")
            n = self.random.randrange(1, len(lines))
            key = lines[n].partition(b":")[0]
            hostile = [b"nan", b"(nan,0,0) (0,1,0) (0,0,1)", b"(0,0,0) (0,0,0) (0,0,0)", b"(1e308,0,0) (0,1e308,0) (0,0,1e308)",
                       b"(1,0,0) none (0,0,1)", b"-1", b"9" * 5000, b"\xff", b"", b"gzip", b"left-posterior-superior", b"1 2",
                       b"(1,0) (0,1)", b"12 10 8 1", b"0 0 0", b"double", b"block", b"ascii", b"hex", b"bzip2"]  # fmt: skip
            lines[n] = key + b": " + self.random.choice(hostile)
            return self._bytes(b"\n".join(lines) + mark + rest, 0.1)
        data = bytearray(self._nifti)
        fields = [(0, 4), *((40 + 2 * n, 2) for n in range(8)), (70, 2), (72, 2), *((76 + 4 * n, 4) for n in range(8)),
                  (108, 4), (112, 4), (116, 4), (252, 2), (254, 2), *((256 + 4 * n, 4) for n in range(6)),
                  *((280 + 4 * n, 4) for n in range(12)), (344, 4), (348, 4)]  # fmt: skip
        for _ in range(self.random.choice([1, 1, 2, 3])):
            at, size = self.random.choice(fields)
            values = [b"\x00" * size, b"\xff" * size, b"\x7f\x80\x00\x00"[::-1][:size], np.float32("nan").tobytes()[:size],
                      np.float32(1e38).tobytes()[:size], np.float32(1e-40).tobytes()[:size], self.random.randbytes(size),
                      (768).to_bytes(4, "little")[:size], (-1).to_bytes(4, "little", signed=True)[:size]]  # fmt: skip
            data[at : at + size] = self.random.choice(values)
        return self._bytes(bytes(data), 0.1)

    def _bytes(self, data: bytes, share: float = 0.5) -> bytes:
        """Bytes flipped, cut, doubled or inserted, now and then."""
        if not data or self.random.random() > share:
            return data
        changed = bytearray(data)
        for _ in range(self.random.choice([1, 1, 3, 20])):
            at = self.random.randrange(len(changed) or 1)
            what = self.random.randrange(5)
            if what == 0 and changed:
                changed[at % len(changed)] ^= 1 << self.random.randrange(8)
            elif what == 1:
                del changed[at:]
            elif what == 2:
                changed[at:at] = self.random.choice(HOSTILE_TEXT)
            elif what == 3:
                changed[at:at] = changed[: self.random.randrange(64)]
            elif changed:
                changed[at % len(changed)] = self.random.randrange(256)
        return bytes(changed)


async def fuzz(seed: int, count: int, seconds: float = 1e9) -> Found:
    """Send so many requests, for at most so many seconds, and say what came of them."""
    predictors = {name: ThresholdPredictor(preset=preset) for name, preset in (("default", SMALL), ("flat", FLAT))}
    models = [ModelInfo(n, "Test", "0" * 64, "", p.preset, p.capabilities, "cpu") for n, p in predictors.items()]
    engine = Engine(models, [Scheduler(predictors)])
    app = create_app(engine, facades=Facades(nninteractive=True, monailabel=True, sessions=64, volume_mib=4))
    found = Found()
    until = time.monotonic() + seconds
    _, body, _ = await send(app, Sent("POST", "/claim"))
    lease = json.loads(body)["lease_token"]
    start = Fuzzer(0, lease, "")
    image = ((b"x-lease-token", lease.encode()), (b"x-meta", b'{"image_properties": {"spacing": [1, 1, 1]}}'))
    await send(app, Sent("POST", "/set_image", image, pack((phantom((12, 10, 8)) % 200).astype(np.uint8)[None])))
    kind, data = form({}, {"files": nibabel.Nifti1Image(phantom((12, 10, 8)), np.eye(4)).to_bytes()})
    _, body, _ = await send(app, Sent("PUT", "/session/", ((b"content-type", kind),), data))
    fuzzer = Fuzzer(seed, lease, json.loads(body)["session_id"])
    for digest, patch in start.patches.items():
        await send(app, Sent("PUT", f"/v1/patches/{digest}", (), patch))
    try:
        for _ in range(count):
            sent = fuzzer.draw()
            status, body, _ = await asyncio.wait_for(send(app, sent), 30)
            found.statuses[status] += 1
            if (status >= 500 and status != 503) or status == 0:
                found.errors.append((sent, status, body))
            if (
                sent.path == "/session/" and status == 200
            ):  # make room again, so that not everything is answered with 503
                await send(app, Sent("DELETE", f"/session/{json.loads(body)['session_id']}"))
            if sent.path == "/claim" and status == 200:
                token = json.loads(body)["lease_token"].encode()
                await send(app, Sent("POST", "/release", ((b"x-lease-token", token),)))
            if time.monotonic() > until:
                break
    finally:
        await asyncio.to_thread(engine.close)
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="requests")
    parser.add_argument("--seed", type=int, default=0, help="what is drawn")
    chosen = parser.parse_args()
    logging.getLogger("sammed3d.server").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    found = asyncio.run(fuzz(chosen.seed, chosen.count))
    print(dict(sorted(found.statuses.items())))
    for sent, status, body in found.errors[:40]:
        print(status, sent.method, sent.path[:100], sent.headers, sent.body[:300], body[:200])
    sys.exit(f"{len(found.errors)} errors of the server" if found.errors else 0)


if __name__ == "__main__":
    main()
