"""Who may enter: the token and the file in which it is kept, and the address that a proxy has."""

import re
import sys

import pytest

from sammed3d.errors import ModelError

pytest.importorskip("aiohttp", reason="comes with trame (the extra web) or Ray")
if sys.platform != "linux":
    pytest.skip("the page is for Linux", allow_module_level=True)

from sammed3d.cli.serve_view import tell
from sammed3d.web.front.front import Entry
from sammed3d.web.front.serve import token_of

TOKEN = "the-token"  # noqa: S105 - of no page
PUBLIC = "https://segment.example"


def test_the_token_is_kept_in_a_file_that_only_its_owner_reads(tmp_path):
    file = tmp_path / "token"
    made = token_of(file)
    assert token_of(file) == made != token_of(None)
    assert file.stat().st_mode & 0o777 == 0o600
    for content in (b"", b"short", b"\xff" * 40, b"with a blank " * 4):
        file.write_bytes(content)
        with pytest.raises(ModelError, match=re.escape(str(file))):
            token_of(file)
    with pytest.raises(ModelError, match="cannot be read or made"):
        token_of(tmp_path / "no" / "folder")


def test_a_token_that_is_in_a_file_is_not_printed(tmp_path, capsys):
    tell(None, f"{PUBLIC}/?token={TOKEN}")
    assert capsys.readouterr().out == f"The page is at {PUBLIC}/?token={TOKEN}\n"
    tell(tmp_path / "token", f"{PUBLIC}/?token={TOKEN}")
    printed = capsys.readouterr().out
    assert TOKEN not in printed
    assert printed == f"The page is at {PUBLIC}/?token=TOKEN, where TOKEN is what {tmp_path / 'token'} holds\n"


def test_a_token_that_every_user_of_the_computer_may_read_is_told(tmp_path, caplog):
    file = tmp_path / "token"
    token_of(file)
    assert caplog.messages == []
    file.chmod(0o644)
    token_of(file)
    assert caplog.messages == [f"every user of this computer may read the token in {file}: chmod o= it"]


@pytest.mark.parametrize(
    "url",
    ["segment.example", f"{PUBLIC}/page", "ftp://x", "https://a b", "https://", f"{PUBLIC}:443", "https://2001:db8::5"],
)
def test_an_address_that_cannot_be_public_is_refused(url):
    with pytest.raises(ModelError, match="cannot be the public address"):
        Entry(TOKEN, url)
    with pytest.raises(ModelError, match="believed from a proxy alone"):
        Entry(TOKEN, "", "X-Remote-User")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://segment.example:8443", "segment.example"),
        ("http://segment.example:443", "segment.example"),
        ("https://[2001:db8::5]", "2001:db8::5"),
        ("https://[2001:db8::5]:8443", "2001:db8::5"),
    ],
)
def test_a_public_address_may_have_a_port_and_be_ipv6(url, host):
    assert host in Entry(TOKEN, url).hosts
