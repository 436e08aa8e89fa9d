"""What keeps a client from its server is said by what it is, with what to do; what passes is waited for."""

import contextlib
import datetime
import socket
import ssl
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import requests
import trustme
import urllib3
from urllib3.exceptions import MaxRetryError

from helpers import ThresholdPredictor
from networks_that_fail import BadNetwork
from sammed3d.errors import ModelError, ModelWarning
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.inference.preset import Preset
from sammed3d.network_errors import in_words, is_final
from sammed3d.predictors.diagnosis import NO_KEY, explain
from sammed3d.predictors.remote import RemotePredictor, diagnose, served_models
from sammed3d.predictors.transport import Reply, Transport
from sammed3d.server.http.keys import Keys, Quota, add_key
from servers import serving
from workers import job

CLICK = PatchPrompts([PatchClick((1.0, 2.0, 3.0), True)])
SMALL = Preset(patch_shape=(16, 16, 16), low_res_shape=(4, 4, 4))
NOW = datetime.datetime.now(datetime.UTC)
MONTH = datetime.timedelta(days=30)
CERTIFICATES = {
    "expired": (("127.0.0.1",), {"not_before": NOW - 2 * MONTH, "not_after": NOW - MONTH}, "it has expired"),
    "early": (("127.0.0.1",), {"not_before": NOW + MONTH, "not_after": NOW + 2 * MONTH}, "it is not valid yet"),
    "another": (("gpu.hospital.example",), {}, "it is not for the name 127.0.0.1"),
}


@contextlib.contextmanager
def answering(answer):
    """A server that sends some bytes to whoever says something, and closes the connection; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@contextlib.contextmanager
def encrypting(folder, names=("127.0.0.1",), **validity):
    """A server with a certificate; and the file of the authority that signed it."""
    authority = trustme.CA()
    authority.issue_cert(*names, **validity).private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    with serving(ThresholdPredictor(preset=SMALL), tls=(str(folder / "server.pem"), None)) as server:
        yield server, str(folder / "ca.pem")


def said(url, **options):
    """What each of three ways says that ask a server: the test of a connection, the list of models, and a predictor."""
    yield diagnose(url, **options)[-1]
    for ask in (served_models, RemotePredictor):
        with pytest.raises(ModelError) as refusal:
            ask(url, **options)
        yield str(refusal.value)


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_what_is_wrong_with_a_certificate_is_said(tmp_path, kind):
    names, validity, words = CERTIFICATES[kind]
    with encrypting(tmp_path, names, **validity) as (server, ca):
        assert all(f"cannot be trusted: {words}" in text for text in said(server.url, verify=ca))


def test_an_authority_that_is_not_known_is_said(tmp_path):
    with encrypting(tmp_path) as (server, _):
        assert all("does not know who signed it. If your hospital" in text for text in said(server.url))


def test_a_file_that_holds_no_certificates_is_named(tmp_path):
    binary = tmp_path / "authority.cer"
    binary.write_bytes(ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode()))
    words = f"{binary}: holds no certificates that can be read. PEM is expected"
    assert all(words in text for text in said("https://gpu.hospital.example", verify=str(binary)))


def test_encryption_where_there_is_none_and_the_other_way_round_are_said(tmp_path):
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert all(f"port {port} does not encrypt" in text for text in said(f"https://127.0.0.1:{port}"))
    with encrypting(tmp_path) as (server, _):
        plain = server.url.replace("https:", "http:")
        assert all("its address begins with https://" in text for text in said(plain))


def test_names_and_ports_are_said(free_port):
    assert all("nothing listens at port" in text for text in said(f"http://127.0.0.1:{free_port}"))
    assert all("the name gpu.invalid is not known" in text for text in said("https://gpu.invalid", proxies=False))


def test_the_proxy_of_the_network_is_said(monkeypatch, free_port):
    with answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as port:
        for proxy, words in ((port, "refuses to connect (HTTP 407)"), (free_port, "does not answer")):
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
            whole = f"the proxy that this computer is set to use {words}. Pass it by (--no-proxy"
            assert all(whole in text for text in said("https://gpu.hospital.example:8443"))


def test_a_connection_that_breaks_while_encryption_is_agreed_on_is_made_again(tmp_path):
    with encrypting(tmp_path) as (server, ca):
        network = BadNetwork(server.url)
        remote = RemotePredictor(network.url, verify=ca)
        remote.close()
        network.cuts = [0, 100, None]
        patch = replace(job(1).patch)  # with its own digest
        expected = ThresholdPredictor(preset=SMALL).predict(patch, CLICK).low_res
        assert np.array_equal(remote.predict(patch, CLICK).low_res, expected)
        assert not network.cuts
        network.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "asks for a password of its own"),
        (407, "the proxy of this network asks for a password"),
        (413, "client_max_body_size"),
        (502, "Is the server running behind it?"),
        (504, "Is the server running behind it?"),
    ],
)
def test_what_a_proxy_answers_is_not_taken_for_the_servers_words(status, words):
    assert words in explain(Reply(status, {"Content-Type": "text/html"}, b"<html>nginx</html>"))
    own = Reply(status, {"Content-Type": "application/problem+json"}, b'{"detail": "The server says so."}')
    assert words not in explain(own)


def test_a_key_that_a_proxy_takes_out_is_told_from_a_wrong_one(tmp_path):
    add_key(tmp_path / "keys.json", "anna")
    with serving(ThresholdPredictor(preset=SMALL), Keys.read(tmp_path / "keys.json")) as server:
        assert all("the key was refused" in text for text in said(server.url, key="wrong"))
        assert all(NO_KEY in text for text in said(server.url))


def test_a_key_that_was_taken_back_is_said_before_a_patch_is_sent(tmp_path, monkeypatch):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    key = add_key(old, "anna")
    add_key(new, "anna")
    with serving(ThresholdPredictor(preset=SMALL), Keys.read(old)) as server:
        remote = RemotePredictor(server.url, key=key)
        server.stop()
        server.start_with_keys(Keys.read(new))
        asked, ask = [], Transport.ask
        monkeypatch.setattr(Transport, "ask", lambda *rest, **more: asked.append(rest[1]) or ask(*rest, **more))
        with pytest.raises(ModelError, match="the key was refused"):
            remote.predict(replace(job(1).patch), CLICK)
    assert asked == ["HEAD"]


def test_whose_quota_is_used_up_is_said_with_the_time(tmp_path):
    key, file = add_key(tmp_path / "keys.json", "anna"), tmp_path / "keys.json"
    quotas = {"anna": Quota(per_minute=1)}
    with serving(ThresholdPredictor(preset=SMALL), Keys.read(file), quotas=quotas) as server:
        remote = RemotePredictor(server.url, key=key, patience=0)
        patch = replace(job(1).patch)
        remote.predict(patch, CLICK)
        with pytest.raises(ModelError, match=r"per minute of this key are used up\. Try again in \d+ s\."):
            remote.predict(patch, CLICK)
    assert explain(Reply(429, {}, b"<html>")) == "The server is busy. Try again in a moment."


@pytest.mark.parametrize(
    ("reason", "final"),
    [("WRONG_VERSION_NUMBER", True), ("RECORD_LAYER_FAILURE", False), ("UNEXPECTED_EOF_WHILE_READING", False)],
)
def test_only_what_stays_as_it_is_is_not_tried_again(reason, final):
    cause = ssl.SSLError(1, f"[SSL: {reason}] as OpenSSL says it")
    cause.reason = reason
    error = requests.exceptions.SSLError(MaxRetryError(None, "/v1/info", urllib3.exceptions.SSLError(cause)))
    assert is_final(error) is final
    assert ("does not encrypt" in in_words(error, "https://gpu")) is (reason != "UNEXPECTED_EOF_WHILE_READING")


@pytest.mark.parametrize(
    ("url", "warned"),
    [("http://gpu.invalid:8443", 1), ("https://gpu.invalid:8443", 0), ("http://127.0.0.2:9", 0), ("http://[::1]:9", 0)],
)
def test_a_connection_that_others_can_read_is_warned_of(url, warned):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ModelError, match="cannot be reached"):
            RemotePredictor(url, key="of-anna", proxies=False, patience=0)
    texts = [str(each.message) for each in seen if each.category is ModelWarning]
    assert len(texts) == warned
    assert all("go there unencrypted" in text and "of-anna" not in text for text in texts)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://127.0.0.1:9x"])
def test_a_proxy_that_is_none_is_said_at_once(monkeypatch, proxy):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    assert all("has no address of one for HTTP (HTTPS_PROXY" in text for text in said("https://gpu.hospital.example"))


def test_a_file_of_certificates_of_the_environment_that_is_none_is_named(tmp_path, monkeypatch):
    (tmp_path / "empty.pem").write_text("nothing")
    with encrypting(tmp_path) as (server, _):
        for name in ("absent.pem", "empty.pem"):
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / name))
            assert all("that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names" in text for text in said(server.url))
