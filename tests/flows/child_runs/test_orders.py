"""What a parent makes of the reports of its windows, and what it orders them to do; both lie in the bucket."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator

import pytest

from alerting.errors import BudgetExhausted, CriticalError, LeaseHeld
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.child_runs.follower import Recorder
from flows.child_runs.messages import (
    Orders,
    Outcome,
    Report,
    Stop,
    read_orders,
    report_name,
    write_orders,
    write_report,
)
from flows.child_runs.parent import attach_windows
from flows.ledger.ledger import Verdict
from flows.ledger.month_rows import MonthRows
from flows.ledger.verdicts import resumes_at
from flows.parameters import Engine
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.settings import Settings
from flows.wiring import Services

SOURCE = "bdl_box_scores"
PARENT = "bf-parent000001"


class MemoryStore(MemoryObjectStore):
    calls: dict[str, int] = {}  # noqa: RUF012


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A parent on a store in memory, which has looked once."""
    monkeypatch.setenv("GAPLESS_BREAKER_PROBES", "0")
    monkeypatch.setattr(Services, "store", MemoryStore())
    services = Services(Settings(project="p", console_only=True, lease_ttl_s=60))
    asked = Asked(
        source=SOURCE, start_date=dt.date(2025, 1, 1), end_date=dt.date(2025, 1, 9), engine=Engine.DISTRIBUTED
    )
    run = Run(services, asked, PARENT, PlainOrchestrator())
    attach_windows(run)
    assert run.windows is not None
    run.windows.look()
    return run


def test_what_was_done_meanwhile_is_no_longer_recounted(parent: Run) -> None:
    assert parent.windows is not None
    unchanged = {"2025-01-01": "a1", "2025-01-02": "a2", "2025-01-03": "a3"}
    write_report(parent.services.store, PARENT, "w1", Report(unchanged=unchanged))
    parent.windows.look()
    parent.work.done_elsewhere.add("2025-01-02")
    # Fetched again by this run after its pause, and another payload by then.
    parent.ledger.advance("2025-01-03", Verdict.LANDED, PARENT, utc_now(), attempt="a4", attempts=2)
    assert parent.windows.unchanged() == {"2025-01-01": "a1"}


def test_a_daily_wall_that_a_window_met_is_the_parents_with_its_reset(parent: Run) -> None:
    wall = BudgetExhausted("no calls are left", source=SOURCE, resets_at="2025-02-02T00:00:00+00:00")
    write_report(parent.services.store, PARENT, "w1", Report(stop=Stop.of(wall), ended=True))
    parent.windows.look()
    assert isinstance(parent.stopped_by, BudgetExhausted)
    assert resumes_at(parent.stopped_by) == dt.datetime(2025, 2, 2, tzinfo=dt.UTC)


def test_a_window_whose_parent_was_lost_is_no_news_for_the_next_parent(parent: Run) -> None:
    lost = Stop.of(LeaseHeld("gone", source=SOURCE))
    write_report(parent.services.store, PARENT, "w1", Report(stop=lost, ended=True))
    parent.windows.look()
    assert parent.stopped_by is None


def test_every_outcome_is_counted_once_however_often_a_window_reports(parent: Run) -> None:
    store = parent.services.store
    outcomes: tuple[Outcome, ...] = ()
    for number in range(1, 10):
        outcomes += (Outcome(cause="E 1") if number % 2 else Outcome(answer_s=0.1),)
        months = {1: MonthRows(dates=number, rows=10 * number)}
        report = Report(calls=number, landed_rows=10 * number, landed_months=months, outcomes=outcomes)
        write_report(store, PARENT, "w1", report)
        parent.windows.look()
        parent.windows.look()
    assert parent.tally.calls == 9
    assert (parent.tally.rows, parent.tally.months) == (90, {1: MonthRows(dates=9, rows=90)})
    assert len(parent.tally.answers_s) == 4
    assert parent.stopped_by is None, "5 failures of 9 are no sample yet"


def test_nobody_waits_for_a_window_that_died_without_a_word(parent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parent.windows is not None
    write_report(parent.services.store, PARENT, "w1", Report(is_idle=False))
    parent.windows.tell()
    parent.windows.look()
    assert not parent.windows.are_idle
    looks = looking(parent, monkeypatch)
    for _ in range(11):
        next(looks)
    assert not parent.windows.are_idle
    assert parent.windows.given_up("w1") == "", "it has been silent for 55 s, and may be for a minute"
    next(looks)
    next(looks)
    assert parent.windows.are_idle
    assert parent.windows.given_up("w1") == "nothing was heard of it for 65 s"
    parent.windows.replaced("w1")
    parent.windows.tell()
    orders, _ = read_orders(parent.services.store, PARENT)
    assert orders.given_up == {report_name(PARENT, "w1")}, "it may live after all"


def test_a_parent_that_was_frozen_with_all_of_its_windows_takes_none_of_them_for_dead(
    parent: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parent.windows is not None
    write_report(parent.services.store, PARENT, "w1", Report(is_idle=False))
    parent.windows.look()
    looks = looking(parent, monkeypatch, step_s=3_600)
    for _ in range(3):
        # Its first look after an hour comes before the windows could write.
        next(looks)
        assert parent.windows.given_up("w1") == ""
    write_report(parent.services.store, PARENT, "w1", Report(is_idle=False, calls=1))
    next(looks)
    assert parent.windows._silent_s == {report_name(PARENT, "w1"): 0.0}


def looking(parent: Run, monkeypatch: pytest.MonkeyPatch, step_s: float = 5.0) -> Iterator[None]:
    """Each ``next`` is a look so much later."""
    from flows.child_runs import parent as windows

    assert parent.windows is not None
    now_s = windows.time.monotonic()
    while True:
        now_s += step_s
        monkeypatch.setattr(windows.time, "monotonic", lambda at_s=now_s: at_s)
        parent.windows.look()
        yield


def test_failures_that_a_window_holds_for_are_judged_and_the_window_is_told_how_many_were_heard(parent: Run) -> None:
    assert parent.windows is not None
    store, failed = parent.services.store, (Outcome(cause="E 1"),) * 3
    write_report(store, PARENT, "w1", Report(outcomes=failed, holds=True))
    write_report(store, PARENT, "w2", Report(outcomes=failed))
    parent.windows.look()
    parent.windows.tell()
    assert read_orders(store, PARENT)[0].judged == {report_name(PARENT, "w1"): 3}
    write_report(store, PARENT, "w1", Report(outcomes=failed))
    parent.windows.look()
    parent.windows.tell()
    assert read_orders(store, PARENT)[0].judged == {}


def test_a_window_holds_sooner_again_once_a_date_has_landed() -> None:
    held: list[int] = []
    recorder = Recorder(0, lambda: held.append(recorder.unjudged))
    now = utc_now()

    def fail(times: int) -> None:
        for _ in range(times):
            recorder.failed("scrape", "E 1", now)

    fail(3)
    assert (held, recorder.unjudged) == ([3], 3)
    recorder.judged(2)
    assert recorder.unjudged == 3, "that was before the last of them"
    recorder.judged(3)
    fail(5)
    assert recorder.unjudged == 0
    fail(1)
    assert recorder.unjudged == 9, "twice as many as before"
    recorder.judged(9)
    recorder.succeeded("scrape", now)
    fail(3)
    assert held == [3, 9, 13]


def test_a_window_is_idle_only_under_the_orders_as_they_are(parent: Run) -> None:
    store = parent.services.store
    parent.windows.tell()
    _, first = read_orders(store, PARENT)
    write_report(store, PARENT, "w1", Report(orders=first))
    parent.windows.look()
    assert parent.windows.are_idle
    asyncio.run(parent.gate.shut("live work"))
    parent.windows.tell()
    assert not parent.windows.are_idle, "it may not have seen them"
    _, second = read_orders(store, PARENT)
    write_report(store, PARENT, "w1", Report(orders=second))
    parent.windows.look()
    assert parent.windows.are_idle


def test_orders_are_written_only_when_they_change(parent: Run) -> None:
    store = parent.services.store
    parent.windows.tell()
    _, first = read_orders(store, PARENT)
    parent.windows.tell()
    assert read_orders(store, PARENT)[1] == first


def test_an_unknown_critical_error_stays_critical_in_the_other_process() -> None:
    told = Stop(error_type="NoSuchError", message="m", abort="red_flag").as_error(SOURCE)
    assert type(told) is CriticalError
    assert told.facts == {"abort": "red_flag"}


def test_orders_survive_their_way_through_the_bucket() -> None:
    store = MemoryObjectStore()
    orders = Orders(closed_by=frozenset({"blackout"}), stop=Stop(error_type="CriticalError", message="m"))
    generation = write_orders(store, PARENT, orders)
    assert read_orders(store, PARENT) == (orders, generation)
