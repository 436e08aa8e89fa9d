"""Series of a real DICOMweb server, and servers that mean no good."""

import contextlib
import io
import json
import ssl
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import trustme
from pydicom.uid import JPEG2000Lossless
from typer.testing import CliRunner

import orthanc
from helpers import ThresholdPredictor, phantom
from orthanc import mask_of, needs_orthanc, segs_of
from sammed3d.cli.app import app
from sammed3d.errors import VolumeError
from sammed3d.files import dicom_slices
from sammed3d.files.dicom_slices import slices_in_zip, volume_of
from sammed3d.files.dicomweb import DicomWeb, OneServerSession
from sammed3d.files.dicomweb_address import is_address, parse_address
from sammed3d.files.volume import Volume
from sammed3d.inference.dicom_series import DicomSeries
from sammed3d.inference.session import Session

pytestmark = pytest.mark.xdist_group("orthanc")  # started once

ARRAY = phantom((40, 50, 12))
UIDS = "studies/1.2.3/series/4.5.6"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A running Orthanc with one series: its address, and the UIDs."""
    with orthanc.orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        yield url, *orthanc.put(url, orthanc.slices_of(ARRAY))


@needs_orthanc
@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_series_comes_as_the_volume_it_is_and_its_segmentation_goes_back(archive):
    url, study, series = archive
    web = DicomWeb(url + "/dicom-web", orthanc.authorization())
    assert web.study_of(series) == study
    fetched = DicomSeries.of(web.slices(study, series))
    assert np.array_equal(fetched.volume.array, ARRAY)
    assert np.allclose(fetched.volume.grid.index_to_world @ [0, 0, 0, 1], [20, 30, 40, 1])
    session = Session(fetched.volume, ThresholdPredictor())
    session.add_object("liver")
    session.click(fetched.volume.grid.to_world((20, 25, 6)))
    made = fetched.segmentation_of(session)
    web.store(fetched.study, made)
    [seg] = [each for each in segs_of(url, study) if each.SOPInstanceUID == made.SOPInstanceUID]
    assert seg.SegmentSequence[0].SegmentLabel == "liver"
    assert seg.PatientID == "MARKER-1"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series
    assert np.array_equal(mask_of(seg, ARRAY.shape), session.mask())


@needs_orthanc
@pytest.mark.timeout(120)
def test_the_command_line_segments_a_series_and_stores_the_result(archive, tmp_path, monkeypatch):
    url, study, series = archive
    monkeypatch.setenv("SAMMED3D_DICOMWEB_AUTHORIZATION", orthanc.authorization())
    monkeypatch.setattr("sammed3d.load_predictor", lambda *_a, **_k: ThresholdPredictor())
    before = len(segs_of(url, study))
    source = f"dicomweb://{url.removeprefix('http://')}/dicom-web/studies/{study}/series/{series}"
    output = tmp_path / "mask.nii.gz"
    click = ["segment", source, "--click", "20,25,6", "--ijk", "-o", str(output), "--store", "--no-proxy"]
    done = CliRunner().invoke(app, click)
    assert done.exit_code == 0, done.output
    written = Volume.read(output).array
    assert written.any()
    segs = segs_of(url, study)
    assert len(segs) == before + 1
    assert any(np.array_equal(mask_of(seg, ARRAY.shape), written) for seg in segs)


@needs_orthanc
def test_what_the_server_says_is_told_with_a_remedy(archive):
    url, study, series = archive
    with pytest.raises(VolumeError, match=r"HTTP 401.*SAMMED3D_DICOMWEB_AUTHORIZATION"):
        DicomWeb(url + "/dicom-web").slices(study, series)
    web = DicomWeb(url + "/dicom-web", orthanc.authorization())
    with pytest.raises(VolumeError, match="404"):
        web.slices(study, "1.2.3")
    with pytest.raises(VolumeError, match="no such series"):
        web.study_of("1.2.3")
    with pytest.raises(VolumeError, match="larger than 0 MiB"):
        DicomWeb(url + "/dicom-web", orthanc.authorization(), most_bytes=1000).slices(study, series)


class Asked(list):
    """Paths that were asked for."""

    def __init__(self):
        super().__init__()
        self.credentials = []


@contextlib.contextmanager
def answering(status, headers=(), body=b"", certificate=None):
    """A server that always says the same; yields its address and what it was asked, and with which credentials."""
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            asked.credentials.append(self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_no_redirect_is_followed_and_no_other_address_asked():
    with answering(200) as (elsewhere, asked), answering(302, [("Location", elsewhere + "/studies")]) as (url, _):
        with pytest.raises(VolumeError, match="redirects are not followed"):
            DicomWeb(url).slices("1.2", "3.4")
        with pytest.raises(VolumeError, match="another address"):
            OneServerSession(url, 1 << 20).get(elsewhere)
        with pytest.raises(VolumeError, match="another address"):
            OneServerSession(url + "/dicom-web", 1 << 20).get(url + "/instances")
        assert asked == []


@pytest.mark.slow
def test_addresses_that_an_answer_names_are_not_asked():
    with answering(200) as (elsewhere, asked):
        bulk = [{"7FE00010": {"vr": "OW", "BulkDataURI": elsewhere + "/pixels"}}]
        body = json.dumps(bulk).encode()
        with answering(200, [("Content-Type", "application/dicom+json")], body) as (url, _):
            for ask in (lambda web: web.slices("1.2", "3.4"), lambda web: web.study_of("3.4")):
                with pytest.raises(VolumeError):
                    ask(DicomWeb(url))
        assert asked == []


def test_answers_that_are_no_dicom_and_servers_that_are_not_there_are_told():
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    nonsense = answering(200, [("Content-Type", kind)], b"--b\r\n\r\nnonsense\r\n--b--")
    with nonsense as (url, _), pytest.raises(VolumeError, match="no DICOM"):
        DicomWeb(url).slices("1.2", "3.4")
    with pytest.raises(VolumeError, match="cannot be reached"):
        DicomWeb(url).slices("1.2", "3.4")


def test_what_was_named_wins_over_what_the_environment_says(tmp_path, monkeypatch):
    """A certificate and credentials that are given for this server count, also where proxies of the environment do."""
    authority = trustme.CA()
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "netrc").write_text("default login anna password of-another-server")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with answering(401, certificate=authority.issue_cert("127.0.0.1")) as (url, asked):
        with pytest.raises(VolumeError, match="HTTP 401"):
            DicomWeb(url, "Bearer right", str(tmp_path / "ca.pem"), proxies=True).study_of("1.2.3")
        assert asked.credentials == ["Bearer right"]
        with pytest.raises(VolumeError, match=r"its certificate cannot be trusted: .* does not know who signed it"):
            DicomWeb(url, "Bearer right").study_of("1.2.3")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
        with pytest.raises(VolumeError, match="the file of certificates that REQUESTS_CA_BUNDLE"):
            DicomWeb(url, "Bearer right", proxies=True).study_of("1.2.3")


def test_addresses_are_read_and_others_refused():
    assert parse_address(f"dicomweb://pacs.example/a/b/{UIDS}").root == "https://pacs.example/a/b"
    assert parse_address(f"dicomweb://127.0.0.1:8042/dicom-web/{UIDS}/").root == "http://127.0.0.1:8042/dicom-web"
    assert parse_address(f"dicomweb+http://pacs:80/{UIDS}").root == "http://pacs:80"
    found = parse_address(f"dicomweb://h/{UIDS}")
    assert (found.study, found.series) == ("1.2.3", "4.5.6")
    assert not is_address("folder/dicomweb")
    for wrong in ("", "pacs", f"pacs/{UIDS}?a=b", "pacs/studies/1.2", f"me:secret@pacs/{UIDS}", f"/{UIDS}"):
        with pytest.raises(VolumeError, match="address"):
            parse_address(f"dicomweb://{wrong}")


@pytest.mark.slow
def test_files_cannot_be_stored_on_a_server(tmp_path):
    done = CliRunner().invoke(
        app, ["segment", "ct.nii.gz", "--click", "1,2,3", "-o", str(tmp_path / "m.nrrd"), "--store"]
    )
    assert done.exit_code == 1
    assert "--store" in done.output


# Slices in memory


def changed(**values):
    slices = orthanc.slices_of(ARRAY)
    for keyword, value in values.items():
        setattr(slices[3], keyword, value)
    return slices


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (changed(PixelData=b"\0" * 100), "incomplete"),
        (changed(NumberOfFrames=2), "several frames"),
        (changed(ImagePositionPatient=[-20, -30, 41]), "not evenly spaced"),
        (changed()[:5] + changed()[7:], "series"),
    ],
)
def test_slices_that_make_no_volume_are_refused(slices, message):
    with pytest.raises(VolumeError, match=message) as refused:
        volume_of(slices, "the series")
    assert "sammed3d-" not in str(refused.value)


def test_credentials_and_certificates_that_are_none_are_told_before_anything_is_asked(tmp_path):
    root = "http://127.0.0.1:1/dicom-web"
    with pytest.raises(VolumeError, match=r"absent\.pem: there is no such file of certificates"):
        DicomWeb(root, verify=str(tmp_path / "absent.pem"))
    (der := tmp_path / "authority.cer").write_bytes(b"\x30\x82")
    with pytest.raises(VolumeError, match=r"authority\.cer: holds no certificates .* PEM is expected"):
        DicomWeb(root, verify=str(der))
    for wrong in ("Bearer a\nb", "Bearer \u20ac"):
        with pytest.raises(VolumeError, match=r"127\.0\.0\.1:1: .*SAMMED3D_DICOMWEB_AUTHORIZATION\) holds characters"):
            DicomWeb(root, wrong)


def test_credentials_may_end_in_a_new_line_as_files_of_them_do():
    with answering(404, []) as (url, asked), pytest.raises(VolumeError, match="404"):
        DicomWeb(url, " Bearer token\n").slices("1.2", "1.3")
    assert asked.credentials == ["Bearer token"]


def test_compressed_slices_and_those_without_a_place_are_refused():
    slices = orthanc.slices_of(ARRAY)
    slices[0].file_meta.TransferSyntaxUID = JPEG2000Lossless
    with pytest.raises(VolumeError, match="compressed"):
        volume_of(slices, "the series")
    slices = orthanc.slices_of(ARRAY)
    del slices[0].ImagePositionPatient
    with pytest.raises(VolumeError, match="lack ImagePositionPatient"):
        volume_of(slices, "the series")


def test_nothing_of_the_patient_reaches_the_disk_and_nothing_stays_there(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []
    original = Volume.read.__func__

    def read(cls, folder, series=None):
        from pathlib import Path

        seen.extend(file.read_bytes() for file in Path(folder).iterdir())
        return original(cls, folder, series)

    monkeypatch.setattr(dicom_slices.Volume, "read", classmethod(read))
    assert np.array_equal(volume_of(orthanc.slices_of(ARRAY), "the series").array, ARRAY)
    assert len(seen) == ARRAY.shape[2]
    assert not any(b"MARKER" in each or b"Marker" in each for each in seen)
    assert not any(tmp_path.iterdir())


def zipped(contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.slow
def test_archives_are_read_whatever_their_names_and_within_bounds():
    slices = [(f"../../etc/{n}", orthanc.encoded(each)) for n, each in enumerate(orthanc.slices_of(ARRAY))]
    data = zipped([("/etc/passwd", b"text"), *slices])
    assert np.array_equal(volume_of(slices_in_zip(data, 1 << 24, "the archive"), "the archive").array, ARRAY)
    bomb = zipped([("a", bytes(1 << 24))])
    assert len(bomb) < 1 << 16
    several = [*slices, ("b", orthanc.encoded(orthanc.slices_of(ARRAY)[0]))]
    for wrong, message in [
        (bomb, "more than"),
        (data[:-50], "damaged"),
        (zipped([("a", b"text")]), "no DICOM slices"),
        (zipped(several), "several series"),
    ]:
        with pytest.raises(VolumeError, match=message):
            slices_in_zip(wrong, 1 << 20, "the archive")
