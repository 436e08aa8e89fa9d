"""Series of a DICOMweb server: read as a volume, results stored beside them. Needs the extra [dicomweb].

Only the server that was named is ever asked: redirects are refused, and pixels are taken from the answers alone, never
from an address that an answer names.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from sammed3d.errors import VolumeError
from sammed3d.files.dicom_slices import MISSING
from sammed3d.files.dicomweb_address import checked_root
from sammed3d.network_errors import fits_a_header, in_words, wrong_with_certificates

if TYPE_CHECKING:
    import pydicom

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
MOST_BYTES = 4 << 30
"""Of one answer, where nothing else is said."""
TIMEOUTS = (5.0, 120.0)
"""Seconds to connect, and until the next byte: archives may have to fetch a series from tape."""
_UID = re.compile(r"[0-9.]{1,64}")


class DicomWeb:
    """One DICOMweb server, and no other.

    Args:
        root: its address.
        authorization: value of the header Authorization, such as "Bearer ..."; "" for none.
        verify: True, or a file with the certificates of the authority that signed the server's.
        proxies: whether to use the proxies of the environment.
        most_bytes: bound of one answer.

    Raises:
        VolumeError: the address, the header or the file of certificates is none, or packages are missing.
    """

    def __init__(
        self,
        root: str,
        authorization: str = "",
        verify: bool | str = True,
        proxies: bool = False,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        try:
            from dicomweb_client.web import DICOMwebClient  # noqa: PLC0415 - the extra [dicomweb]
        except ImportError as error:
            raise VolumeError(MISSING) from error
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)  # it writes down UIDs
        self.root = checked_root(root)
        self._session = OneServerSession(self.root, most_bytes)
        if isinstance(verify, str) and (wrong := wrong_with_certificates(verify)):
            raise VolumeError(wrong)
        self._session.verify, self._session.trust_env = verify, proxies
        if authorization := authorization.strip():
            if not fits_a_header(authorization):
                raise VolumeError(
                    f"{self._name()}: what its header Authorization is to say (SAMMED3D_DICOMWEB_AUTHORIZATION) holds "
                    "characters that cannot be sent. Copy it again."
                )
            self._session.headers["Authorization"] = authorization
            self._session.auth = _as_it_is
        self._client = DICOMwebClient(self.root, session=self._session, timeout=TIMEOUTS)
        self._client.set_http_retry_params(retry=False)

    def study_of(self, series: str) -> str:
        """Find the study that a series belongs to.

        Raises:
            VolumeError: the server has no such series, or cannot be asked.
        """
        with self._explained():
            found = self._client.search_for_series(
                search_filters={"SeriesInstanceUID": _checked(series)}, fields=["StudyInstanceUID"]
            )
        studies = {str(value) for entry in found for value in entry.get("0020000D", {}).get("Value", [])}
        if len(studies) != 1:
            raise VolumeError(f"{self._name()}: has no such series. Check its UID, and that your account may read it.")
        return _checked(studies.pop())

    def slices(self, study: str, series: str) -> list[pydicom.Dataset]:
        """Fetch the slices of a series, uncompressed.

        Raises:
            VolumeError: the server has no such series, or cannot be asked.
        """
        with self._explained():
            found: list[pydicom.Dataset] = self._client.retrieve_series(
                _checked(study), _checked(series), media_types=(("application/dicom", EXPLICIT_LITTLE_ENDIAN),)
            )
        if not found:
            raise VolumeError(f"{self._name()}: this series has no slices.")
        return found

    def store(self, study: str, dataset: pydicom.Dataset) -> None:
        """Store an object in a study.

        Raises:
            VolumeError: the server refuses it, or cannot be asked.
        """
        with self._explained():
            answer = self._client.store_instances([dataset], _checked(study))
        if getattr(answer, "FailedSOPSequence", None):
            raise VolumeError(f"{self._name()}: did not take the segmentation. Check that your account may store.")

    def _name(self) -> str:
        return urlsplit(self.root).netloc

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            remedy = {
                401: "It wants credentials: put them into SAMMED3D_DICOMWEB_AUTHORIZATION.",
                403: "Your credentials do not allow this.",
                404: "It has no such series, or its path is another one.",
            }.get(status, "Ask its administrator.")
            raise VolumeError(f"{self._name()}: answers HTTP {status}. {remedy}") from error
        except OSError as error:  # which those of `requests` are, too
            raise VolumeError(f"{self._name()}: {in_words(error, self.root)}") from error
        except VolumeError:
            raise
        except Exception as error:  # whatever pydicom and the client make of an answer, it is the server's
            raise VolumeError(f"{self._name()}: answers something that is no DICOM.") from error


class OneServerSession(requests.Session):
    """Asks one server, follows no redirect, and takes answers up to a size.

    Args:
        root: all addresses begin with it.
        most_bytes: bound of an answer.
    """

    def __init__(self, root: str, most_bytes: int) -> None:
        super().__init__()
        self._root, self._most = root + "/", most_bytes

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Make a request; certificates that were named win over those of the environment (REQUESTS_CA_BUNDLE)."""
        return super().request(*args, **{"verify": self.verify} | kwargs)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, if it is for this server."""
        if not (request.url or "").startswith(self._root):
            raise VolumeError(f"{urlsplit(self._root).netloc}: named another address, which is not asked.")
        response = super().send(request, **{**options, "allow_redirects": False, "stream": True})
        if 300 <= response.status_code < 400:
            response.close()
            raise VolumeError(f"{urlsplit(self._root).netloc}: wants to send us elsewhere; redirects are not followed.")
        pieces, count = [], 0
        for piece in response.iter_content(1 << 20):
            count += len(piece)
            if count > self._most:
                response.close()
                raise VolumeError(
                    f"{urlsplit(self._root).netloc}: the series is larger than {self._most >> 20} MiB allowed."
                )
            pieces.append(piece)
        whole = requests.Response()
        whole.status_code, whole.headers, whole.reason = response.status_code, response.headers, response.reason
        whole.url, whole.request, whole.encoding = response.url, request, response.encoding
        whole.raw = io.BytesIO(b"".join(pieces))
        return whole


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the header Authorization: without an `auth`, `requests` replaces it by what ~/.netrc says."""
    return request


def _checked(uid: str) -> str:
    if not _UID.fullmatch(uid):
        raise VolumeError("This is no DICOM UID: digits and dots, at most 64.")
    return uid
