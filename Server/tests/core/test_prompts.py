import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sammed3d.core import prompts
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.errors import PromptError

ONE_CLICK = '{"format": "sammed3d-prompts", "version": 1, "objects": [{"name": "a", "clicks": [%s]}]}'
coordinates = st.tuples(*[st.floats(-1e4, 1e4)] * 3)
clicks = st.builds(Click, coordinates, st.booleans())
objects = st.lists(
    st.builds(ObjectPrompts, st.text(min_size=1), st.lists(clicks).map(tuple), st.none() | st.just("ab" * 32))
)


@given(objects)
def test_json_round_trips_exactly(given_objects):
    assert prompts.loads(prompts.dumps(given_objects)) == tuple(given_objects)


@given(st.lists(clicks, min_size=1))
def test_slicer_markups_round_trip(given_clicks):
    [read] = prompts.loads(prompts.markups_json(given_clicks))
    assert read.clicks == tuple(given_clicks)


def test_markups_as_slicer_writes_them():
    """LPS by default, undefined points skipped, polarity from the description or the label, other markups skipped."""
    text = json.dumps(
        {
            "markups": [
                {"type": "Plane", "controlPoints": []},
                {
                    "type": "Fiducial",
                    "coordinateSystem": "LPS",
                    "controlPoints": [
                        {"label": "F-1", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"},
                        {"label": "N-2", "position": [4.0, 5.0, 6.0], "positionStatus": "defined"},
                        {"label": "F-3", "description": "negative", "position": [7.0, 8.0, 9.0]},
                        {"label": "F-4", "position": [], "positionStatus": "undefined"},
                    ],
                },
                {
                    "type": "Fiducial",
                    "coordinateSystem": "RAS",
                    "name": "B",
                    "controlPoints": [{"position": [1, 2, 3]}],
                },
            ]
        }
    )
    first, second = prompts.loads(text)
    assert first.clicks == (Click((-1, -2, 3)), Click((-4, -5, 6), False), Click((-7, -8, 9), False))
    assert (second.name, second.clicks) == ("B", (Click((1, 2, 3)),))


@pytest.mark.parametrize("world", [(1, 2), (1, 2, 3, 4), "abc", (1, 2, float("nan")), (1, 2, None), 5])
def test_malformed_clicks_are_refused(world):
    with pytest.raises(PromptError, match="A click needs"):
        Click(world)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "found a JSON list"),
        ("{}", "neither sammed3d-prompts"),
        ('{"format": "sammed3d-prompts", "version": 99}', "version 99 is not known; update"),
        ('{"format": "sammed3d-prompts", "version": 1}', "incomplete or malformed"),
        (ONE_CLICK % '{"world": [1, 2, 3], "positive": 1}', "true or false"),
        (ONE_CLICK % '{"world": [1, 2], "positive": true}', "three coordinates"),
        ('{"markups": []}', "no point list"),
        ('{"markups": [{"type": "Fiducial", "controlPoints": [{}]}]}', "malformed"),
    ],
)  # fmt: skip
def test_malformed_files_are_named(text, message):
    with pytest.raises(PromptError, match=message):
        prompts.loads(text, "clicks.json")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(PromptError, match=r"nothing\.json"):
        prompts.read(tmp_path / "nothing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match=r"binary\.json"):
        prompts.read(tmp_path / "binary.json")
