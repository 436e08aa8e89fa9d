"""Freed memory: kept by the C library for the next click, where it can."""

import os
import subprocess
import sys

import pytest

from sammed3d.core import freed_memory

CLICKS = """
import resource
from sammed3d.core.freed_memory import keep_freed

print(int(%s))
for n in range(8):
    if n == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [b"x" * (24 << 20) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
needs_glibc = pytest.mark.skipif(freed_memory.c_function("mallopt") is None, reason="no glibc")


def kept_and_faults(keep, **environment):
    """Whether memory is kept, and how many pages the system has to hand out, in a process of its own."""
    plain = {k: v for k, v in os.environ.items() if k not in freed_memory.USERS_OWN}
    code = CLICKS % ("keep_freed()" if keep else "False")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=plain | environment, check=True
    )
    return [int(word) for word in done.stdout.split()]


@needs_glibc
def test_blocks_that_were_freed_serve_the_next_click():
    _, given_back = kept_and_faults(keep=False)
    kept, faults = kept_and_faults(keep=True)
    assert kept
    assert faults < 100
    assert given_back > 10_000


@needs_glibc
def test_what_the_user_has_set_stays():
    assert kept_and_faults(keep=True, MALLOC_TRIM_THRESHOLD_="1048576")[0] == 0


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(freed_memory, "c_function", lambda _name: None)
    assert not freed_memory.keep_freed()
    freed_memory.give_back()
