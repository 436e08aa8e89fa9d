"""A proxy that does more than to pass requests on changes no mask."""

import contextlib
import gzip
import http.server
import threading

import numpy as np
import requests

from helpers import ThresholdPredictor, small_volume
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor, diagnose
from servers import serving

CLICK = (60.0, 75.0, 45.0)
OF_ONE_CONNECTION = frozenset({"connection", "content-length", "date", "transfer-encoding", "accept-encoding"})


@contextlib.contextmanager
def compressing(url):
    """A proxy that compresses all answers, asked for or not, and says how long they are then; yields its address."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = requests.request(
                self.command, url + self.path, headers=passed(self.headers), data=body, timeout=30
            )
            packed = gzip.compress(answer.content) if answer.content else b""
            self.send_response(answer.status_code)
            for name, value in passed(answer.headers).items():
                self.send_header(name, value)
            if packed:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)

        def log_message(self, *_):
            pass

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Proxy, f"do_{method}", Proxy.pass_on)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}"
        proxy.shutdown()


def passed(headers):
    return {name: value for name, value in headers.items() if name.lower() not in OF_ONE_CONNECTION}


def test_answers_that_a_proxy_compresses_are_whole():
    with serving(ThresholdPredictor()) as server, compressing(server.url) as url:
        assert diagnose(url)[-1] == "✓ Models: Test model (cpu)"
        sessions = [Session(small_volume(), RemotePredictor(each, patience=0)) for each in (url, server.url)]
        for session in sessions:
            session.click(CLICK)
        assert np.array_equal(sessions[0].mask(), sessions[1].mask())
