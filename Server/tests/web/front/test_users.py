"""Who has a place, and when it is taken away: without a process, by processes that are made up."""

import asyncio
import logging
import sys

import pytest

pytest.importorskip("aiohttp", reason="comes with trame (the extra web) or Ray")

from sammed3d.web.front import users as module
from sammed3d.web.front.process import UserProcess
from sammed3d.web.front.users import FullError, Limits, Users

MEMORY = 1 << 30


class MadeUp:
    """A process that is what a test says."""

    def __init__(self, number, error=""):
        self.number, self.will, self.headers = number, error, {}
        self.address, self.error, self.status, self.memory = "", "", None, 0
        self.ended = self.ending = False

    async def start(self):
        self.error = self.will
        self.address = "" if self.will else "http://127.0.0.1:1"

    async def stop(self):
        self.ending = True
        await asyncio.sleep(0)
        self.ended = True


def watched(story, monkeypatch, error="", **limits):
    """Run a story (a coroutine of users and the processes by number) under limits, looked at often."""
    monkeypatch.setattr(module, "PAUSE", 0.01)
    made = {}

    def new(number):
        made[number] = MadeUp(number, error)
        return made[number]

    async def run():
        users = Users(Limits(**{"users": 2, "memory": MEMORY, "idle": 1000, "untouched": 1000} | limits), new)
        watch = asyncio.create_task(users.watch())
        await story(users, made)
        watch.cancel()
        await users.close()
        with pytest.raises(FullError, match="being stopped"):
            users.enter("late")
        assert all(process.ended or process.error for process in made.values()), "nobody stays"

    asyncio.run(asyncio.wait_for(run(), 20))


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_each_user_has_one_process_and_there_are_no_more_than_places(monkeypatch):
    async def story(users, made):
        a, b = users.enter("a"), users.enter("b")
        assert users.enter("a") is a
        assert {a.process, b.process} == set(made.values())
        with pytest.raises(FullError, match=r"All 2 places are taken. Try again later"):
            users.enter("c")
        await until(lambda: a.ready)
        made[1].ended, made[1].status = True, -11
        await until(lambda: users.place("a") is None)
        assert users.ending("a") == "Your page ended unexpectedly, and with it what was not downloaded."
        users.enter("c")
        assert users.place("b") is b
        assert users.ending("b") == users.ending("nobody") == ""

    watched(story, monkeypatch)


def test_a_process_that_holds_too_much_is_ended_and_the_user_told(monkeypatch, caplog):
    async def story(users, made):
        place = users.enter("secret-of-a")
        await until(lambda: place.ready)
        made[1].memory = MEMORY
        await asyncio.sleep(0.05)
        assert place.ready
        made[1].memory = MEMORY + 1
        await until(lambda: users.place("secret-of-a") is None)
        assert made[1].ended
        assert "more than 1 GiB of memory" in users.ending("secret-of-a")
        assert users.enter("secret-of-a").number == 2
        assert users.ending("secret-of-a") == ""

    with caplog.at_level(logging.INFO):
        watched(story, monkeypatch)
    assert "user 1: ends after 0.0 minutes: more than 1 GiB" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("limits", "open_pages", "words"),
    [
        ({"idle": 0.1}, 0, "was closed for more than 0.00167 minutes"),
        ({"idle": 0.1}, 1, ""),
        ({"untouched": 0.1}, 1, "Nothing was done in your page for more than"),
    ],
)
def test_places_that_were_left_are_given_back(monkeypatch, limits, open_pages, words):
    async def story(users, made):
        place = users.enter("a")
        await until(lambda: place.ready)
        if open_pages:
            with place.used():
                await asyncio.sleep(0.3)
                assert (users.place("a") is None) == bool(words)
                if words:
                    assert words in users.ending("a")
                    return
        await until(lambda: users.place("a") is None)
        assert "was closed for more than" in users.ending("a")

    watched(story, monkeypatch, **limits)


def test_a_user_who_does_something_keeps_the_place(monkeypatch):
    async def story(users, made):
        place = users.enter("a")
        with place.used():
            for _ in range(20):
                await asyncio.sleep(0.02)
                place.touch()
        assert users.place("a") is place

    watched(story, monkeypatch, untouched=0.2)


def test_a_process_that_does_not_start_gives_its_place_back_and_says_why(monkeypatch):
    async def story(users, made):
        for number in (1, 2, 3):
            users.enter("a")
            await until(lambda: users.place("a") is None)
            assert users.ending("a") == "http://gpu: cannot be reached."
            assert len(made) == number

    watched(story, monkeypatch, error="http://gpu: cannot be reached.", users=1)


def test_a_page_that_the_system_cannot_start_gives_its_place_back_and_says_so(monkeypatch, caplog):
    async def fails(process):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MadeUp, "start", fails)

    async def story(users, made):
        for number in (1, 2):
            users.enter("secret-of-a")
            await until(lambda: users.place("secret-of-a") is None)
            assert "cannot start a page at the moment" in users.ending("secret-of-a")
            assert made[number].ended

    watched(story, monkeypatch, users=1)
    assert "user 2: the page cannot be started: [Errno 28] No space left" in caplog.text
    assert "secret" not in caplog.text


def test_a_process_makes_the_folder_above_its_own_again_if_that_was_cleared_away(tmp_path):
    process = UserProcess({}, tmp_path / "cleared" / "1", command=(sys.executable, "-c", 'print(\'{"error": "no"}\')'))
    asyncio.run(process.start())
    assert process.error == "no"


def test_of_long_gone_users_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)

    async def story(users, made):
        for user in "abcde":
            users.enter(user)
            await until(lambda user=user: users.place(user) is None)
        assert [bool(users.ending(user)) for user in "abcde"] == [False, False, True, True, True]

    watched(story, monkeypatch, error="no")
