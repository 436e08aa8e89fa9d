"""The garbage collector rests during imports, and goes on afterwards."""

import gc
import importlib

import pytest

from sammed3d.core.imports import uncollected


def test_the_collector_is_off_inside_and_goes_on_afterwards_whatever_happens():
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled(), "who switched it off switches it on"
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        importlib.import_module("sammed3d.nonsense")
    assert gc.isenabled()


def test_what_is_there_is_left_out_of_later_collections_only_where_that_is_asked():
    gc.unfreeze()  # what tests before this one have imported
    with uncollected():
        pass
    assert gc.get_freeze_count() == 0
    with uncollected(freeze=True):
        pass
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
