"""What the garbage collector does while a run works."""

from __future__ import annotations

import gc
import weakref

from flows.run.heap import YOUNG_OBJECTS, frozen_heap


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


def test_young_objects_are_looked_through_seldom_while_a_run_works_and_as_before_after_it() -> None:
    before = gc.get_threshold()
    with frozen_heap():
        assert gc.get_threshold()[0] == YOUNG_OBJECTS > before[0]
        rings = [weakref.ref(Ring()) for _ in range(2 * YOUNG_OBJECTS)]
        assert sum(ring() is None for ring in rings) >= YOUNG_OBJECTS
    assert gc.get_threshold() == before
