"""Mask prompts go to a server once, and by their digest from then on; masks are those of this process."""

import numpy as np
import pytest
import requests

from helpers import long_volume
from rough import PLACES, PRESET, RoughPredictor, drawn_mask, pair
from sammed3d.core.geometry import Box
from sammed3d.errors import ModelError
from sammed3d.inference.answers import KeptAnswer, KeptLayer
from sammed3d.inference.predictor import PatchClick, PatchPrompts, digest_of
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.server.compute.engine import MASKS, Engine
from sammed3d.server.http.guard import ANYBODY
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.wire import messages
from sammed3d.wire.messages import Question
from servers import serving

WHOLE = 4 * 32**3
"""Bytes of logits."""


@pytest.fixture
def served():
    with serving(RoughPredictor()) as server:
        yield server


class Sent(list):
    """Bytes of the questions that were asked, in order, and the status of each."""

    def __init__(self):
        super().__init__()
        self.status = []


@pytest.fixture
def sent(monkeypatch):
    found, request = Sent(), requests.Session.request

    def counted(session, method, url, **options):
        response = request(session, method, url, **options)
        if method == "POST":
            found.append(len(options["data"]))
            found.status.append(response.status_code)
        return response

    monkeypatch.setattr(requests.Session, "request", counted)
    return found


def click(sessions, *place):
    """Click in the same place of both; the masks have to be equal, bit for bit."""
    for session in sessions:
        session.click(*place)
    here, there = (session.mask() for session in sessions)
    assert here.any()
    assert np.array_equal(here, there)


def test_clicks_in_a_further_patch_send_no_mask_prompt(served, sent):
    both = pair(served)
    click(both, PLACES[0])
    for offset in (0, 6, 12, -9):
        click(both, tuple(np.add(PLACES[2], offset)), offset < 10)
    click(both, PLACES[3])
    assert len(sent) == 6
    assert max(sent) < 1000
    assert set(sent.status) == {200}


def test_of_answers_that_are_kept_a_server_makes_the_mask_prompt_that_this_process_makes():
    predictor, asked = RoughPredictor(), []
    predictor.before = lambda patch, prompts: asked.append(prompts.mask_prompt)
    with serving(predictor) as server:
        there = Session(long_volume(), RemotePredictor(server.url))
        for place in PLACES:
            there.click(place)
    theirs, asked[:] = list(asked), []
    here = Session(long_volume(), predictor)
    for place in PLACES:
        here.click(place)
    assert len(asked) == len(theirs) == len(PLACES)
    for mine, other in zip(asked[1:], theirs[1:], strict=True):
        assert np.array_equal(mine, other)


def click_where_wide_patches_are_looked_at(predictor, server):
    """Click in four places; returns the questions of the session in this process and those that the server answered."""
    here, there = pair(server, looks_wide=True)
    click((here, there), PLACES[0])
    asked = len(predictor.calls)
    for place in PLACES[1:4]:
        click((here, there), place)
    for _ in range(3):
        here.undo()
        there.undo()
        assert here.mask().any()
        assert np.array_equal(here.mask(), there.mask())
    own = here.inferer.predictor.calls
    assert [call.window.shape[0] for call in own] == [120, 64, 64, 64, 64]
    assert [call.from_wide for call in own] == [False, True, True, False, False]
    return predictor.calls[:asked]


def test_the_answer_in_a_wide_patch_stays_where_it_was_given(sent):
    predictor = RoughPredictor(looks_wide=True)
    with serving(predictor) as server:
        wide, near = click_where_wide_patches_are_looked_at(predictor, server)
    assert not wide.mask_prompt.any()
    assert near.from_wide
    assert max(sent) < 1000
    assert len(sent) == 5
    assert set(sent.status) == {200}


def test_the_answer_in_a_wide_patch_is_asked_for_where_it_is_not_kept(sent, monkeypatch):
    monkeypatch.setattr(RemotePredictor, "predict_over", lambda *_: None)
    predictor = RoughPredictor(looks_wide=True)
    with serving(predictor) as server:
        wide, again, near = click_where_wide_patches_are_looked_at(predictor, server)
    assert wide.clicks == again.clicks
    assert near.from_wide
    assert set(sent.status) == {200}


@pytest.fixture
def sent_along(monkeypatch):
    """As with a server that keeps no answers: further patches are sent what is there as a mask prompt."""
    monkeypatch.setattr(RemotePredictor, "predict_over", lambda *_: None)


def test_further_clicks_in_a_further_patch_send_no_mask_prompt_again(served, sent, sent_along):
    both = pair(served)
    click(both, PLACES[0])
    click(both, PLACES[2])
    assert sent[-1] > WHOLE / 6
    before = len(sent)
    for offset in (6, 12, -9):
        click(both, tuple(np.add(PLACES[2], offset)), offset < 10)
    assert len(sent) == before + 3
    assert max(sent[before:]) < 1000
    assert set(sent.status) == {200}


def test_a_server_that_forgot_an_answer_is_sent_the_mask_prompt(served, sent):
    both = pair(served)
    click(both, PLACES[0])
    forget_masks(served)
    click(both, PLACES[2])
    assert sent.status == [200, 404, 200, 200], "the layer is missing; it is asked for, whole, and sent as mask prompt"
    assert sent[-1] > WHOLE / 6
    click(both, tuple(np.add(PLACES[2], 6)))
    assert sent.status[4:] == [200], "not asked again for what is gone"
    click(both, PLACES[3])
    assert sent[-1] < 1000


def forget_masks(served):
    """Let other objects take the room."""
    room = served.engine.metrics.registry.get_sample_value("sammed3d_cache_limit_bytes", {"cache": "masks"})
    for n in range(int(room) // WHOLE + 1):
        served.engine.keep_mask(ANYBODY, f"{n:064x}", np.zeros(PRESET.low_res_shape, np.float32))


def test_a_mask_drawn_by_hand_travels_once_and_in_few_bytes(served, sent):
    both = pair(served)
    for session in both:
        session.start_from(drawn_mask())
    click(both, PLACES[0])
    assert sent[-1] < WHOLE / 8
    for offset in (6, 12):
        click(both, tuple(np.add(PLACES[0], offset)))
        assert sent[-1] < 1000


def test_a_server_that_forgot_it_is_sent_it_again(served, sent, sent_along):
    both = pair(served)
    click(both, PLACES[0])
    click(both, PLACES[2])
    served.stop()
    served.start()
    click(both, tuple(np.add(PLACES[2], 6)))
    assert sent.status[-3:] == [404, 404, 200], "first the patch is missing, then the mask prompt"
    assert max(sent[-3:-1]) < 1000
    assert sent[-1] > WHOLE / 6
    click(both, tuple(np.add(PLACES[2], 12)))
    assert sent[-1] < 1000


def test_only_the_mask_prompt_was_forgotten(served, sent, sent_along):
    both = pair(served)
    click(both, PLACES[0])
    click(both, PLACES[2])
    forget_masks(served)
    click(both, tuple(np.add(PLACES[2], 6)))
    assert sent.status[-2:] == [404, 200]
    assert sent[-2] < 1000 < WHOLE / 6 < sent[-1]


def test_replicas_that_share_no_memory_are_each_sent_it_once(served, sent, sent_along, monkeypatch):
    both = pair(served)
    click(both, PLACES[0])
    click(both, PLACES[2])
    with serving(RoughPredictor()) as other:
        counted, now = requests.Session.request, [other.url]

        def routed(session, method, url, **options):
            return counted(session, method, url.replace(served.url, now[0]), **options)

        monkeypatch.setattr(requests.Session, "request", routed)
        sizes = []
        for n in range(6):
            now[0] = (other, served)[n % 2].url
            click(both, tuple(np.add(PLACES[2], 4 * n - 10)))
            sizes.append(sent[-1])
    assert sizes[0] > WHOLE / 6
    assert max(sizes[1:]) < 1000
    assert sent.status.count(404) == 2, "the patch, then the mask prompt"
    assert sum(size > 1000 for size in sent) == 2


def test_a_server_that_keeps_no_masks_is_sent_them_each_time(served, sent, monkeypatch):
    told = messages.info_to_json

    def older(*arguments):
        return {name: value for name, value in told(*arguments).items() if not name.startswith("keeps_")}

    monkeypatch.setattr("sammed3d.server.http.native.messages.info_to_json", older)
    both = pair(served)
    for place in (PLACES[0], PLACES[2], tuple(np.add(PLACES[2], 6))):
        click(both, place)
    assert min(sent[-2:]) > WHOLE / 6


def test_a_server_that_an_older_one_replaces_is_asked_in_its_words(served, sent, monkeypatch):
    both = pair(served)
    click(both, PLACES[0])
    click(both, PLACES[2])
    monkeypatch.setattr("sammed3d.wire.prompts._KINDS", frozenset({"clicks", "box", "earlier"}))
    click(both, tuple(np.add(PLACES[2], 6)))
    assert sent.status[-3:] == [422, 200, 200]
    for offset, status in ((12, [422, 200]), (9, [200, 200])):
        click(both, tuple(np.add(PLACES[2], offset)))
        assert sent.status[-2:] == status, "one word after the other is found to be unknown"


def test_an_answer_is_a_mask_prompt_that_the_server_has(served, sent):
    session = Session(long_volume(), RoughPredictor())
    patch = session.inferer.inner.patch(Box((0, 0, 0), PRESET.patch_shape))
    remote = RemotePredictor(served.url)
    clicks = [PatchClick((30.0, 30.0, 20.0), True), PatchClick((10.0, 20.0, 40.0), True)]
    answers = remote.predict_each(patch, clicks, passes=3)
    assert len(sent) == 6
    assert max(sent) < 1000
    for asked, answer in zip(clicks, answers, strict=True):
        low_res = None
        for _ in range(3):
            low_res = RoughPredictor().predict(patch, PatchPrompts([asked], mask_prompt=low_res)).low_res
        assert np.array_equal(answer, low_res)


def test_nobody_sees_the_mask_prompt_of_another_key(tmp_path):
    file = tmp_path / "keys.json"
    keys = {name: add_key(file, name) for name in ("anna", "ben")}
    predictor, asked = RoughPredictor(), []
    predictor.before = lambda patch, prompts: asked.append((patch, prompts))
    with serving(predictor, Keys.read(file)) as server:
        session = Session(long_volume(), RemotePredictor(server.url, key=keys["anna"]))
        session.start_from(drawn_mask())
        session.click(PLACES[0])
        ((patch, prompts),) = asked
        server.engine.put_patch("ben", patch.digest, patch.voxels)
        body = Question("default", "r1", PatchPrompts(prompts.clicks), mask=prompts.mask_digest).to_bytes()
        url = server.url + messages.PREDICTIONS.format(digest=patch.digest)
        for name, status in (("anna", 200), ("ben", 404)):
            headers = {"Authorization": f"Bearer {keys[name]}", messages.PROTOCOL_HEADER: str(messages.PROTOCOL)}
            assert requests.post(url, data=body, headers=headers, timeout=10).status_code == status
        assert len(asked) == 2


def test_some_logits_of_an_answer_and_what_is_refused(tmp_path):
    file = tmp_path / "keys.json"
    keys = {name: add_key(file, name) for name in ("anna", "ben")}
    patch = Session(long_volume(), RoughPredictor()).inferer.inner.patch(Box((0, 0, 0), PRESET.patch_shape))
    prompts = PatchPrompts([PatchClick((30.0, 30.0, 20.0), True)])
    low_res = RoughPredictor().predict(patch, prompts).low_res
    marked = np.random.default_rng(0).random(low_res.shape) < 0.1
    with serving(RoughPredictor(), Keys.read(file)) as server:
        anna, ben = (RemotePredictor(server.url, key=keys[name]) for name in ("anna", "ben"))
        kept = anna.predict_outline(patch, prompts).kept
        assert kept == KeptAnswer(patch.digest, digest_of(low_res))
        assert np.array_equal(anna.logits_of(kept, marked), low_res[marked])
        assert anna.logits_of(kept, np.zeros_like(marked)).size == 0
        assert ben.logits_of(kept, marked) is None
        assert anna.logits_of(KeptAnswer(patch.digest, "0" * 64), marked) is None
        layer = KeptLayer(kept.logits, Box((-30, 0, 0), (34, 64, 64)), None)
        assert anna.predict_over(patch, prompts, [layer]).whole
        ben.predict(patch, prompts)  # has the patch, and by now an answer of the same name
        other = KeptLayer(digest_of(low_res + 1), layer.window, None)
        assert ben.predict_over(patch, prompts, [layer]) is not None
        assert anna.predict_over(patch, prompts, [other]) is None
        assert ben.predict_over(patch, prompts, [layer] * 33) is None
        with pytest.raises(ModelError, match="size that it claims"):
            anna.logits_of(kept, marked[:5])


def test_mask_prompts_take_a_part_of_the_room_for_patches():
    engine = Engine([], [], cache_mib=32)
    mask = np.zeros((64, 64, 64), np.float32)
    for n in range(7):
        engine.keep_mask("anna", f"{n:064x}", mask)
    assert [engine.mask("anna", f"{n:064x}") is not None for n in range(7)] == [False] * 3 + [True] * 4
    value = engine.metrics.registry.get_sample_value
    assert value("sammed3d_cache_bytes", {"cache": "masks"}) == 4 * mask.nbytes == (32 << 20) // MASKS
    assert value("sammed3d_cache_lookups_total", {"cache": "mask", "result": "miss"}) == 3
