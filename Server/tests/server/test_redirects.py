"""Redirects from a path to the same with a slash, which a proxy passes on as they are."""

from urllib.parse import urljoin

import pytest
import requests

from helpers import ThresholdPredictor
from sammed3d.server.app import Facades
from servers import serving
from workers import SMALL


@pytest.fixture(scope="module")
def server():
    with serving(ThresholdPredictor(preset=SMALL), facades=Facades(monailabel=True)) as server:
        yield server


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("/info", "/info/"),
        ("/datastore?output=all", "/datastore/?output=all"),
        ("/v1/info/", "/v1/info"),
        ("/model/a%20b:c/", "/model/a%20b:c"),
    ],
)
def test_a_redirect_leads_to_where_the_client_asked_whatever_stands_between(server, asked, led_to):
    answer = requests.get(server.url + asked, allow_redirects=False, timeout=5)
    assert answer.status_code == 307
    for proxy in ("https://gpu.hospital.example", "https://hospital.example/segment"):
        assert urljoin(proxy + asked, answer.headers["Location"]) == proxy + led_to


def test_what_is_led_on_is_answered(server):
    answer = requests.get(server.url + "/info", timeout=5)
    assert answer.url == server.url + "/info/"
    assert answer.json()["models"]
