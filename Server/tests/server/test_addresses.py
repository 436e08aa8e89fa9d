"""Addresses as administrators and clients write them: IPv6 in several ways, names with a port, pages with a slash."""

import contextlib
import os
import socket

import pytest
import requests
import trustme

from helpers import ThresholdPredictor
from sammed3d.errors import ModelError
from sammed3d.server.addresses import check_free, compared, listening_socket
from sammed3d.server.serve import check_addresses
from sammed3d.server.settings import read_settings
from sammed3d.wire import messages
from servers import serving
from workers import SMALL


def has_ipv6():
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gpu.hospital.example", "gpu.hospital.example"),
        ("GPU.Hospital.Example.:8443", "gpu.hospital.example"),
        ("gpu:", "gpu"),
        ("10.0.0.5:8443", "10.0.0.5"),
        ("fd00:0:0::5", "[fd00::5]"),
        ("[FD00:0:0:0:0:0:0:5]:8443", "[fd00::5]"),
        ("[::1]", "[::1]"),
        ("::", "[::]"),
        ("", ""),
        ("evil.example:80:90", "evil.example:80:90"),
        ("[::1]evil.example", "[::1]evil.example"),
    ],
)
def test_a_host_is_compared_in_one_way_of_writing_it(written, name):
    assert compared(written) == name


def test_an_ipv6_address_may_be_written_at_length():
    with serving(ThresholdPredictor(preset=SMALL), hosts=frozenset({"[fd00::5]"})) as server:
        for host, status in (("[fd00::5]:8443", 200), ("[FD00:0:0:0:0:0:0:5]", 200), ("[fd00::6]", 421), ("", 421)):
            answer = requests.get(server.url + messages.LIVE, headers={"Host": host}, timeout=5)
            assert answer.status_code == status, host


@pytest.mark.skipif(not has_ipv6(), reason="this computer has no IPv6")
def test_two_colons_are_all_addresses_of_both_kinds(free_port):
    with listening_socket("::", free_port):
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, free_port), timeout=5).close()
    check_free("::", free_port)
    with socket.create_server(("", free_port)), pytest.raises(ModelError, match="another program has it"):
        check_free("::", free_port)
    assert listening_socket("127.0.0.1", free_port) is None


@pytest.mark.parametrize(
    ("page", "origin"),
    [
        ("https://ohif.hospital.example/", "https://ohif.hospital.example"),
        ("https://OHIF.hospital.example:443", "https://ohif.hospital.example"),
        ("http://[fd00::5]:3000", "http://[fd00::5]:3000"),
        ("app://viewer", "app://viewer"),
    ],
)
def test_a_page_is_taken_as_browsers_say_it(page, origin):
    assert read_settings(None, origin=[page]).origin == [origin]


@pytest.mark.parametrize(
    "page", ["*", "null", "ohif.hospital.example", "https://ohif.example/viewer", "https://*.example"]
)
def test_what_no_browser_says_of_a_page_is_refused(page):
    with pytest.raises(
        ModelError, match=r"'origin\.0' is wrong: .* is no origin of pages: write scheme, host and port"
    ):
        read_settings(None, origin=[page])


def test_a_host_name_is_no_address():
    with pytest.raises(
        ModelError, match=r"'host_name\.0' is wrong: 'https://gpu' is no host name: write the name alone"
    ):
        read_settings(None, host_name=["https://gpu"])
    assert read_settings(None, host_name=["gpu:8443", "[fd00::5]"]).host_name == ["gpu:8443", "[fd00::5]"]


@pytest.mark.skipif(os.name != "posix", reason="other rights")
@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_private_key_that_everybody_may_read_is_told(tmp_path, caplog, mode, told):
    issued, files = trustme.CA().issue_cert("localhost"), (tmp_path / "chain.pem", tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(files[0])
    issued.private_key_pem.write_to_path(files[1])
    files[1].chmod(mode)
    check_addresses(read_settings(None, port=0, tls_cert=files[0], tls_key=files[1]))
    assert (f"every user of this computer may read the private key {files[1]}" in caplog.text) is told
