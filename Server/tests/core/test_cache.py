"""The cache that forgets what was used longest ago."""

from hypothesis import given
from hypothesis import strategies as st

from sammed3d.core.cache import LRUCache


def test_what_is_too_large_is_not_kept_and_displaces_nothing():
    dropped = []
    cache = LRUCache(10, len, lambda key, value: dropped.append((key, value)))
    cache.put("a", "aaaa")
    cache.put("b", "bbbb")
    cache.put("c", "c" * 11)
    assert [cache.get(key) for key in "abc"] == ["aaaa", "bbbb", None]
    assert dropped == [("c", "c" * 11)]
    cache.put("a", "a" * 11)
    assert cache.get("a") is None, "the value before is another one"
    assert (len(cache), cache.bytes) == (1, 4)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 14), st.sampled_from(["put", "get", "pop"]))))
def test_it_holds_what_was_used_last_within_its_bound(steps):
    cache, known = LRUCache(10, len), {}
    for key, size, what in steps:
        if what == "put":
            known.pop(key, None)
            cache.put(key, "x" * size)
            if size <= 10:
                known[key] = "x" * size
            while sum(map(len, known.values())) > 10:
                known.pop(next(iter(known)))
        elif what == "get":
            assert cache.get(key) == known.get(key)
            if key in known:
                known[key] = known.pop(key)
        else:
            assert cache.pop(key) == known.pop(key, None)
        assert cache.bytes == sum(map(len, known.values()))
        assert len(cache) == len(known)
        assert all(each in cache for each in known)
