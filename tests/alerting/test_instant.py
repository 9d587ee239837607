"""A moment by two clocks is over by either, and where they do not agree on how far away it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from alerting import instant
from alerting.instant import Instant

BEGIN = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
Machine = Callable[[float, float], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Its wall clock, and its monotonic one, so many seconds after the beginning."""

    def is_at(wall_s: float, clock_s: float) -> None:
        monkeypatch.setattr(instant, "utc_now", lambda: BEGIN + dt.timedelta(seconds=wall_s))
        monkeypatch.setattr(instant, "time", SimpleNamespace(monotonic=lambda: clock_s))

    is_at(0.0, 0.0)
    return is_at


@pytest.mark.parametrize(
    ("wall_s", "clock_s", "over"),
    [(59.0, 59.0, False), (61.0, 58.0, True), (58.0, 61.0, True), (57.0, 59.0, False)],
)
def test_it_is_over_by_either_clock(machine: Machine, wall_s: float, clock_s: float, over: bool) -> None:
    until = Instant.now().after(60)
    machine(wall_s, clock_s)
    assert until.is_over is over


def test_a_machine_that_has_slept_and_whose_clock_was_set_back_meanwhile_does_not_know_whether_it_is_over(
    machine: Machine,
) -> None:
    until = Instant.now().after(60)
    # Half an hour of sleep, after which a time server took an hour off.
    machine(-1_800.0, 1.0)
    assert until.is_over
    again = Instant.now().after(60)
    assert not again.is_over
