"""Freed memory: kept by the C library for the next click, where it can."""

import os
import subprocess
import sys

import pytest

from sammed3d.core import freed_memory

CLICKS = """
import resource
import threading

from sammed3d.core.freed_memory import keep_freed, share_heap

def click():
    for n in range(8):
        if n == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [b"x" * (24 << 20) for _ in range(3)]
        del blocks
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

print(int({keep}))
thread = threading.Thread(target=click)
{run}
"""
HERE, IN_A_THREAD = "click()", "thread.start()"
needs_glibc = pytest.mark.skipif(freed_memory.c_function("mallopt") is None, reason="no glibc")


def kept_and_faults(keep, run=HERE, **environment):
    """Whether `keep` says that memory is kept, and how many pages the system hands out, in a process of its own."""
    own = (*freed_memory.USERS_OWN, *freed_memory.USERS_HEAPS)
    plain = {k: v for k, v in os.environ.items() if k not in own}
    done = subprocess.run(
        [sys.executable, "-c", CLICKS.format(keep=keep, run=run)],
        capture_output=True,
        text=True,
        env=plain | environment,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


@needs_glibc
def test_blocks_that_were_freed_serve_the_next_click():
    _, given_back = kept_and_faults("False")
    kept, faults = kept_and_faults("keep_freed()")
    assert kept
    assert faults < 100
    assert given_back > 10_000


@needs_glibc
def test_what_the_user_has_set_stays():
    assert kept_and_faults("keep_freed()", MALLOC_TRIM_THRESHOLD_="1048576")[0] == 0


@needs_glibc
def test_threads_that_share_the_heap_keep_what_they_free_too():
    _, given_back = kept_and_faults("False", IN_A_THREAD)
    shared, faults = kept_and_faults("keep_freed() and share_heap()", IN_A_THREAD)
    assert shared
    assert faults < 100
    assert given_back > 10_000


@needs_glibc
def test_heaps_that_the_user_has_set_stay():
    assert kept_and_faults("share_heap()", MALLOC_ARENA_MAX="4")[0] == 0


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(freed_memory, "c_function", lambda _name: None)
    assert not freed_memory.keep_freed()
    assert not freed_memory.share_heap()
    freed_memory.give_back()
