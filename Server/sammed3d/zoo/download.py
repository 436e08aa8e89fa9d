"""Downloads that can be interrupted, resumed and trusted: nothing half-downloaded is ever used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.file_locks import try_lock
from sammed3d.errors import ModelError
from sammed3d.zoo.about_file import is_cut_off
from sammed3d.zoo.folders import writing_to

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 18
TRIES = 5
TIMEOUTS = (10.0, 60.0)
"""Seconds to connect, and between two chunks."""
WAITING = 0.25
"""Seconds between two looks whether another download of the same file has ended."""
GOES_ON = "Check the network or proxy; the next try goes on where this one ended."
Progress = Callable[[int, int | None], None]
"""Called with the bytes there, and those expected (None if unknown)."""


class ChecksumError(ModelError):
    """A downloaded file is another one than was expected."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
    pause: float = 1.0,
) -> str:
    """Download a file; a part that an interrupted download left is continued, one that is under way is waited for.

    Args:
        url: http or https. Proxies and certificates are those of `requests` (HTTPS_PROXY, REQUESTS_CA_BUNDLE).
        target: path of the file, once it is complete.
        sha256: SHA-256 (hex) that the file must have; None where it is not known.
        progress: told about every chunk.
        cancellation: stops it, also between two tries; the part stays for the next time.
        pause: seconds before the first new try; doubles each time.

    Returns:
        SHA-256 (hex) of the file.

    Raises:
        ModelError: the server cannot be reached or refuses, or the disk is full.
        ChecksumError: the file is not what it should be.
        PredictionCancelled: `cancellation` was used.
    """
    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    cancellation = cancellation or Cancellation()
    with alone(part, cancellation) as waited:
        if waited and target.is_file() and (found := file_digest(target)) == (sha256 or found):
            return found
        _fetch_patiently(url, part, target.name, progress, cancellation, pause)
        found = file_digest(part)
        if sha256 is not None and found != sha256:
            _discard(part)
            raise ChecksumError(
                f"{target.name}: what arrived is not the published file (SHA-256 {found[:12]}..., expected "
                f"{sha256[:12]}...). It was deleted. Try again; if it stays so, the source was changed: do not use it."
            )
        part.replace(target)
        _validator_file(part).unlink(missing_ok=True)
        return found


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def alone(part: Path, cancellation: Cancellation) -> Iterator[bool]:
    """Hold a part, which several programs or threads must not write at once; yields whether it was held by another.

    The lock is the system's, which takes it back from a program that dies.
    """
    path = part.with_name(part.name + ".lock")
    waited = False
    while True:
        with contextlib.ExitStack() as stack:
            try:
                ours = stack.enter_context(try_lock(path))
            except OSError as error:
                raise ModelError(f"{part.stem}: cannot be written ({error.strerror}).") from error
            if ours:
                yield waited
                return
        waited = True
        cancellation.check()
        cancellation.wait(WAITING)


class _RefusedError(Exception):
    """The server answered that trying again will not help."""


class _IncompleteError(Exception):
    """The connection ended before the file did."""


def _fetch_patiently(
    url: str, part: Path, name: str, progress: Progress | None, cancellation: Cancellation, pause: float
) -> None:
    import requests  # noqa: PLC0415 - only downloads need it

    from sammed3d.network_errors import ENVIRONMENT, in_words, is_final, names_a_server  # noqa: PLC0415 - the same

    if not names_a_server(url):
        raise ModelError(
            f"{name}: its address is none. It begins with https:// or http://; see HF_ENDPOINT, where you set that."
        )
    with requests.Session() as session:
        for attempt in range(TRIES):
            cancellation.check()
            try:
                _fetch(session, url, part, progress, cancellation)
                break
            except _RefusedError as error:
                raise ModelError(f"{name}: {error}") from error
            except _IncompleteError as error:
                if attempt == TRIES - 1:
                    raise ModelError(f"{name}: the download broke off {TRIES} times. {GOES_ON}") from error
                cancellation.wait(pause * 2**attempt)
            except OSError as error:  # which those of `requests` are, too
                final = is_final(error)
                if not final and not isinstance(error, requests.RequestException):
                    raise ModelError(f"{name}: cannot be written ({error.strerror}).") from error
                if final or attempt == TRIES - 1:
                    broke = "the download cannot begin" if final else f"the download broke off {TRIES} times"
                    raise ModelError(
                        f"{name}: {broke}. {urlsplit(url).netloc}: {in_words(error, url, ENVIRONMENT)} {GOES_ON}"
                    ) from error
                cancellation.wait(pause * 2**attempt)


def _fetch(
    session: requests.Session, url: str, part: Path, progress: Progress | None, cancellation: Cancellation
) -> None:
    """Ask once for what a part lacks of its file, and add what comes; a part that nothing can continue begins anew."""
    validator = _validator(part)
    begin = part.stat().st_size if part.is_file() and validator is not None else 0
    headers = {"Accept-Encoding": "identity"}
    if begin and validator is not None:
        headers |= {"Range": f"bytes={begin}-", "If-Range": validator}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
        _check_answer(response, part, begin)
        if response.status_code == 200:  # the whole file: the part is of an older one, or this server continues none
            _discard(part)
            begin = 0
        coming = _bytes_to_come(response)
        if coming is not None:
            _check_room(part, coming)
        total = None if coming is None else begin + coming
        _remember_validator(part, response)
        done = begin
        with part.open("ab" if begin else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                cancellation.check()
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if done < total if total is not None else is_cut_off(part):
        raise _IncompleteError(f"{done} of {total or 'more'} bytes")


def _check_answer(response: requests.Response, part: Path, begin: int) -> None:
    """Refuse an answer that holds neither the file nor what was asked for of it, from `begin` on."""
    status = response.status_code
    if status == 416:  # the part is as long as the file, or longer
        _discard(part)
        raise _IncompleteError
    if status == 206 and not _continues_at(begin, response):
        _discard(part)
        raise _IncompleteError("other bytes than were asked for")
    if status >= 500 or status == 429:
        raise _IncompleteError(f"HTTP {status}")
    if status not in (200, 206):
        raise _RefusedError(f"the server refused it (HTTP {status}). See the model's page.")


def _bytes_to_come(response: requests.Response) -> int | None:
    """Return how long an answer says that it is; None where it does not."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check_room(part: Path, coming: int) -> None:
    if shutil.disk_usage(part.parent).free < coming:
        raise _RefusedError(f"it needs {coming >> 20} MiB and the disk has less. Free some space.")


def _continues_at(begin: int, response: requests.Response) -> bool:
    """Tell whether a part of a file that was answered is the rest from a place on."""
    content = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    return content is not None and int(content[1]) == begin


def _validator(part: Path) -> str | None:
    """Return what tells whether an answer is about the file of a part; None where nothing does, or it is damaged."""
    try:
        validator = json.loads(_validator_file(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return validator if isinstance(validator, str) and validator.isprintable() and validator.isascii() else None


def _remember_validator(part: Path, response: requests.Response) -> None:
    """Keep what tells whether a later answer is about the same file; without it the part is not continued."""
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if validator is None or validator.startswith("W/"):
        _validator_file(part).unlink(missing_ok=True)
    else:
        _validator_file(part).write_text(json.dumps(validator), encoding="utf-8")


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)
