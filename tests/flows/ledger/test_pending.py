"""What a run planned and did not begin has a verdict too, for one write."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import BudgetExhausted, CriticalError, StateUnreadable
from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.closing.finish import finish, pause
from flows.ledger.ledger import Ledger, Verdict
from flows.ledger.pending import Pending, leave_pending, pending_name, read_pending
from flows.parameters import Mode
from flows.planning.plan import Path
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import record_failure
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.settings import Settings
from flows.views.status import source_status
from flows.wiring import Services

if TYPE_CHECKING:
    from .conftest import Place

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
SOURCE = "bdl_box_scores"
RESET = dt.datetime(2025, 2, 2, tzinfo=dt.UTC)


class CountingStore(MemoryObjectStore):
    """Counts writes by the first part of the name."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.calls: dict[str, int] = {}

    def write(self, name: str, data: bytes, **rest: Any) -> int:
        self.written.append(name)
        return super().write(name, data, **rest)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    """Services on a store in memory; nothing else may be touched."""
    monkeypatch.setattr(Services, "store", CountingStore())
    return Services(Settings(project="p", console_only=True))


def asked(start: str, end: str, **rest: Any) -> Asked:
    return Asked(source=SOURCE, start_date=dt.date.fromisoformat(start), end_date=dt.date.fromisoformat(end), **rest)


def begun(services: Services, given: Asked, backfill_id: str) -> Run:
    run = Run(services, given, backfill_id, PlainOrchestrator())
    planned = plan_asked(services, given, NOW, backfill_id)
    run.begin(planned, starting_facts(services, planned.plan, {}, backfill_id, given))
    return run


def hit_the_wall(run: Run, key: str) -> None:
    run.tally.begin_try(key)
    wall = BudgetExhausted("10,000 calls a day are used up", source=SOURCE, resets_at=RESET.isoformat())
    record_failure(run, key, wall, "scrape", key)


def test_behind_a_wall_ten_years_of_dates_are_paused_by_one_write_and_say_when_they_go_on(services: Services) -> None:
    run = begun(services, asked("2014-12-31", "2024-12-30"), "bf-1")
    hit_the_wall(run, "2014-12-31")
    services.store.written.clear()
    facts = finish(run, "budget")
    assert facts.verdict == "ABORTED(budget)"
    assert facts.verdict_counts == {"paused": 3_653}
    assert [name for name in services.store.written if name.startswith("ledger/")] == [pending_name(SOURCE)]

    entries = Ledger(services.store, SOURCE).refresh()
    assert len(entries) == 3_653
    assert {entry.verdict for entry in entries.values()} == {Verdict.PAUSED}
    assert entries["2020-02-29"].evidence == "bf-1 ended (budget) before it began this"
    (told,) = source_status(services, SOURCE, NOW, newest=0)["pending"]
    assert (told["partitions"], told["ranges"]) == (3_652, "2015-01-01…2024-12-30")
    assert told["why"] == "bf-1 ended (budget) before it began this"


@pytest.mark.parametrize("aborted", ["user", "critical", "crashed", "deadline"])
def test_an_ended_run_leaves_no_planned_partition_without_a_verdict(services: Services, aborted: str) -> None:
    run = begun(services, asked("2025-01-01", "2025-01-10"), "bf-1")
    record_failure(run, "2025-01-03", CriticalError("gone", source=SOURCE), "scrape", "2025-01-03")
    facts = finish(run, aborted)
    entries = Ledger(services.store, SOURCE).refresh()
    assert sorted(entries) == sorted(run.work.partitions)
    assert facts.verdict_counts == {"planned": 9, "failed_permanent": 1}
    status = source_status(services, SOURCE, NOW, newest=0)
    assert status["verdicts"] == {"failed_permanent": 1, "planned": 9}
    assert status["pending"][0]["why"] == f"bf-1 ended ({aborted}) before it began this"


def test_a_suspended_run_leaves_its_rest_paused(services: Services) -> None:
    run = begun(services, asked("2025-01-01", "2025-01-10"), "bf-1")
    from flows.coordination.lease import Holder, Lease

    Lease.acquire(services.store, SOURCE, Holder("bf-1"), now=NOW, ttl_s=60)
    pause(run)
    assert {one.verdict for one in Ledger(services.store, SOURCE).refresh().values()} == {Verdict.PAUSED}


def test_what_is_pending_is_fetched_by_the_next_plan_whose_run_takes_it_off_the_list(services: Services) -> None:
    first = begun(services, asked("2025-01-01", "2025-01-10"), "bf-1")
    finish(first, "user")
    second = begun(services, asked("2025-01-03", "2025-01-04"), "bf-2")
    plan = plan_asked(services, asked("2025-01-03", "2025-01-04"), NOW).plan
    assert [(item.path, item.why) for item in plan.items] == [(Path.FETCH, "planned")] * 2
    for key in second.work.partitions:
        second.ledger.advance(key, Verdict.VERIFIED, "bf-2", NOW, attempts=1)
    assert finish(second, "").verdict == "COMPLETE"
    (left,) = read_pending(services.store, SOURCE)
    assert left.backfill_id == "bf-1"
    assert left.keys == ["2025-01-01", "2025-01-02", *(f"2025-01-{day:02d}" for day in range(5, 11))]


def test_an_entry_of_its_own_always_wins_over_the_list(services: Services) -> None:
    store = services.store
    leave_pending(store, SOURCE, [], record("2025-01-01..2025-01-02"))
    ledger = Ledger(store, SOURCE)
    ledger.refresh()
    ledger.advance("2025-01-01", Verdict.LANDED, "bf-2", NOW, attempts=1)
    found = ledger.refresh()
    assert {key: one.verdict.value for key, one in found.items()} == {"2025-01-01": "landed", "2025-01-02": "planned"}
    assert ledger.get("2025-01-01") == found["2025-01-01"]


def record(ranges: str, backfill_id: str = "bf-1") -> Pending:
    return Pending(backfill_id=backfill_id, verdict="planned", why="w", at=NOW, ranges=ranges)


def test_a_run_that_only_recounts_leaves_nothing_pending(services: Services) -> None:
    run = begun(services, asked("2025-01-01", "2025-01-10", mode=Mode.VALIDATE), "bf-1")
    finish(run, "")
    assert read_pending(services.store, SOURCE) == ()


def test_two_runs_that_end_at_once_lose_neither_list(services: Services) -> None:
    class Racing(CountingStore):
        raced = False

        def write(self, name: str, data: bytes, **rest: Any) -> int:
            if not self.raced:
                self.raced = True
                leave_pending(self, SOURCE, [], record("2024-01-01", "bf-2"))
            return super().write(name, data, **rest)

    store = Racing()
    leave_pending(store, SOURCE, [], record("2025-01-01"))
    assert {one.backfill_id for one in read_pending(store, SOURCE)} == {"bf-1", "bf-2"}


def test_an_unreadable_list_stops_the_run_like_any_unreadable_state(services: Services) -> None:
    services.store.write(pending_name(SOURCE), b'[{"ranges": 3}]')
    with pytest.raises(StateUnreadable, match="nothing was changed"):
        plan_asked(services, asked("2025-01-01", "2025-01-02"), NOW)


def test_the_audit_calls_pending_dates_unfinished_and_believes_what_is_there(place: Place, gapless: Any) -> None:
    (manifest,) = place.land("2025-01-02", record=False)
    assert manifest.partition == "2025-01-02"
    leave_pending(place.store, SOURCE, [], record("2025-01-01..2025-01-03"))
    found = gapless("audit", SOURCE, "--from", "2025-01-01", "--to", "2025-01-03", "--json")
    by_deficit = {one["deficit"]: (one["ranges"], one["why"]) for one in found.data["deficits"]}
    assert by_deficit["unfinished"] == ("2025-01-01, 2025-01-03", "planned: w")
    assert by_deficit["landed_not_loaded"][0] == "2025-01-02"
    # A run over years that a person cancelled makes the daily audit look no further than what was begun; one that
    # crashed does.
    for ended, unfinished in (("user", "2025-01-03"), ("crashed", "2025-01-01, 2025-01-03")):
        why = f"bf-1 ended ({ended}) before it began this"
        left = record("2025-01-01..2025-01-03").model_copy(update={"why": why})
        leave_pending(place.store, SOURCE, left.keys, left)
        unasked = gapless("audit", SOURCE, "--to", "2025-01-03", "--json")
        assert {one["deficit"]: one["ranges"] for one in unasked.data["deficits"]} == {
            "unfinished": unfinished,
            "landed_not_loaded": "2025-01-02",
        }
    leave_pending(place.store, SOURCE, left.keys, left.model_copy(update={"why": "w"}))
    status = gapless("status", SOURCE)
    assert "planned: 3 not started: 2025-01-01…2025-01-03 (w)" in status.out


def test_the_tables_of_a_resumed_run_are_whole(place: Place) -> None:
    from flows.dates import land_partition

    services = place.services
    run = begun(services, asked("2025-01-10", "2025-01-12"), "bf-00000000001")
    hit_the_wall(run, "2025-01-10")
    finish(run, "budget")
    again = begun(services, asked("2025-01-10", "2025-01-12", resume_of="bf-00000000001"), "bf-00000000002")

    async def each() -> None:
        for key in again.work.partitions:
            await land_partition(again, key)

    with again:
        asyncio.run(each())
    place.load([one.manifest for one in again.work.landed.values()])
    assert finish(again, "").verdict == "COMPLETE"
    assert read_pending(services.store, SOURCE) == ()
