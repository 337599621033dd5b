"""What the start made is left alone by the garbage collector."""

from __future__ import annotations

import gc

from spvnode.app import settle


def test_what_is_there_is_not_looked_at_again() -> None:
    objects = [[number] for number in range(10_000)]
    before = gc.get_freeze_count()
    settle()
    try:
        assert gc.get_freeze_count() >= before + len(objects)
        assert len(gc.get_objects()) < len(objects)
    finally:
        gc.unfreeze()
