"""What the garbage collector does while a run works."""

from __future__ import annotations

import gc
import weakref

from flows.run.heap import frozen_heap


class Ring:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


def test_what_is_there_before_is_left_alone_and_what_a_run_makes_is_freed() -> None:
    before = Ring()
    with frozen_heap():
        assert gc.get_freeze_count() > 0
        assert not any(one is before for one in gc.get_objects())
        made = weakref.ref(Ring())
        gc.collect()
        assert made() is None
    assert gc.get_freeze_count() == 0
