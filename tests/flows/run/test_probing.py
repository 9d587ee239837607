"""A source that is down for everybody: the run waits, tries one date at a time, and ends when that is in vain."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import CriticalError
from alerting.instant import utc_now
from flows.asked import Asked
from flows.closing.finish import finish
from flows.coordination.lease import Holder, Lease
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.planner import plan_asked
from flows.run.breaker_limits import Limits
from flows.run.circuit_breaker import Breaker
from flows.run.decision import Action, Decision
from flows.run.gate import SOURCE_DOWN, Gate
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.probing import Probing
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.run.supervisor import Supervisor
from flows.wiring import build_services
from processors.sources.bdl_box_scores import BdlBoxScores

if TYPE_CHECKING:
    from .conftest import Place, Ran

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
SOURCE = "bdl_box_scores"
PATIENCE_S = 60.0
# Twice as many dates are begun as may call at once, and the breaker hears of a date after its slot is free.
UNDER_WAY = 2 * 2 - 1


def after(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


def burst(breaker: Breaker, at: dt.datetime = NOW, dates: int = 10) -> Decision | None:
    """The last decision on so many dates that failed for one passing cause."""
    decisions = [breaker.failed("scrape", "SourceUnavailable 503", at, transient=True) for _ in range(dates)]
    return next((decision for decision in reversed(decisions) if decision), None)


def waiting(probes: int = 2, pause_s: float = 30.0) -> Breaker:
    breaker = Breaker(Limits(), NOW)
    breaker.wait_out_bursts(pause_s, probes)
    return breaker


# -- the breaker: fault -> state -------------------------------------------------------------------------------


def test_a_burst_opens_and_a_probe_that_is_answered_closes() -> None:
    breaker = waiting()
    decision = burst(breaker)
    assert decision is not None
    assert (decision.action, decision.flag) == (Action.WAIT, "red_flag:same_error")
    assert breaker.is_waiting
    assert breaker.probe_due(after(29.9)) == 0
    number = breaker.probe_due(after(30))
    assert number
    closed = breaker.probed(number, after(31), answered=True)
    assert closed is not None
    assert closed.action is Action.WARN
    assert not breaker.is_waiting
    assert burst(breaker, after(40), dates=9) is None, "the dates of the burst do not count against those after it"


def test_pauses_double_and_after_the_last_probe_the_run_ends_with_the_flag_that_began_it() -> None:
    breaker = waiting(probes=3)
    burst(breaker)
    at_s = 0.0
    for pause_s in (30, 60):
        assert breaker.probe_due(after(at_s + pause_s - 0.1)) == 0
        at_s += pause_s
        decision = breaker.probed(breaker.probe_due(after(at_s)), after(at_s), answered=False)
        assert decision is not None
        assert decision.action is Action.WAIT
    at_s += 120
    ended = breaker.probed(breaker.probe_due(after(at_s)), after(at_s), answered=False)
    assert ended is not None
    assert (ended.action, ended.reason, ended.flag) == (Action.ABORT, "red_flag", "red_flag:same_error")
    assert "one date was tried again 3 times" in ended.message


def fail(breaker: Breaker, cause: str = "E", dates: int = 1, **kind: Any) -> Decision | None:
    decisions = [breaker.failed("scrape", cause.format(n=n), NOW, **kind) for n in range(dates)]
    return next((decision for decision in reversed(decisions) if decision), None)


def good(breaker: Breaker, dates: int) -> None:
    for _ in range(dates):
        breaker.succeeded("scrape", NOW)


def test_truth_table_of_injected_faults() -> None:
    """What the source does -> what becomes of the run.

    A 401 never comes here: test_after_a_401_no_date_makes_a_call_but_those_that_are_under_way. Nor does a 429 that is
    waited for: test_429_with_retry_after_is_honoured_and_neither_it_nor_an_empty_or_cut_200_costs_a_date.
    """
    same, share = "red_flag:same_error", "red_flag:error_rate"

    def told(breaker: Breaker, **fault: Any) -> tuple[str, str]:
        decision = fail(breaker, **fault)
        return (decision.action.value, decision.flag) if decision else ("", "")

    assert told(waiting(), dates=10, transient=True) == ("wait", same)
    assert told(waiting(), dates=10) == ("abort", same), "a wrong answer does not pass by itself"
    assert told(waiting(), dates=5, rate_limited=True) == ("abort", "red_flag:rate_limited"), "it was waited for"
    assert told(waiting(probes=0), dates=10, transient=True) == ("abort", same)
    mostly_down = waiting()
    good(mostly_down, 40)
    assert told(mostly_down, cause="cause {n}", dates=10, transient=True) == ("wait", share)
    mostly_wrong = waiting()
    good(mostly_wrong, 40)
    fail(mostly_wrong, cause="down {n}", dates=1, transient=True)
    assert told(mostly_wrong, cause="cause {n}", dates=11) == ("abort", share)
    stopping = Breaker(Limits(stop_at_first=True), NOW)
    stopping.wait_out_bursts(30, 2)
    assert told(stopping, transient=True) == ("abort", "red_flag:first_failure")
    parsing = waiting()
    decisions = [parsing.failed("load", "RowRejected", NOW) for _ in range(20)]
    assert [decision.action for decision in decisions if decision] == [Action.STOP_LOADING]
    assert not parsing.is_waiting


def test_while_it_waits_nothing_trips_but_what_ends_the_run_anyway() -> None:
    breaker = waiting()
    burst(breaker)
    assert burst(breaker, after(1), dates=50) is None
    assert fail(breaker, dates=5, rate_limited=True) is not None
    deadline = Breaker(Limits(deadline_s=60), NOW)
    deadline.wait_out_bursts(3600, 2)
    burst(deadline)
    decision = deadline.tick(after(60))
    assert decision is not None
    assert decision.reason == "deadline"


def test_a_probe_that_is_not_due_any_more_is_no_news() -> None:
    breaker = waiting()
    burst(breaker)
    first = breaker.probe_due(after(30))
    assert breaker.probed(first, after(29), answered=True) is None
    breaker.probed(first, after(30), answered=False)
    assert breaker.probed(first, after(31), answered=True) is None
    assert breaker.is_waiting
    assert breaker.probe_due(after(90)) != first


def test_a_source_that_answers_once_in_a_while_does_not_keep_a_run_waiting_for_ever() -> None:
    probing = Probing(1.0, 3, calm_after=20)
    pauses = []
    for number in range(4):
        pauses.append(probing.begin(after(number)))
        probing.close()
        probing.landed()
    assert pauses == [1.0, 2.0, 4.0, 0.0]
    for _ in range(20):
        probing.landed()
    assert probing.begin(after(100)) == 1.0


# -- the gate --------------------------------------------------------------------------------------------------


def test_a_gate_shut_by_trouble_lets_exactly_one_date_through_and_loading_does_not_mind() -> None:
    async def story() -> None:
        gate, inside, go_on = Gate(), list[int](), asyncio.Event()

        async def date() -> None:
            async with gate.passed() as probe:
                inside.append(probe)
                await go_on.wait()

        gate.shut_now(SOURCE_DOWN)
        async with gate.passed(despite={SOURCE_DOWN}) as probe:
            assert probe == 0
        waiters = [asyncio.create_task(date()) for _ in range(5)]
        for _ in range(3):
            await gate.admit_probe(7)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert inside == [7]
        await gate.open(SOURCE_DOWN)
        go_on.set()
        await asyncio.gather(*waiters)
        assert sorted(inside) == [0, 0, 0, 0, 7]

    asyncio.run(story())


def test_no_probe_passes_a_gate_that_something_else_keeps_shut_too() -> None:
    async def story() -> None:
        gate = Gate()
        gate.shut_now(SOURCE_DOWN)
        await gate.shut("live work")
        await gate.admit_probe(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), gate.passed():
                pass
        await gate.open("live work")
        async with gate.passed() as probe:
            assert probe == 1

    asyncio.run(story())


# -- a run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPLESS_BREAKER_PROBES", "2")
    monkeypatch.setenv("GAPLESS_BREAKER_PROBE_PAUSE_S", "0.2")


async def supervised(place: Place, last: str, then: Any = None, **given: Any) -> Run:
    """A backfill with its supervisor, as the parent flow runs it."""
    asked = Asked.model_validate(
        {"source": SOURCE, "start_date": "2025-01-01", "end_date": last, "max_concurrency": 2, "canary": -1, **given}
    )
    services = build_services()
    lease = Lease.acquire(services.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=120)
    run = Run(services, asked, "bf-1", PlainOrchestrator())
    try:
        planned = plan_asked(services, asked, utc_now(), "bf-1")
        run.begin(planned, starting_facts(services, planned.plan, {}, "bf-1", asked))
        supervisor = Supervisor(run, lease)
        working = asyncio.create_task(map_windows(run, planned.plan))
        async with asyncio.timeout(PATIENCE_S):
            while not working.done():
                await supervisor.step()
                if then:
                    then(run, working)
                await asyncio.sleep(0.02)
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return run
    finally:
        run.close()


@pytest.mark.usefixtures("quick")
def test_a_run_waits_for_a_source_that_is_down_tries_one_date_and_goes_on(place: Place) -> None:
    place.upstream.trouble({"kind": "500", "times": 11})
    run = asyncio.run(supervised(place, "2025-01-30"))
    facts = finish(run, abort_reason(run.stopped_by))
    assert run.stopped_by is None
    assert any("red flag, same error" in note for note in run.notes)
    assert any("answers again" in note for note in run.notes)
    # Ten trip it and the eleventh answer is the last bad one; what failed in the burst stays failed, the rest is there.
    failed = facts.verdict_counts["failed_retryable"]
    assert 10 <= failed <= 11
    assert facts.verdict_counts["verified"] + facts.verdict_counts.get("empty_ok", 0) == 30 - failed
    assert place.upstream.calls.report()["total"] == 30


@pytest.mark.usefixtures("quick")
def test_a_source_that_stays_down_costs_one_call_a_probe_and_then_the_run_ends(place: Place) -> None:
    place.upstream.trouble({"kind": "500"})
    run = asyncio.run(supervised(place, "2025-01-30"))
    assert run.stopped_by is not None
    assert abort_reason(run.stopped_by) == "red_flag"
    assert "one date was tried again 2 times" in run.stopped_by.message
    # Ten that tripped it, at most UNDER_WAY then, two probes.
    assert 12 <= place.upstream.calls.report()["total"] <= 12 + UNDER_WAY
    assert finish(run, "red_flag").verdict == "ABORTED(red_flag)"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["stop", "cancel", "deadline"])
def test_a_run_that_waits_ends_at_once_when_it_is_told_to(
    place: Place, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("GAPLESS_BREAKER_PROBE_PAUSE_S", "3600")
    place.upstream.trouble({"kind": "500"})

    def end(run: Run, working: asyncio.Task[None]) -> None:
        if SOURCE_DOWN not in run.gate.closed_by:
            return
        if how == "cancel":
            working.cancel()
        elif how == "deadline":
            run.breaker.limits = dataclasses.replace(run.breaker.limits, deadline_s=0.001, stall_s=0.001)
        else:
            run.stop(CriticalError("told to"), "scrape")

    run = asyncio.run(supervised(place, "2025-01-30", end))
    assert place.upstream.calls.report()["total"] <= 10 + UNDER_WAY
    assert run.breaker.is_waiting
    assert abort_reason(run.stopped_by) == {"stop": "critical", "cancel": "", "deadline": "deadline"}[how]


def test_rows_that_cannot_be_read_stop_loading_and_after_the_fix_nothing_is_fetched_again(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPLESS_PROCESS_BATCH_PARTITIONS", "10")
    place.services = build_services()

    def broken(*_: Any) -> Any:
        raise KeyError("points")

    days = ("2025-01-01", "2025-01-30")
    with monkeypatch.context() as patched:
        patched.setattr(BdlBoxScores, "rows", broken)
        run, _ = ran(*days)
    assert run.stopped_by is None
    assert run.loading_stopped_by is not None
    assert place.upstream.calls.report()["total"] == 30

    again, facts = ran(*days, mode="reprocess")
    assert facts.verdict == "COMPLETE", again.notes
    assert place.upstream.calls.report()["total"] == 30


@pytest.mark.usefixtures("quick")
def test_without_the_breaker_every_date_is_tried(place: Place) -> None:
    place.upstream.trouble({"kind": "500"})
    run = asyncio.run(supervised(place, "2025-01-15", breaker=False))
    assert run.stopped_by is None
    assert place.upstream.calls.report()["total"] == 15
