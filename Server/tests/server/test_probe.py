"""Whether a server lives, asked by its settings: with and without TLS, whatever its port."""

import os
import subprocess
import sys

import pytest
import trustme

from helpers import ThresholdPredictor
from ports import unused_port
from sammed3d.errors import ModelError
from sammed3d.inference.preset import Preset
from sammed3d.server.probe import probe
from sammed3d.server.settings import read_settings
from servers import serving

PRESET = Preset(patch_shape=(16, 16, 16), low_res_shape=(4, 4, 4))


def settings_of(server, **more):
    return read_settings(None, port=int(server.url.rpartition(":")[2]), **more)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - all of this computer
def test_a_server_that_lives_answers(host):
    with serving(ThresholdPredictor(preset=PRESET)) as server:
        probe(settings_of(server, host=host))


def test_one_with_a_certificate_of_another_name_does_too(tmp_path):
    certificate = str(tmp_path / "server.pem")
    trustme.CA().issue_cert("gpu.hospital.example").private_key_and_cert_chain_pem.write_to_path(certificate)
    with serving(ThresholdPredictor(preset=PRESET), tls=(certificate, None)) as server:
        probe(settings_of(server, tls_cert=certificate, tls_key=certificate))
        with pytest.raises(ModelError, match=r"No server answers"):
            probe(settings_of(server))


def test_where_nothing_listens_is_no_server():
    with pytest.raises(ModelError, match=r"No server answers at port \d+ of 127\.0\.0\.1"):
        probe(read_settings(None, port=int(unused_port())))
    with pytest.raises(ModelError, match=r"port 0 chose one itself"):
        probe(read_settings(None, port=0))


@pytest.mark.slow
def test_the_command_finds_the_file_of_settings_in_the_environment(tmp_path):
    def ask():
        command = [sys.executable, "-m", "sammed3d", "serve", "--probe"]
        environment = {**os.environ, "SAMMED3D_CONFIG": str(tmp_path / "serve.toml")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    with serving(ThresholdPredictor(preset=PRESET)) as server:
        (tmp_path / "serve.toml").write_text(f"port = {settings_of(server).port}")
        assert ask().returncode == 0
    done = ask()
    assert done.returncode == 1
    assert "No server answers" in done.stderr
