"""The page's own loop, without a browser."""

import asyncio
import importlib.util
import logging
from types import SimpleNamespace

import pytest

if importlib.util.find_spec("trame_slicer") is None:
    pytest.skip("trame_slicer is not installed: run make test-web", allow_module_level=True)

from sammed3d.web import page as pages


def test_a_result_that_cannot_be_shown_is_not_the_last(monkeypatch, caplog):
    monkeypatch.setattr(pages, "FAILED_SECONDS", 0.01)
    asked, shown = [], []

    def poll():
        asked.append(1)
        if len(asked) in (2, 3):
            raise MemoryError

    page = SimpleNamespace(
        work=SimpleNamespace(poll=poll, status="", share=None, segmenter=SimpleNamespace(message="", seconds={})),
        _cameras=SimpleNamespace(fill_views=lambda: None),
        _calm=SimpleNamespace(lasts=False),
        _news=False,
        _said="",
    )

    def refresh():
        page._news = False  # noqa: SLF001
        shown.append(page._said)  # noqa: SLF001

    page.refresh = refresh

    async def for_a_while():
        going = asyncio.ensure_future(pages.Page.keep_going(page))
        await asyncio.wait({going}, timeout=0.5)
        assert not going.done(), "it goes on"
        going.cancel()

    with caplog.at_level(logging.ERROR):
        asyncio.run(for_a_while())
    assert len(asked) > 3
    assert "MemoryError" in shown[-1]
    assert len(caplog.records) == 1, "said once"
