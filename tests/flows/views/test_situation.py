"""The truth table: every state of the world x what people are told of it, with no cell that contradicts another.

Each world is made by the code that makes it in a real run, on a store in memory. What is told is read through the same
doors as people use: `gapless status`, the progress artifact, the mail. What is called refused, and what not, is tried.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    LeaseHeld,
    Shrunk,
    SourceUnavailable,
)
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from alerting.message import from_bytes
from alerting.outbox import Outbox
from flows.asked import Asked
from flows.closing.close import close_dead_runs
from flows.closing.finish import finish, pause
from flows.coordination.cooldown import lift_by_hand, refuse_while_cooling
from flows.coordination.intervention import Intervention
from flows.coordination.lease import Holder, Lease
from flows.coordination.lease_loan import Waiting, waiting_name
from flows.coordination.standstill import BLACKOUT, LIVE, SOURCE_DOWN, Standstill
from flows.ledger.ledger import Verdict
from flows.ledger.resumes import drop_resumes
from flows.ledger.verdicts import abort_reason
from flows.planning.planner import plan_asked
from flows.run import resume as resuming
from flows.run.artifacts import now_of
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.progress import ending_of
from flows.run.recording import record_failure
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.settings import Settings
from flows.views.situation import State, situation_of
from flows.views.status import source_status
from flows.wiring import Services

SOURCE = "bdl_box_scores"
KEYS = [f"2025-01-{day:02d}" for day in range(1, 11)]
HOUR = dt.timedelta(hours=1)
RESUME = "00000000-0000-0000-0000-000000000001"
INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")


class CountedStore(MemoryObjectStore):
    """Says what it was asked, as the real one does."""

    def __init__(self) -> None:
        super().__init__(now=lambda: self.at or utc_now())
        self.calls: dict[str, int] = {}
        self.at: dt.datetime | None = None


@dataclasses.dataclass
class World:
    """One source, the run in question if there is one, and what is expected of the cells."""

    services: Services
    run: Run | None = None
    lease: Lease | None = None
    now: dt.datetime = dataclasses.field(default_factory=utc_now)

    def begin(self, backfill_id: str = "bf-1", *, ttl_s: float = 3600, **asked: Any) -> Run:
        given = Asked(source=SOURCE, start_date=dt.date(2025, 1, 1), end_date=dt.date(2025, 1, 10), **asked)
        holder = Holder(backfill_id, "11111111-1111-1111-1111-111111111111", range_text=given.range_text)
        self.lease = Lease.acquire(self.services.store, SOURCE, holder, now=utc_now(), ttl_s=ttl_s)
        self.run = Run(self.services, given, backfill_id, PlainOrchestrator())
        planned = plan_asked(self.services, given, utc_now(), backfill_id)
        self.run.begin(planned, starting_facts(self.services, planned.plan, {}, backfill_id, given))
        return self.run

    def do(self, *keys: str, rows: int = 2) -> None:
        assert self.run is not None
        for key in keys:
            changes = {"nba_bdl_games": {"created": rows, "unchanged": 3}}
            self.run.ledger.advance(key, Verdict.VERIFIED, self.run.backfill_id, utc_now(), attempts=1, changes=changes)

    def fail(self, error: Exception, *keys: str) -> None:
        assert self.run is not None
        for key in keys:
            record_failure(self.run, key, error, "scrape", key)

    def finish(self, aborted: str | None = None) -> None:
        run = self.run
        assert run is not None
        asyncio.run(resuming.note_resume(run))
        finish(run, abort_reason(run.stopped_by) if aborted is None else aborted)
        run.close()


def never_run(world: World) -> None:
    pass


def running(world: World) -> None:
    world.begin()
    world.do(*KEYS[:3])
    world.fail(SourceUnavailable("503", source=SOURCE), KEYS[3])


def waiting_for_the_lease(world: World) -> None:
    running(world)
    now = utc_now()
    waits = Waiting(backfill_id="bf-2", range_text="2025-02", since=now, until=now + HOUR, seen_at=now)
    world.services.store.write(waiting_name(SOURCE, "bf-2"), waits.model_dump_json().encode())


def refused_by_the_lease(world: World) -> None:
    running(world)
    with pytest.raises(LeaseHeld):
        Lease.acquire(world.services.store, SOURCE, Holder("bf-2"), now=utc_now(), ttl_s=60)


def standing_still(why: str, **rest: Any) -> Callable[[World], None]:
    def build(world: World) -> None:
        running(world)
        assert world.lease is not None
        assert world.run is not None
        world.lease.standstill = world.run.standing_still = Standstill(why=why, **rest)
        world.lease.heartbeat(utc_now())

    return build


def suspended(world: World) -> None:
    running(world)
    assert world.run is not None
    pause(world.run)


def suspended_for_hours(world: World) -> None:
    suspended(world)
    world.now = utc_now() + 3 * HOUR


def at_the_wall(world: World, **asked: Any) -> None:
    world.begin(**asked)
    world.do(*KEYS[:3])
    resets_at = utc_now() + 2 * HOUR
    world.fail(BudgetExhausted("10 calls a day are used up", source=SOURCE, resets_at=resets_at.isoformat()), KEYS[3])
    world.finish()


def blocked(world: World, **asked: Any) -> None:
    world.begin(**asked)
    world.do(*KEYS[:3])
    world.fail(BlockedBySource("a challenge page", source=SOURCE), KEYS[3])
    world.finish()


def blocked_again(world: World) -> None:
    blocked(world, resume_of="bf-0")


def blocked_and_lifted(world: World) -> None:
    blocked(world)
    lift_by_hand(world.services.store, SOURCE, Intervention("me", "they said so", utc_now()))


def refused_by_the_cooldown(world: World) -> None:
    blocked(world)
    with pytest.raises(ConfigurationError):
        refuse_while_cooling(world.services.store, SOURCE, utc_now())


def overdue(world: World) -> None:
    at_the_wall(world)
    world.now = utc_now() + 3 * HOUR


def resumed(world: World) -> None:
    at_the_wall(world)
    drop_resumes(world.services.store, SOURCE, [RESUME])
    world.begin("bf-2", resume_of="bf-1")
    world.do(KEYS[3])


def completed_by_hand(world: World) -> None:
    blocked_and_lifted(world)
    world.begin("bf-2")
    world.do(*KEYS[3:])
    world.finish()


def hung(world: World) -> None:
    running(world)
    world.services.settings = world.services.settings.model_copy(update={"stall_s": 30.0})
    world.now = utc_now() + dt.timedelta(seconds=60)


def dead(world: World) -> None:
    running(world)
    world.now = utc_now() + 2 * HOUR
    vars(world.services.store)["at"] = world.now


def cancelled(world: World) -> None:
    running(world)
    world.finish("user")


def killed(world: World) -> None:
    dead(world)
    close_dead_runs(world.services, world.now, SOURCE)


def ended(*errors: Exception, aborted: str | None = None) -> Callable[[World], None]:
    def build(world: World) -> None:
        world.begin()
        world.do(*KEYS[len(errors) :])
        for key, error in zip(KEYS, errors, strict=False):
            world.fail(error, key)
        world.finish(aborted)

    return build


def done_before(world: World) -> None:
    ended()(world)
    world.begin("bf-2")
    world.finish()


DOWN, BROKEN = SourceUnavailable("503", source=SOURCE), CriticalError("what is this", source=SOURCE)
DEAD_KEY = AuthenticationError("the source answered 401", source=SOURCE)
FEWER = Shrunk("nba_bdl_games: 9 rows before, 1 after", source=SOURCE)
NOTHING = "nothing to do"
# world: how it is made, its state, what it is paused for, the begin of the next step, the word in the mail's subject
WORLDS: dict[str, tuple[Callable[[World], None], State, str, str, str]] = {
    "never run": (never_run, State.NEVER_RUN, "", NOTHING, ""),
    "running": (running, State.RUNNING, "", NOTHING, ""),
    "waiting for the lease": (waiting_for_the_lease, State.RUNNING, "", NOTHING, ""),
    "refused by the lease": (refused_by_the_lease, State.RUNNING, "", NOTHING, ""),
    "paused by a blackout": (
        standing_still(BLACKOUT, until=dt.datetime(2031, 1, 1, 2, tzinfo=dt.UTC)), State.PAUSED, BLACKOUT, NOTHING, ""
    ),
    "paused by live work": (standing_still(LIVE, live_id="daily-1"), State.PAUSED, LIVE, NOTHING, ""),
    "paused by a source that is down": (
        standing_still(SOURCE_DOWN, until=dt.datetime(2031, 1, 1, 2, tzinfo=dt.UTC)),
        State.PAUSED,
        SOURCE_DOWN,
        NOTHING,
        "",
    ),
    "paused by a person": (suspended, State.PAUSED, "a person", "press Resume", ""),
    "paused by a person for hours": (suspended_for_hours, State.PAUSED, "a person", "press Resume", ""),
    "paused by a wall": (at_the_wall, State.PAUSED, "quota", NOTHING, "PAUSED"),
    "paused by a block": (blocked, State.PAUSED, "block", NOTHING, "PAUSED"),
    "block lifted": (blocked_and_lifted, State.PAUSED, "block", NOTHING, "PAUSED"),
    "refused by the cooldown": (refused_by_the_cooldown, State.PAUSED, "block", NOTHING, "PAUSED"),
    "blocked again": (blocked_again, State.IN_COOLDOWN, "", "wait until", "STOPPED"),
    "resume is overdue": (overdue, State.PAUSED, "quota", "start a worker", "PAUSED"),
    "resuming": (resumed, State.RUNNING, "", NOTHING, ""),
    "completed by hand": (completed_by_hand, State.IDLE, "", NOTHING, "OK"),
    "hung": (hung, State.HUNG, "", "look at its log", ""),
    "dead": (dead, State.DEAD, "", NOTHING, ""),
    "cancelled": (cancelled, State.IDLE, "", "gapless run", "CANCELLED"),
    "killed": (killed, State.IDLE, "", "gapless run", "STOPPED"),
    "ended COMPLETE": (ended(), State.IDLE, "", NOTHING, "OK"),
    "ended COMPLETE, all was done before": (done_before, State.IDLE, "", NOTHING, "OK"),
    "ended ACCEPTABLE": (ended(DOWN), State.IDLE, "", "gapless retry-failed", "OK-WITH-GAPS"),
    "ended FAILED": (ended(DOWN, DOWN), State.IDLE, "", "gapless retry-failed", "FAILED"),
    "ended with fewer rows than before": (ended(FEWER), State.IDLE, "", "gapless retry-failed", "FAILED"),
    "ended by a dead key": (ended(DEAD_KEY), State.IDLE, "", "renew the key", "STOPPED"),
    "ended by an error": (ended(BROKEN), State.IDLE, "", "gapless retry-failed", "STOPPED"),
    "ended by a red flag": (ended(DOWN, DOWN, aborted="red_flag"), State.IDLE, "", "gapless retry-failed", "STOPPED"),
    "ended by its budget": (ended(DOWN, DOWN, aborted="budget"), State.IDLE, "", "gapless retry-failed", "STOPPED"),
    "ended by its deadline": (ended(DOWN, DOWN, aborted="deadline"), State.IDLE, "", "gapless retry-failed", "STOPPED"),
}  # fmt: skip


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    async def schedule(_: Any, __: dt.datetime) -> tuple[str, str]:
        return RESUME, "grey-owl"

    monkeypatch.setattr(Services, "store", CountedStore())
    monkeypatch.setattr(resuming, "schedule_resume", schedule)
    monkeypatch.setattr(resuming, "_cancel", lambda _: None)
    monkeypatch.setattr(resuming.deployment, "id", "a deployment", raising=False)
    return Services(Settings(project="p", console_only=True, block_cooldown_h=2))


@dataclasses.dataclass
class Cells:
    """One row of the table."""

    status: dict[str, Any]
    said: dict[int, str]
    artifact: str
    subject: str
    mail: str

    @property
    def everything(self) -> dict[str, str]:
        answers = {f"question {number}": text for number, text in self.said.items()}
        return {**answers, "next step": self.status["next_step"], "artifact": self.artifact, "mail": self.mail}


def cells_of(world: World) -> Cells:
    status = source_status(world.services, SOURCE, world.now, newest=0)
    entry = next((one for one in map(Outbox(world.services.store).read, ("bf-2", "bf-1")) if one), None)
    artifact, subject, text = "", "", ""
    if entry is not None and entry.closed:
        mail = from_bytes(world.services.store.read(entry.mail_object)[0])
        body = mail.get_body(("plain",))
        assert body is not None
        artifact, subject, text = ending_of(entry.run_facts), mail["Subject"], " ".join(body.get_content().split())
    elif world.run is not None:
        still = world.run.standing_still
        artifact = f"{still.describe()}; {now_of(world.run).counts}" if still else now_of(world.run).describe()
    said = {one["number"]: one["answer"] for one in status["answers"]}
    return Cells(status, said, artifact, subject, text)


def works_now(world: World) -> bool:
    """Whether a run that is started in this moment gets as far as its plan: tried, on a copy of the world."""
    here = world.services.store
    assert isinstance(here, CountedStore)
    store = here.copy(lambda: here.at or utc_now())
    try:
        refuse_while_cooling(store, SOURCE, world.now)
        Lease.acquire(store, SOURCE, Holder("bf-tried"), now=world.now, ttl_s=60)
    except (LeaseHeld, ConfigurationError):
        return False
    return True


@pytest.mark.parametrize("name", list(WORLDS))
def test_no_cell_of_the_truth_table_contradicts_another(services: Services, name: str) -> None:
    build, state, paused_for, next_step, outcome = WORLDS[name]
    world = World(services)
    build(world)
    world.now = max(world.now, utc_now())
    cells = cells_of(world)
    status, said, everything = cells.status, cells.said, cells.everything
    situation = situation_of(services, SOURCE, world.now)

    # The state is one, and every question begins from it.
    assert (status["state"], status["paused_for"]) == (state.value, paused_for)
    assert status["next_step"].startswith(next_step), status["next_step"]
    assert said[1].startswith(status["headline"])
    assert status["headline"].startswith(state.value), status["headline"]
    assert f"[{outcome}" in cells.subject if outcome else not cells.subject, cells.subject

    # One command is next, wherever it is said.
    if next_step == "gapless retry-failed":
        assert status["next_step"] == said[6]

    # What runs is said to run, by all; what does not, by none.
    idle = [cell for cell, text in everything.items() if "nothing runs" in text]
    assert not idle if situation.is_alive else "question 5" in idle or state in (State.DEAD, State.PAUSED), idle
    assert ("running:" in said[1]) == (state is State.RUNNING)

    # What would be refused is called refused wherever a command is offered; what would work is not.
    refused = [cell for cell in ("question 5", "question 6") if "refused" in everything[cell]]
    if works_now(world):
        assert situation.refusal == ""
        assert refused == []
    else:
        assert situation.refusal
        # The command waits for a run that is alive, as those of the mails do; for a cooldown it does not.
        is_waiting = "waits for its turn" in said[6]
        assert is_waiting == (situation.is_alive and bool(status["failed"]))
        assert refused == ["question 5", "question 6"] if status["failed"] and not is_waiting else ["question 5"]
        assert not status["next_step"].startswith("gapless r"), "a next step that would be refused"

    # One instant at which it changes by itself, the same in all cells.
    if status["until"]:
        told = f"{status['until']:%Y-%m-%d %H:%M} UTC"
        assert ("before" in said[5]) == (paused_for == "quota" and not situation.is_overdue)
        for cell in ("question 1", "question 12" if state is State.PAUSED else "question 1", "question 15"):
            assert told in everything[cell], cell
        if state is State.PAUSED and not situation.is_alive:
            assert told in everything["mail"]
            assert told in cells.artifact
            assert told in said[6] or not status["failed"] or situation.is_overdue
    elif not situation.is_alive:
        for cell in ("question 5", "question 6", "question 12", "question 15", "next step"):
            assert not INSTANT.search(everything[cell].replace(status["headline"], "")), cell

    # One count of dates, and of those that failed.
    if situation.progress:
        assert situation.progress.failed == sum(cause["partitions"] for cause in status["failed"])
    if status["progress"] and "/" in cells.artifact:
        counts = situation.progress.counts if situation.progress else ""
        assert counts in cells.artifact
        assert counts in said[12] or state is State.HUNG
    if outcome:
        good = sum(one.verdict.is_good for one in situation.entries.values())
        kept = sum(one.verdict is Verdict.SHRUNK for one in situation.entries.values())
        lost = 10 - good - kept
        lacking = f"{lost} of 10 missing" if lost else f"{kept} of 10 shrunk"
        assert f"{good} of 10 done" in cells.subject or lacking in cells.subject or good == 10
        assert cells.artifact.split(":")[0] == Outbox(services.store).read(situation.backfill_id).run_facts.verdict  # type: ignore[union-attr]

    # A mail that is out is not called owed, and alerts are muted while a run is alive and no longer.
    if situation.run:
        assert ("sent " in said[10]) == situation.run.closed
        assert ("PENDING" in said[10]) == (state is State.DEAD)
        assert ("nothing is muted" in said[10]) == (not situation.is_alive)
        assert (status["run"]["verdict"] == "lost contact") == (state is State.DEAD)

    # Dates whose rows changed, and no others.
    mine = sorted(key for key in KEYS if (one := situation.entries.get(key)) and one.changes and _is_by(one, situation))
    assert (f"changed rows of {mine[0]}" in said[13]) if mine else ("changed no row" in said[13])


def test_after_a_dead_key_mail_and_status_give_one_command_for_all_that_is_open(services: Services) -> None:
    world = World(services)
    world.begin()
    world.do(*KEYS[:3])
    world.fail(DEAD_KEY, KEYS[3])
    world.finish()
    cells = cells_of(world)
    assert "7 missing" in cells.mail
    assert "Renew or unlock the key first, then this." in cells.mail
    assert cells.mail.count("prefect deployment run") == 1
    assert "-p start_date=2025-01-01 -p end_date=2025-01-10 " in cells.mail.replace("\\ ", "")
    assert cells.status["next_step"].startswith("renew the key")
    assert cells.status["next_step"].count("gapless run ") == 1


def _is_by(entry: Any, situation: Any) -> bool:
    return bool(situation.run) and entry.backfill_id == situation.run.backfill_id


def test_a_run_that_waits_for_its_turn_is_named_until_it_has_it(services: Services) -> None:
    world = World(services)
    waiting_for_the_lease(world)
    said = cells_of(world).said[1]
    assert "bf-2 (2025-02) waits for its turn until" in said
    world.now = utc_now() + dt.timedelta(minutes=3)
    assert "bf-2" not in cells_of(world).said[1], "it has given no sign of life"


def test_after_a_cooldown_was_lifted_a_rerun_works_and_the_scheduled_one_is_still_named(services: Services) -> None:
    world = World(services)
    blocked_and_lifted(world)
    said = cells_of(world).said
    assert "works now" in said[5]
    assert said[8] == "nobody"
    assert "grey-owl" in said[1]


def test_dates_that_were_only_looked_at_are_not_called_changed(services: Services) -> None:
    world = World(services)
    world.begin()
    world.do(*KEYS, rows=0)
    world.finish()
    assert cells_of(world).said[13].endswith("the last run changed no row")


def test_more_towns_than_a_person_can_paste_are_taken_up_together(services: Services) -> None:
    def next_step(towns: range) -> str:
        ledger = services.source_kit("civic_band").ledger
        for number in towns:
            ledger.advance(f"town-{number:04d}.ca~agendas", Verdict.PLANNED, "bf-1", utc_now(), attempts=1)
        return situation_of(services, "civic_band", utc_now()).next_step

    assert next_step(range(2)) == (
        "gapless run civic_band --entities 'town-0000.ca~agendas, town-0001.ca~agendas' --reason errors"
    )
    assert next_step(range(2, 300)) == "gapless run civic_band --entities all --reason errors"
