"""The configuration of nginx in docs/server.md, with a real one before the server."""

import contextlib
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import trustme

from helpers import ThresholdPredictor
from nginx import PROGRAM, filled_in, running_nginx, write_certificate
from ports import unused_port
from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.predictors import transport
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.server.compute.worker_process import patch_of
from sammed3d.wire import messages
from servers import serving
from workers import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")]
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "server.md"
CLICK = PatchPrompts([PatchClick((1.0, 2.0, 3.0), True)])


def documented(changes):
    """The configuration as it is printed, with what is of this machine in it."""
    [text] = re.findall(r"```nginx\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
    return filled_in(text, changes, "docs/server.md")


@contextlib.contextmanager
def nginx(folder, url, without=()):
    """Run nginx as it is documented, meanwhile, or without some lines; gives its address and its authority's file."""
    port, authority = unused_port(), trustme.CA()
    write_certificate(authority, "localhost", folder)
    authority.cert_pem.write_to_path(folder / "authority")
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "gpu.hospital.example": "localhost",
        "/etc/ssl/hospital.pem": str(folder / "pem"),
        "/etc/ssl/private/hospital.key": str(folder / "key"),
        "http://10.0.0.5:8443": url,
    }
    with running_nginx(folder, documented(changes | dict.fromkeys(without, "")), port):
        yield f"https://localhost:{port}", str(folder / "authority")


@pytest.mark.parametrize("without", [(), ("proxy_buffering off;", "proxy_http_version 1.1;")])
def test_a_prediction_that_takes_longer_than_clients_wait_in_silence(tmp_path, monkeypatch, without):
    monkeypatch.setattr(messages, "SIGN_SECONDS", 0.1)
    monkeypatch.setattr(transport, "TIMEOUTS", (5.0, 1.0))
    fake = ThresholdPredictor(preset=SMALL)
    voxels = np.random.default_rng(0).standard_normal(SMALL.patch_shape).astype(np.float32)
    patch = patch_of(voxels, hashlib.sha256(voxels.data).hexdigest())
    with serving(fake) as server, nginx(tmp_path, server.url, without) as (url, authority):
        remote = RemotePredictor(url, verify=authority, patience=5.0)
        fake.close_for(2.5)
        answer = remote.predict(patch, CLICK)
    assert not fake.cancelled.is_set(), "nobody lost patience"
    assert np.array_equal(answer.low_res, ThresholdPredictor(preset=SMALL).predict(patch, CLICK).low_res)
