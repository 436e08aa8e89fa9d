"""The container file: what can be checked where no engine is there to build it."""

import json
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def steps():
    with (ROOT / "Server" / "Dockerfile").open("rb") as file:
        return [(step["instruction"], step["value"]) for step in DockerfileParser(fileobj=file).structure]


def values(steps, instruction):
    return [value for name, value in steps if name == instruction]


def test_it_is_built_of_known_instructions_on_named_versions(steps):
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD", "COMMENT"}
    assert {name for name, _ in steps} <= known
    for image in values(steps, "FROM"):
        tag = image.split()[0].partition(":")[2]
        assert tag
        assert tag != "latest"
    assert "--constraint constraints.txt" in " ".join(values(steps, "RUN"))


def test_it_does_not_run_as_root_and_starts_without_a_shell(steps):
    assert values(steps, "USER")[-1] == "10001:10001"
    last_change = max(n for n, (name, _) in enumerate(steps) if name in ("RUN", "COPY"))
    assert next(n for n, (name, _) in enumerate(steps) if name == "USER") > last_change, "nothing is changed afterwards"
    assert json.loads(values(steps, "ENTRYPOINT")[0]) == ["sammed3d"]
    assert json.loads(values(steps, "CMD")[-1]) == ["serve"]


def test_its_health_check_knows_the_port_that_the_settings_name(steps):
    """It runs in the container's environment, where a port and a certificate may be set."""
    check = values(steps, "HEALTHCHECK")[0]
    assert json.loads(check[check.index("CMD") + 3 :]) == ["sammed3d", "serve", "--probe"]
    assert "8443" not in check


def test_models_can_be_downloaded_into_a_new_volume(steps):
    """A volume takes over who owns the folder that it is mounted on; where there is none it is root's."""
    settings = dict(word.split("=", 1) for value in values(steps, "ENV") for word in value.split())
    [made] = [value for value in values(steps, "RUN") if "useradd" in value]
    assert f"install --directory --owner 10001 --group 10001 {settings['SAMMED3D_MODELS']}" in made


def test_what_it_copies_is_there_and_let_through(steps):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for value in values(steps, "COPY"):
        if not value.startswith("--from"):
            *sources, _target = value.split()
            for source in sources:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored


def test_it_holds_no_secrets(steps):
    for name, value in steps:
        if name in ("ENV", "COPY", "RUN"):
            assert not any(word in value.lower() for word in ("password", "token", "secret", "keys.json"))
