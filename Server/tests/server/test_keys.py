"""A key is added to its file even where nothing can be put in the file's place, and no key is lost over it."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from sammed3d.errors import ModelError
from sammed3d.server.http.keys import Keys, add_key

resource = pytest.importorskip("resource", reason="Windows has no limits of processes")


@pytest.fixture
def mounted(monkeypatch):
    """Files that are mounted alone, as into a container: nothing can take their place."""

    def busy(self, target):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", busy)


def test_a_file_that_cannot_be_replaced_is_written_in_its_place(tmp_path, request):
    file = tmp_path / "keys.json"
    anna = add_key(file, "anna")
    file.chmod(0o640)
    number = file.stat().st_ino
    request.getfixturevalue("mounted")
    ben = add_key(file, "ben")
    keys = Keys.read(file)
    assert (keys.user_of(anna), keys.user_of(ben)) == ("anna", "ben")
    assert (file.stat().st_ino, stat.S_IMODE(file.stat().st_mode)) == (number, 0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.usefixtures("mounted")
def test_a_new_file_that_cannot_be_put_there_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"keys\.json: cannot be written"):
        add_key(tmp_path / "keys.json", "anna")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("room", [0, 10])
def test_where_there_is_no_room_for_one_more_the_keys_stay(tmp_path, room):
    file = tmp_path / "keys.json"
    add_key(file, "anna")
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, hard))
    try:
        with pytest.raises(ModelError, match=r"keys\.json: cannot be written"):
            add_key(file, "ben")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(json.loads(before)) == ["anna"]


def test_two_keys_for_one_name_are_told_and_none_is_lost_in_silence(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(f'{{"anna": "{"0" * 64}", "ben": "{"1" * 64}", "anna": {{"sha256": "{"2" * 64}"}}}}')
    for ask in (Keys.read, lambda path: add_key(path, "carl")):
        with pytest.raises(ModelError, match=r"keys\.json: 'anna' is there 2 times, and only the last would count"):
            ask(file)
    assert file.read_text().count("anna") == 2


def test_a_file_that_may_not_be_read_is_not_taken_for_one_that_is_not_there(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    add_key(file, "anna")

    def forbidden(self, **_):
        raise PermissionError(errno.EACCES, "no", str(self))

    monkeypatch.setattr(Path, "read_text", forbidden)
    for ask in (Keys.read, lambda path: add_key(path, "ben")):
        with pytest.raises(ModelError, match=r"keys\.json: Permission denied\. .* the user may read"):
            ask(file)
    monkeypatch.undo()
    with pytest.raises(ModelError, match="Is a directory"):
        Keys.read(tmp_path)


@pytest.mark.parametrize("name", ["anna\n2026 INFO", "\u202eanna", "\x1b[2J"])
def test_a_name_that_would_not_be_one_word_of_a_log_is_refused(tmp_path, name):
    with pytest.raises(ModelError, match="which logs can show"):
        add_key(tmp_path / "keys.json", name)
    (tmp_path / "keys.json").write_text(json.dumps({name: "0" * 64}))
    with pytest.raises(ModelError, match="no name that logs can show"):
        Keys.read(tmp_path / "keys.json")
