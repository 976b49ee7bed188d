"""Importing without looking for garbage."""

import gc

from tinyllm.base.imports import without_collections


def test_nothing_is_collected_while_importing_and_everything_afterwards():
    before = gc.get_freeze_count()
    try:
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_a_program_without_collections_stays_without():
    gc.disable()
    try:
        with without_collections():
            pass
        assert not gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()
