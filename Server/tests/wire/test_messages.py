"""Questions and answers survive the way there and back, and what is none is refused."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from sammed3d import Preset, PromptError
from sammed3d.core.geometry import Box
from sammed3d.inference.answers import Fading, KeptLayer
from sammed3d.inference.predictor import Capabilities, PatchBox, PatchClick, PatchPrompts, Prediction
from sammed3d.wire import messages
from sammed3d.wire.arrays import WireError
from sammed3d.wire.messages import ModelInfo, Question, Turn
from sammed3d.wire.prompts import prompts_to_json
from sammed3d.wire.strict_json import JsonError, decode

PRESET = Preset(patch_shape=(16, 16, 16), low_res_shape=(4, 4, 4), boxes=True)
MASK = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 4, 4)
PROMPTS = PatchPrompts(
    [PatchClick((1.0, 2.0, 3.0), True), PatchClick((4.0, 5.0, 6.0), False)],
    PatchBox((0.0, 1.0, 2.0), (8.0, 9.0, 16.0)),
    MASK,
    [PatchClick((7.0, 8.0, 9.0), False)],
)


def test_a_question_survives_with_all_its_prompts():
    sent = Question("default", "a1", PROMPTS, Turn("s-1", 7))
    found = Question.from_bytes(sent.to_bytes(), {"default": PRESET})
    assert (found.model, found.request, found.turn) == ("default", "a1", Turn("s-1", 7))
    assert found.prompts.in_order == PROMPTS.in_order
    assert found.prompts.box == PROMPTS.box
    assert found.prompts.earlier == PROMPTS.earlier
    assert not found.prompts.from_wide
    assert np.array_equal(found.prompts.mask_prompt, MASK)
    assert found.prompts.mask_digest == PROMPTS.mask_digest != PatchPrompts(PROMPTS.clicks).mask_digest


def test_that_an_object_started_from_a_mask_is_told_and_nothing_where_it_did_not():
    for from_mask in (True, False):
        prompts = replace(PROMPTS, from_mask=from_mask)
        assert ("from_mask" in prompts_to_json(prompts)) == from_mask, "an older server would not know the word"
        found = Question.from_bytes(Question("default", "a1", prompts).to_bytes(), {"default": PRESET})
        assert found.prompts.from_mask == from_mask
    message = messages.join({"model": "default", "request": "a", "prompts": {"clicks": [], "from_mask": "yes"}})
    with pytest.raises(WireError, match="started from a mask is true or false"):
        Question.from_bytes(message, {"default": PRESET})


def test_a_wide_patchs_answer_is_told_from_a_mask_prompt():
    for prompts in (replace(PROMPTS, from_wide=True), PatchPrompts(PROMPTS.clicks, from_wide=True)):
        found = Question.from_bytes(Question("default", "a1", prompts).to_bytes(), {"default": PRESET})
        assert found.prompts.from_wide
    assert found.prompts.with_mask(MASK, "0" * 64).from_wide, "of layers, the mask prompt is put in later"
    message = messages.join({"model": "default", "request": "a", "prompts": {"clicks": [], "from_wide": 1}})
    with pytest.raises(WireError, match="true or false"):
        Question.from_bytes(message, {"default": PRESET})


def test_a_question_may_say_which_weights_it_means():
    sent = Question("default", "a1", PROMPTS, weights="1" * 64)
    found = Question.from_bytes(sent.to_bytes(), {"default": PRESET}, {"default": "1" * 64})
    assert found.weights == "1" * 64
    assert found.prompts.mask_prompt is not None
    other = Preset(patch_shape=(8, 8, 8), low_res_shape=(2, 2, 2))  # of which these prompts would make no sense
    replaced = Question.from_bytes(sent.to_bytes(), {"default": other}, {"default": "2" * 64})
    assert (replaced.weights, replaced.prompts.mask_prompt) == ("1" * 64, None)
    message = messages.join({"model": "default", "request": "a", "weights": "newest", "prompts": {"clicks": []}})
    with pytest.raises(WireError, match="SHA-256"):
        Question.from_bytes(message, {"default": PRESET})


def test_a_question_for_the_networks_own_answer_is_told_from_a_users():
    for mask in (None, MASK):
        asked = Question("default", "a1", PatchPrompts(PROMPTS.clicks[:1], mask_prompt=mask, raw=True))
        assert Question.from_bytes(asked.to_bytes(), {"default": PRESET}).prompts.raw
    message = messages.join({"model": "default", "request": "a", "prompts": {"clicks": [[1, 1, 1, True]], "raw": 1}})
    with pytest.raises(WireError, match="true or false"):
        Question.from_bytes(message, {"default": PRESET})


def test_a_mask_prompt_goes_by_its_name_or_comes_along_or_is_made_of_layers():
    named = Question("default", "a1", PatchPrompts(PROMPTS.clicks), mask=PROMPTS.mask_digest)
    found = Question.from_bytes(named.to_bytes(), {"default": PRESET})
    assert found.mask == PROMPTS.mask_digest
    assert found.prompts.mask_prompt is None
    assert found.prompts.with_mask(MASK, found.mask).mask_digest == PROMPTS.mask_digest
    bare = PatchPrompts(PROMPTS.clicks)
    for twice in (
        Question("default", "a1", PROMPTS, mask="0" * 64),
        Question("default", "a1", PROMPTS, layers=()),
        Question("default", "a1", bare, mask="0" * 64, layers=()),
    ):
        with pytest.raises(WireError, match="one of these"):
            Question.from_bytes(twice.to_bytes(), {"default": PRESET})
    for mask in ("0" * 63, "A" * 64, 7, None, ["0" * 64]):
        message = messages.join({"model": "default", "request": "a", "prompts": {"clicks": [], "mask": mask}})
        with pytest.raises(WireError, match="SHA-256"):
            Question.from_bytes(message, {"default": PRESET})


def test_layers_that_a_mask_prompt_is_made_of_survive():
    layers = (
        KeptLayer("0a" * 32, Box((-20, 0, 5), (44, 64, 69)), None),
        KeptLayer("1b" * 32, Box((30, -64, 0), (158, 64, 128)), Fading(((True, False),) * 3, 32)),
    )
    for some in ((), layers[:1], layers):
        message = Question("default", "a1", PatchPrompts(PROMPTS.clicks), layers=some).to_bytes()
        assert Question.from_bytes(message, {"default": Preset()}).layers == some
    assert len(message) < 700
    good = {"logits": "0a" * 32, "begin": [0, 0, 0], "end": [9, 9, 9]}
    assert messages.layers_named({"layers": [good]})
    for lie in (
        7,
        [7],
        [good] * 33,
        [good | {"logits": "0a"}],
        [good | {"begin": [0, 0]}],
        [good | {"begin": [0.5, 0, 0]}],
        [good | {"end": [0, 9, 9]}],
        [good | {"end": [5000, 9, 9]}],
        [good | {"fading": {}}],
    ):
        with pytest.raises(WireError):
            messages.layers_named({"layers": lie})


def test_a_layer_that_is_wider_than_any_patch_is_refused_before_memory_is_taken_for_it():
    for edge, taken in ((2 * PRESET.patch_shape[1], True), (2 * PRESET.patch_shape[1] + 1, False)):
        layer = KeptLayer("0a" * 32, Box((0, -5, 0), (1, edge - 5, 1)), None)
        message = Question("default", "a1", PatchPrompts(PROMPTS.clicks), layers=(layer,)).to_bytes()
        if taken:
            assert Question.from_bytes(message, {"default": PRESET}).layers == (layer,)
            continue
        with pytest.raises(WireError, match="at most 2 times as wide"):
            Question.from_bytes(message, {"default": PRESET})


def test_how_an_answer_will_be_laid_over_others_survives_and_an_older_server_sees_no_wish_for_an_outline():
    fading = Fading(((True, False), (False, False), (True, True)), 16)
    message = Question("default", "a1", PROMPTS, outline=True, fading=fading).to_bytes()
    found = Question.from_bytes(message, {"default": PRESET})
    assert (found.outline, found.fading) == (True, fading)
    assert messages.split(message)[0]["outline"] is not True
    good = {"faces": [[True, False]] * 3, "margin": 16}
    for lie in (
        {},
        good | {"faces": [[True, False]] * 2},
        good | {"faces": [[True, 0]] * 3},
        good | {"faces": "no"},
        good | {"margin": 0},
        good | {"margin": 1e9},
        good | {"margin": True},
    ):
        head = {"model": "default", "request": "a", "prompts": {"clicks": [[1, 1, 1, True]]}, "outline": lie}
        with pytest.raises(WireError, match="fades"):
            Question.from_bytes(messages.join(head), {"default": PRESET})


def test_a_kind_of_prompt_that_is_not_known_is_refused_and_never_lost():
    message = messages.join({"model": "default", "request": "a", "prompts": {"clicks": [], "scribble": [[1, 2, 3]]}})
    with pytest.raises(WireError, match=r"'scribble' are not known here\. Update"):
        Question.from_bytes(message, {"default": PRESET})


def test_a_box_for_a_model_that_knows_none_and_a_mask_of_another_shape_are_refused():
    with pytest.raises(PromptError, match="does not know boxes"):
        PROMPTS.check(Preset(low_res_shape=(4, 4, 4)))
    with pytest.raises(PromptError, match="shape"):
        PROMPTS.check(Preset(boxes=True))
    with pytest.raises(PromptError, match="at least one click"):
        PatchPrompts().check(PRESET)


@pytest.mark.parametrize("score", [None, 0.25])
def test_an_answer_survives(score):
    sent = Prediction(MASK, score, {"decode": 0.5})
    found = messages.answer_from_bytes(messages.answer_to_bytes(sent), (4, 4, 4))
    assert np.array_equal(found.low_res, MASK)
    assert (found.score, found.seconds) == (score, {"decode": 0.5})


@pytest.mark.parametrize(("status", "read"), [(503, 503), ("x", 500), (None, 500), ([], 500), (..., 500)])
def test_a_refusal_says_a_status_or_is_an_error_of_the_server(status, read):
    refused = {"status": status, "detail": "Come back later."}
    message = messages.join({"refused": {k: v for k, v in refused.items() if v is not ...}})
    with pytest.raises(messages.RefusalError, match="Come back later") as refusal:
        messages.answer_from_bytes(message, (4, 4, 4))
    assert refusal.value.status == read


def test_candidates_survive_and_are_no_more_than_may_be():
    several = tuple(Prediction(MASK[..., :1] + n, 0.5 - n) for n in range(3))
    sent = Prediction(several[0].low_res, 0.5, {"decode": 0.5}, candidates=several)
    message = messages.answer_to_bytes(sent)
    found = messages.answer_from_bytes(message, (4, 4, 1))
    assert np.array_equal(found.low_res, sent.low_res)
    assert [each.score for each in found.candidates] == [0.5, -0.5, -1.5]
    assert all(np.array_equal(a.low_res, b.low_res) for a, b in zip(found.candidates, several, strict=True))
    head, body = messages.split(message)
    for scores in ([], "abc", [0.5, "b", 0.5], [True] * 3, [0.5] * 2, [0.5] * 17, {"a": 1}):
        with pytest.raises(WireError):
            messages.answer_from_bytes(messages.join(head | {"candidates": scores}, bytes(body)), (4, 4, 1))


def test_what_a_server_says_of_a_model_survives_and_may_grow():
    sent = ModelInfo("m", "M", "0" * 64, "MIT", PRESET, Capabilities(True, False, True), "cuda:0")
    plain = json.loads(json.dumps(sent.to_json()))
    plain["capabilities"]["telepathy"] = True
    assert ModelInfo.from_json(plain) == sent
    for broken in ({}, plain | {"preset": {"spacing": "wide"}}, plain | {"capabilities": []}, None):
        with pytest.raises(WireError, match="Update the older"):
            ModelInfo.from_json(broken)


LIES = {
    "a number of 5,000 digits": b'{"turn": ' + b"9" * 5000 + b"}",
    "a negative number of 19 digits": b'{"turn": -' + b"9" * 19 + b"}",
    "infinity": b'{"turn": Infinity}',
    "a number that overflows": b'{"turn": 1e999}',
    "not UTF-8": b'{"turn": "\xff"}',
    "half of a surrogate pair": b'{"turn": "\\ud800"}',
    "nested 17 times": b'{"turn": ' + b"[" * 17 + b"]" * 17 + b"}",
    "nested 100,000 times": b"[" * 100_000,
    "no JSON": b"{",
    "too long": b'"' + b"a" * (1 << 20) + b'"',
}


@pytest.mark.parametrize("name", LIES)
def test_json_that_would_break_something_is_refused(name):
    with pytest.raises(JsonError):
        decode(LIES[name])
    with pytest.raises(WireError):
        messages.split(struct.pack("<I", len(LIES[name])) + LIES[name])


def test_other_json_is_taken():
    text = b'{"a": [1, -2.5, true, null, "\xc3\xa4", "\\ud83d\\ude00", 999999999999999999]}'
    assert decode(text) == {"a": [1, -2.5, True, None, "ä", "\U0001f600", 999999999999999999]}
