import copy
import errno
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sammed3d.core import markups, prompt_files
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts, Translation
from sammed3d.errors import PromptError

ONE_CLICK = '{"format": "sammed3d-prompts", "version": 1, "objects": [{"name": "a", "clicks": [%s]}]}'
THREE = (
    '{"format": "sammed3d-prompts", "version": 3, "objects": [{"name": "a", "clicks": [], "honour": true, '
    '"translations": [], "drawings": [%s]}]}'
)
DRAWN = '{"kind": "%s", "points": %s, "positive": true, "painted": false, "after": 0}'
coordinates = st.tuples(*[st.floats(-1e4, 1e4)] * 3)
clicks = st.builds(Click, coordinates, st.booleans())
places = st.integers(0, 9)
scribbles = st.builds(
    Scribble, st.lists(coordinates, min_size=1).map(tuple), st.booleans(), st.booleans(), after=places
)
circles = st.builds(
    lambda centre, radius, *rest: Lasso(
        tuple(np.add(centre, [(radius * np.cos(t), radius * np.sin(t), 0) for t in range(6)])), *rest
    ),
    coordinates, st.floats(1, 100), st.booleans(), st.booleans(), places,
)  # fmt: skip
translations = st.builds(
    Translation, st.just("box"), st.text(), st.lists(clicks).map(tuple), st.booleans(), st.floats(0, 1)
)
objects = st.lists(
    st.builds(
        ObjectPrompts,
        st.text(min_size=1),
        st.lists(clicks).map(tuple),
        st.none() | st.just("ab" * 32),
        st.none() | st.builds(BoxPrompt, coordinates, coordinates),
        st.lists(scribbles | circles, max_size=3).map(tuple),
        st.booleans(),
        st.lists(translations, max_size=2).map(tuple),
    ),
    max_size=4,
)


@given(objects)
@pytest.mark.slow
def test_json_round_trips_exactly(given_objects):
    assert prompt_files.loads(prompt_files.dumps(given_objects)) == tuple(given_objects)


@given(st.lists(clicks, min_size=1))
def test_slicer_markups_round_trip(given_clicks):
    [read] = prompt_files.loads(markups.clicks_json(given_clicks))
    assert read.clicks == tuple(given_clicks)


@pytest.mark.parametrize(
    ("given_object", "version"),
    [
        (ObjectPrompts("a", (Click((1, 2, 3)),)), 1),
        (ObjectPrompts("a", (), box=BoxPrompt((0, 0, 0), (1, 1, 1))), 2),
        (ObjectPrompts("a", (), drawings=(Scribble(((1, 2, 3),)),)), 3),
        (ObjectPrompts("a", (Click((1, 2, 3)),), honour=False), 3),
    ],
)
def test_files_are_written_in_the_oldest_version_that_holds_what_there_is(given_object, version):
    text = prompt_files.dumps([given_object])
    assert json.loads(text)["version"] == version
    assert ("drawings" in text) == (version == 3)
    assert prompt_files.loads(text) == (given_object,)


@pytest.mark.parametrize("positive", [True, False])
def test_drawings_round_trip_as_slicer_curves(positive):
    scribble = Scribble(((1, 2, 3), (4, 5, 6)), positive)
    lasso = Lasso(((0, 0, 5), (10, 0, 5), (10, 20, 5)), positive)
    for drawing in (scribble, lasso):
        [read] = prompt_files.loads(markups.drawing_json(drawing))
        assert read.drawings == (drawing,)


def test_a_slicer_roi_is_a_box_and_markups_of_one_name_are_one_object():
    """LPS becomes RAS; a ROI that is turned by 90 degrees about S swaps its edges."""
    roi = {
        "type": "ROI", "name": "liver", "coordinateSystem": "LPS", "center": [10, 20, 30], "size": [2, 4, 6],
        "orientation": [0, -1, 0, 1, 0, 0, 0, 0, 1],
    }  # fmt: skip
    curve = {
        "type": "Curve", "name": "liver", "coordinateSystem": "RAS",
        "controlPoints": [{"position": [1, 2, 3], "label": "N-1"}, {"position": [1, 2, 9]}],
    }  # fmt: skip
    other = {
        "type": "Fiducial",
        "name": "spleen",
        "coordinateSystem": "RAS",
        "controlPoints": [{"position": [1, 1, 1]}],
    }
    liver, spleen = prompt_files.loads(json.dumps({"markups": [roi, other, curve]}))
    assert liver.name == "liver"
    assert np.allclose(liver.box.begin, (-12, -21, 27))
    assert np.allclose(liver.box.end, (-8, -19, 33))
    assert liver.drawings == (Scribble(((1, 2, 3), (1, 2, 9)), positive=False),)
    assert spleen.clicks == (Click((1, 1, 1)),)


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
    first, second = prompt_files.loads(text)
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
        (THREE % '{"kind": "loop", "points": [], "positive": true, "painted": false, "after": 0}', "not 'loop'"),
        (THREE % (DRAWN % ("lasso", "[[0, 0, 0], [1, 1, 1]]")), "at least 3 points, not 2"),
        (THREE % (DRAWN % ("lasso", "[[0, 0, 0], [1, 1, 1], [2, 2, 2]]")), "on one line"),
        (THREE % (DRAWN % ("lasso", "[[0, 0, 0], [9, 0, 9], [9, 9, 0], [0, 9, 9]]")), "not lie on one plane"),
        (THREE % (DRAWN % ("scribble", "[]")), "at least 1 point, not 0"),
        (THREE % (DRAWN % ("scribble", "[[1, 2]]")), "three coordinates"),
        (THREE % (DRAWN % ("scribble", "[[1, 2, NaN]]")), "finite"),
        (THREE % (DRAWN % ("scribble", "[[1, 2, 3], [1, 2]]")), "three coordinates"),
        (THREE % '7', "incomplete or malformed"),
        ('{"format": "sammed3d-prompts", "version": 9, "objects": []}', "version 9 is not known; update"),
        ('{"markups": []}', "no point list"),
        ('{"markups": [{"type": "ROI", "center": [0, 0, 0], "size": [0, 1, 1]}]}', "has no size"),
        ('{"markups": [{"type": "ROI", "center": [0, 0], "size": [1, 1, 1]}]}', "three numbers"),
        ('{"markups": [{"type": "ClosedCurve", "controlPoints": [{"position": [0, 0, 0]}]}]}', "at least 3 points"),
        ('{"markups": [{"type": "Fiducial", "controlPoints": [{}]}]}', "malformed"),
    ],
)  # fmt: skip
def test_malformed_files_are_named(text, message):
    with pytest.raises(PromptError, match=message):
        prompt_files.loads(text, "clicks.json")


@pytest.mark.parametrize(("key", "said"), [("coordinate_system", "LPS"), ("units", "cm"), ("units", None)])
def test_files_in_other_coordinates_are_refused(key, said):
    data = json.loads(prompt_files.dumps([ObjectPrompts("a", (Click((1, 2, 3)),))]))
    with pytest.raises(
        PromptError, match=rf"clicks\.json: its '{key}' is {said!r}. Convert its coordinates to RAS in mm"
    ):
        prompt_files.loads(json.dumps({**data, key: said}), "clicks.json")
    del data["coordinate_system"], data["units"]
    assert prompt_files.loads(json.dumps(data)) == (ObjectPrompts("a", (Click((1, 2, 3)),)),)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(PromptError, match=r"nothing\.json"):
        prompt_files.read(tmp_path / "nothing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match=r"binary\.json"):
        prompt_files.read(tmp_path / "binary.json")


def test_a_file_that_cannot_be_written_again_stays_as_it_was(tmp_path, monkeypatch):
    path, write = tmp_path / "prompts.json", Path.write_text
    prompt_files.write(path, [ObjectPrompts("liver", (Click((1, 2, 3)),))])
    before = path.read_bytes()

    def full(self, text, **options):
        write(self, text[:20], **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PromptError, match="free space"):
        prompt_files.write(path, [ObjectPrompts("spleen", ())])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_mark_of_the_encoding_in_front_is_no_content(tmp_path):
    liver = (ObjectPrompts("liver", (Click((1, 2, 3)),)),)
    (tmp_path / "p.json").write_text(prompt_files.dumps(liver), encoding="utf-8-sig")
    assert prompt_files.read(tmp_path / "p.json") == liver


HUGE = "1" + "0" * 400
BEYOND_MEASURE = {
    "nesting": ("[" * 100_000, "not JSON"),
    "digits": ("1" + "0" * 10_000, "not JSON"),
    "a click": (
        '{"format": "sammed3d-prompts", "version": 1, "objects": '
        '[{"name": "a", "clicks": [{"positive": true, "world": [0, 0, ' + HUGE + "]}]}]}",
        "three coordinates",
    ),
    "a scribble": (
        '{"format": "sammed3d-prompts", "version": 3, "objects": [{"name": "a", "clicks": [], "drawings": [{"kind": '
        '"scribble", "positive": true, "painted": false, "after": 0, "points": [[0, 0, ' + HUGE + "]]}]}]}",
        "three coordinates",
    ),
    "a point": (
        '{"markups": [{"type": "Fiducial", "controlPoints": [{"position": [0, 0, ' + HUGE + "]}]}]}",
        "malformed",
    ),
    "a share": (
        '{"format": "sammed3d-prompts", "version": 3, "objects": [{"name": "a", "clicks": [], "translations": '
        '[{"prompt": "box", "model": "m", "clicks": [], "mask_prompt": false, "missed": ' + HUGE + "}]}]}",
        "from 0 to 1",
    ),
}


@pytest.mark.parametrize("what", BEYOND_MEASURE)
def test_files_beyond_measure_are_named(what):
    text, message = BEYOND_MEASURE[what]
    with pytest.raises(PromptError, match=rf"clicks\.json: .*{message}"):
        prompt_files.loads(text, "clicks.json")


WHOLE = json.loads(
    prompt_files.dumps(
        [
            ObjectPrompts(
                "liver",
                (Click((1, 2, 3)), Click((1, 2, 4), False, 3)),
                "ab" * 32,
                BoxPrompt((0, 0, 0), (9, 9, 9)),
                (Scribble(((0, 0, 0), (1, 1, 1))), Lasso(((0, 0, 0), (9, 0, 0), (0, 9, 0)))),
                False,
                (Translation("box", "m", (Click((1, 2, 3)),), True, 0.5),),
            )
        ]
    )
)
ANYTHING = (
    *(None, True, False, 0, -1, 0.5, 1e308, math.nan, math.inf, 10**30, 10**400),
    *("", "true", "1", "nan", "\ud800", "a\0b", [], [1], [1, 2, 3], [[1, 2, 3]], {}, {"a": 1}),
)


def places_in(data, path=()):
    yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places_in(value, (*path, key))


@pytest.mark.parametrize("path", list(places_in(WHOLE)), ids=lambda path: "-".join(map(str, path)) or "all")
def test_whatever_a_file_holds_it_is_refused_or_read_as_what_it_says(path):
    for value in (*ANYTHING, places_in):  # the last one: nothing at all
        changed = {"": copy.deepcopy(WHOLE)}
        holder, keys = changed, ("", *path)
        for key in keys[:-1]:
            holder = holder[key]
        if value is places_in:
            del holder[keys[-1]]
        else:
            holder[keys[-1]] = value
        try:
            read = prompt_files.loads(json.dumps(changed.get("")), "clicks.json")
        except PromptError:
            continue
        assert prompt_files.loads(prompt_files.dumps(read)) == read


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("name", None, "'name' must be text, not None"),
        ("initial_mask", 5, "'initial_mask' must be text, not 5"),
        ("clicks", {}, "'clicks' must be a list, not {}"),
        ("clicks", [{"world": "123", "positive": True}], "'world' must be a list, not '123'"),
        ("clicks", [{"world": [True, 2, 3], "positive": True}], "'world' must be a number, not True"),
        ("honour", "false", "'honour' must be true or false, not 'false'"),
        ("translations", [{**WHOLE["objects"][0]["translations"][0], "mask_prompt": "false"}], "must be true or false"),
        ("translations", [{**WHOLE["objects"][0]["translations"][0], "missed": math.nan}], "'missed' is a share"),
    ],
)
def test_what_looks_like_another_kind_is_not_taken_for_it(entry, value, message):
    changed = WHOLE | {"objects": [WHOLE["objects"][0] | {entry: value}]}
    with pytest.raises(PromptError, match=re.escape(message)):
        prompt_files.loads(json.dumps(changed))
