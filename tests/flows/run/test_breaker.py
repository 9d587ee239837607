"""The breaker's truth table: what was seen -> what trips, each rule once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.run.breaker_limits import Limits
from flows.run.circuit_breaker import Breaker
from flows.run.decision import Action, Decision

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
Story = Callable[[Breaker], Decision | None]


def outcomes(good: int, bad: int, stage: str = "scrape", causes: int = 3) -> Story:
    """``bad`` failures spread evenly between ``good`` successes; the last decision."""

    def story(breaker: Breaker) -> Decision | None:
        last, failed = None, 0
        for number in range(1, good + bad + 1):
            if failed < bad * number // (good + bad):
                failed += 1
                last = breaker.failed(stage, f"cause {failed % causes}", NOW) or last
            else:
                last = breaker.succeeded(stage, NOW) or last
        return last

    return story


def answers(seconds: list[float]) -> Story:
    def story(breaker: Breaker) -> Decision | None:
        decisions = [breaker.succeeded("scrape", NOW, answer_s=one) for one in seconds]
        return next((decision for decision in decisions if decision), None)

    return story


def limited(times: int) -> Story:
    def story(breaker: Breaker) -> Decision | None:
        decisions = [breaker.failed("scrape", f"c{n}", NOW, rate_limited=True) for n in range(times)]
        return decisions[-1]

    return story


def broken(story: str, stage: str = "scrape") -> Story:
    """One date a character: a blank is good, a letter breaks the contract in its own way."""

    def tell(breaker: Breaker) -> Decision | None:
        decisions = [
            breaker.succeeded(stage, NOW) if way == " " else breaker.failed(stage, way, NOW, contract=True)
            for way in story
        ]
        return next((decision for decision in decisions if decision), None)

    return tell


def after(seconds: float, **found: Any) -> Story:
    return lambda breaker: breaker.tick(NOW + dt.timedelta(seconds=seconds), **found)


TABLE: dict[str, tuple[Story, Limits, Action | None, str, str]] = {
    "all is well": (outcomes(100, 0), Limits(), None, "", ""),
    "3 of 31 is too few to stop": (outcomes(28, 3), Limits(), None, "", ""),
    "11 % warns": (outcomes(89, 11), Limits(), Action.WARN, "red_flag", "red_flag:error_rate"),
    "20 % aborts": (outcomes(40, 10), Limits(), Action.ABORT, "red_flag", "red_flag:error_rate"),
    "19 dates are no sample": (outcomes(10, 9), Limits(), None, "", ""),
    "one error on every date": (outcomes(0, 10, causes=1), Limits(), Action.ABORT, "red_flag", "red_flag:same_error"),
    "ten errors of three causes": (outcomes(0, 10), Limits(), None, "", ""),
    "ten times slower": (
        answers([0.6] * 20 + [7.0] * 20),
        Limits(),
        Action.ABORT,
        "red_flag",
        "red_flag:slow",
    ),
    "slower, but still fast": (answers([0.1] * 20 + [2.0] * 40), Limits(), None, "", ""),
    "five times slow down": (limited(5), Limits(), Action.ABORT, "red_flag", "red_flag:rate_limited"),
    "four times slow down": (limited(4), Limits(), None, "", ""),
    "load errors stop loading only": (
        outcomes(16, 4, stage="load"),
        Limits(),
        Action.STOP_LOADING,
        "red_flag",
        "red_flag:load_errors",
    ),
    "nothing finished for an hour": (after(3600), Limits(), Action.ABORT, "red_flag", "red_flag:stall"),
    "nothing finished for a while": (after(3599), Limits(), None, "", ""),
    "deadline": (after(60), Limits(deadline_s=60), Action.ABORT, "deadline", "deadline"),
    "cost budget": (after(1, cost_usd=2.5), Limits(max_cost_usd=2.5), Action.ABORT, "budget", "budget:cost"),
    "below the cost budget": (after(1, cost_usd=2.4), Limits(max_cost_usd=2.5), None, "", ""),
    "before a partition": (
        lambda one: one.spent(9, 3.0),
        Limits(max_cost_usd=2.5),
        Action.ABORT,
        "budget",
        "budget:cost",
    ),
    "credit budget": (
        after(1, calls=100),
        Limits(max_calls=100, cost_unit="credit"),
        Action.ABORT,
        "budget",
        "budget:calls",
    ),
    "call budget": (after(1, calls=100), Limits(max_calls=100), Action.ABORT, "budget", "budget:calls"),
    "memory": (after(1, memory_bytes=2), Limits(memory_bytes=1), Action.ABORT, "red_flag", "red_flag:memory"),
    "stop at first": (
        outcomes(0, 1),
        Limits(stop_at_first=True),
        Action.ABORT,
        "red_flag",
        "red_flag:first_failure",
    ),
    "off": (outcomes(0, 500), Limits(warn_share=0, abort_share=0, same_error=0, rate_limited=0), None, "", ""),
    "one odd date": (broken(" x        "), Limits(), None, "", ""),
    "four odd dates in a row": (broken("xxxx"), Limits(), None, "", ""),
    "five of the first seven alike": (broken("x xx xx"), Limits(), Action.ABORT, "red_flag", "red_flag:contract"),
    "five of the last ten, late": (
        broken(" " * 300 + "x x x x x"),
        Limits(),
        Action.ABORT,
        "red_flag",
        "red_flag:contract",
    ),
    "five, but not of ten": (broken("x  x  x  x  x  " + " " * 30), Limits(), None, "", ""),
    "five of several kinds": (broken("xyxyxyzy"), Limits(), None, "", ""),
    "pages that cannot be read": (
        broken("xxxxx", "load"),
        Limits(),
        Action.STOP_LOADING,
        "red_flag",
        "red_flag:contract",
    ),
    "every date is really tried": (
        broken("x" * 500),
        Limits(contract_breaks=0, same_error=0, abort_share=0, warn_share=0),
        None,
        "",
        "",
    ),
}


@pytest.mark.parametrize(("story", "limits", "action", "reason", "flag"), TABLE.values(), ids=TABLE.keys())
def test_each_red_flag_stops_what_it_is_about_and_nothing_below_it_does(
    story: Story, limits: Limits, action: Action | None, reason: str, flag: str
) -> None:
    decision = story(Breaker(limits, NOW))
    if action is None:
        assert decision is None
    else:
        assert decision is not None
        assert (decision.action, decision.reason, decision.flag) == (action, reason, flag)
        assert decision.message


def test_every_rule_trips_once() -> None:
    breaker = Breaker(Limits(), NOW)
    decisions = [breaker.failed("scrape", "one cause", NOW) for _ in range(200)]
    told = [(decision.action, decision.flag) for decision in decisions if decision]
    assert told == [(Action.ABORT, "red_flag:same_error")]


def test_a_failure_late_in_a_long_run_counts_against_the_last_hundred_dates() -> None:
    breaker = Breaker(Limits(same_error=0), NOW)
    for _ in range(3000):
        assert breaker.succeeded("scrape", NOW) is None
    decisions = [breaker.failed("scrape", f"c{n % 2}", NOW) for n in range(20)]
    assert decisions[-1] is not None
    assert decisions[-1].action is Action.ABORT


def test_a_pause_that_is_meant_is_no_stall() -> None:
    breaker = Breaker(Limits(), NOW)
    breaker.alive(NOW + dt.timedelta(hours=5))
    assert breaker.tick(NOW + dt.timedelta(hours=5, minutes=59)) is None
    assert breaker.tick(NOW + dt.timedelta(hours=6)) is not None


@given(st.lists(st.booleans(), max_size=300))
def test_it_never_aborts_below_the_share_and_always_above_it(good: list[bool]) -> None:
    limits = Limits(same_error=0)
    breaker = Breaker(limits, NOW)
    aborted = False
    for number, is_good in enumerate(good, start=1):
        decision = breaker.succeeded("scrape", NOW) if is_good else breaker.failed("scrape", f"c{number}", NOW)
        last = good[max(0, number - limits.window) : number]
        over = len(last) >= limits.min_sample and last.count(False) >= limits.abort_share * len(last)
        aborted_now = decision is not None and decision.action is Action.ABORT
        assert not aborted_now or over
        aborted = aborted or aborted_now
        if over and not is_good:
            assert aborted
