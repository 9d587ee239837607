"""Writes to one object name, kept apart by a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapers.pace.write_pace import WritePace


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2), st.floats(0, 1.5)), max_size=40))
def test_two_writes_to_one_name_are_a_second_apart_and_others_do_not_wait(
    steps: list[tuple[str, float, float]],
) -> None:
    clock = Clock()
    pace = WritePace(monotonic=clock.monotonic, sleep=clock.sleep)
    written: dict[str, float] = {}
    for name, pause_s, takes_s in steps:
        clock.now_s += pause_s
        asked_s = clock.now_s
        with pace.of(name):
            began_s = clock.now_s
            clock.now_s += takes_s
        if name in written:
            assert began_s == pytest.approx(max(asked_s, written[name] + 1.0))
        else:
            assert began_s == asked_s
        written[name] = clock.now_s


def test_without_an_interval_nobody_waits() -> None:
    pace = WritePace(0.0, sleep=lambda _: pytest.fail("it waited"))
    for _ in range(2):
        with pace.of("a"):
            pass


def test_names_of_long_ago_are_forgotten() -> None:
    clock = Clock()
    pace = WritePace(monotonic=clock.monotonic, sleep=clock.sleep)
    for number in range(10_000):
        clock.now_s += 0.01
        with pace.of(f"landing/{number}"):
            pass
    assert len(pace._begins_s) < 5_000
