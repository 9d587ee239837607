"""A source that blocked us is in cooldown for a while; the run goes on by itself once, and then it is a person's."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import BlockedBySource, ConfigurationError, StateUnreadable
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from flows import backfill as backfill_module
from flows import daily as daily_module
from flows.asked import Asked
from flows.coordination import lease_loan as waiting
from flows.coordination.cooldown import Blocked, cool_down, lift_by_hand, refuse_while_cooling
from flows.coordination.intervention import Intervention
from flows.coordination.lease import Holder, Lease, read_lease
from flows.coordination.lease_loan import read_waiting
from flows.ledger.cooldowns import cooldown_name, cooling_until
from flows.ledger.resumes import Resume, keep_resume, read_resumes
from flows.ledger.verdicts import resumes_at
from flows.run import resume
from flows.run.plain_orchestrator import PlainOrchestrator

if TYPE_CHECKING:
    from .conftest import Place, Ran

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
SOURCE = "bdl_box_scores"
FIRST, LAST = "2025-01-10", "2025-01-14"


def test_h18_a_block_stops_the_run_and_leaves_the_source_alone_until_it_goes_on(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "html403"})
    run, facts = ran(FIRST, LAST, order="sequential")
    assert isinstance(run.stopped_by, BlockedBySource)
    assert facts.verdict == "ABORTED(critical)"
    assert facts.verdict_counts == {"blocked": 1, "paused": 4}
    until = resumes_at(run.stopped_by)
    assert until is not None
    assert place.entry("2025-01-14").evidence == f"{run.backfill_id} ended (critical) before it began this"
    mails = {one["subject"]: place.inbox.message(one["id"])["text"] for one in place.inbox.messages()}
    assert len(mails) == 2
    human = next(text for subject, text in mails.items() if "BLOCKED" in subject)
    assert f"refused until {until:%Y-%m-%d %H:%M} UTC" in human
    summary = next(text for subject, text in mails.items() if "STOPPED" in subject)
    commands = summary.count("prefect deployment run ")
    assert commands >= 2
    assert " ".join(summary.split()).count(f"Works from {until:%Y-%m-%d %H:%M} UTC") == commands
    for text in mails.values():
        assert f"gapless lift-cooldown {SOURCE} --reason WHY" in text

    before, asked_before = place.objects(), place.upstream.calls.report()["total"]
    asked = Asked.model_validate({"source": SOURCE, "start_date": "2025-03-01", "end_date": "2025-03-02"})
    with pytest.raises(ConfigurationError, match="in cooldown until"):
        asyncio.run(backfill_module.run_backfill(place.services, asked, "bf-other", PlainOrchestrator()))
    state = asyncio.run(daily_module.daily.fn(SOURCE))
    assert state.is_failed()
    assert "in cooldown until" in (state.message or "")
    # Whoever waits for the daily rows is told of the refusal; nothing but alerting writes.
    after = place.objects()
    assert [name for name in after.keys() - before.keys() if name.startswith("pending-alerts/")]
    assert {
        name: after[name]
        for name in after
        if not name.startswith(("pending-alerts/", "alert-state/limiter/", "clock.json"))
    } == before
    assert place.upstream.calls.report()["total"] == asked_before


def test_the_cooldown_is_over_at_its_end_and_concerns_no_other_source() -> None:
    now = NOW
    store = MemoryObjectStore(now=lambda: now)
    error = BlockedBySource("a challenge page", source="one")
    cool_down(store, error, blocked=Blocked("one"), backfill_id="bf-1", now=NOW, hours=2)
    refuse_while_cooling(store, "another", NOW)
    for after_h in (0.0, 1.9):
        now = NOW + dt.timedelta(hours=after_h)
        with pytest.raises(ConfigurationError, match="blocked bf-1"):
            refuse_while_cooling(store, "one", now)
    now = NOW + dt.timedelta(hours=2)
    refuse_while_cooling(store, "one", now)


def test_a_machine_whose_clock_is_wrong_begins_when_the_cooldown_is_over_and_no_minute_earlier() -> None:
    store, off = MemoryObjectStore(), dt.timedelta(minutes=10)
    error = BlockedBySource("a challenge page", source="one")
    began = utc_now() - dt.timedelta(hours=2)
    cool_down(store, error, blocked=Blocked("one"), backfill_id="bf-1", now=began, hours=2.05)
    with pytest.raises(ConfigurationError, match="blocked bf-1"):
        refuse_while_cooling(store, "one", utc_now() + off)
    cool_down(store, error, blocked=Blocked("one"), backfill_id="bf-2", now=began, hours=1.95)
    refuse_while_cooling(store, "one", utc_now() - off)


def test_a_block_of_one_source_cools_down_all_of_its_account_and_names_it() -> None:
    store = MemoryObjectStore()
    error = BlockedBySource("a challenge page", source="racing_cards")
    cool_down(store, error, blocked=Blocked("racing_cards"), backfill_id="bf-1", now=NOW, hours=2)
    assert "every run of the account the_racing_api is refused" in error.hint
    with pytest.raises(ConfigurationError, match="the account the_racing_api blocked bf-1"):
        refuse_while_cooling(store, "racing_results", NOW)
    refuse_while_cooling(store, SOURCE, NOW)
    lift_by_hand(store, "racing_reference", Intervention("me", "they said so", NOW))
    refuse_while_cooling(store, "racing_cards", NOW)


def test_a_block_of_one_host_of_a_site_leaves_the_sources_of_the_other_alone() -> None:
    store = MemoryObjectStore()
    error = BlockedBySource("a web page", source="nba_boxscores")
    cool_down(store, error, blocked=Blocked("nba_boxscores"), backfill_id="bf-1", now=NOW, hours=2)
    for blocked in ("nba_scoreboard", "nba_boxscores", "nba_gamelog"):
        with pytest.raises(ConfigurationError, match="the account nba_stats blocked bf-1"):
            refuse_while_cooling(store, blocked, NOW)
    for free in ("nba_schedule", "nba_playbyplay"):
        refuse_while_cooling(store, free, NOW)


def test_the_first_block_of_a_run_says_how_long_and_a_later_run_may_say_more() -> None:
    store = MemoryObjectStore()
    errors = [BlockedBySource("a challenge page", source="one") for _ in range(3)]
    for minutes, (error, run) in enumerate(zip(errors, ("bf-1", "bf-1", "bf-2"), strict=True)):
        now = NOW + dt.timedelta(minutes=minutes, seconds=1)
        cool_down(store, error, blocked=Blocked("one"), backfill_id=run, now=now, hours=2)
    ends = [resumes_at(error) for error in errors]
    # Whole minutes, because that is what people are told: the command of the mail works at the one it names.
    assert ends == [NOW + dt.timedelta(hours=2, minutes=minutes) for minutes in (1, 1, 3)]
    assert cooling_until(store, "one", NOW) == ends[-1]


def test_a_cooldown_is_lifted_by_hand_with_a_trace_and_refused_where_there_is_none(place: Place, gapless: Any) -> None:
    line = ("lift-cooldown", SOURCE, "--reason", "the vendor unblocked us")
    assert "never blocked a run" in gapless(*line).err
    assert place.objects() == {}
    now = utc_now()
    cool_down(place.store, BlockedBySource("a ban"), blocked=Blocked(SOURCE), backfill_id="bf-1", now=now, hours=2)
    status = gapless("status", SOURCE, "--json").data
    assert status["cooldown_until"]
    assert f"gapless lift-cooldown {SOURCE}" in status["answers"][7]["answer"]
    checks = {one["name"]: one for one in gapless("preflight", SOURCE, "--json").data["checks"]}
    assert (checks["time"]["result"], "in cooldown until" in checks["time"]["detail"]) == ("fail", True)

    lifted = gapless(*line, "--json")
    assert (lifted.code, lifted.data["backfill_id"]) == (0, "bf-1")
    (trace,) = place.store.list("audit/cooldowns/")
    kept = json.loads(place.store.read(trace.name)[0])
    assert lifted.data["audit"].endswith(trace.name)
    assert (kept["reason"], bool(kept["lifted_by"]), bool(kept["at"])) == ("the vendor unblocked us", True, True)
    refuse_while_cooling(place.store, SOURCE, now)
    assert gapless("status", SOURCE, "--json").data["cooldown_until"] is None
    again = gapless(*line)
    assert again.code == 1
    assert "was lifted at" in again.err
    # The next block cools down as the first one did.
    cool_down(place.store, BlockedBySource("a ban"), blocked=Blocked(SOURCE), backfill_id="bf-1", now=now, hours=2)
    with pytest.raises(ConfigurationError, match="in cooldown until"):
        refuse_while_cooling(place.store, SOURCE, now)


@pytest.mark.parametrize("waits", ["a backfill", "the daily run"])
def test_a_run_whose_turn_comes_while_the_source_is_in_cooldown_is_refused_and_frees_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.05)
    first = Lease.acquire(place.store, SOURCE, Holder("bf-first"), now=utc_now(), ttl_s=600)

    async def ends_blocked() -> None:
        while not read_waiting(place.store, SOURCE, utc_now()):
            await asyncio.sleep(0.05)
        error = BlockedBySource("a ban", source=SOURCE)
        cool_down(place.store, error, blocked=Blocked(SOURCE), backfill_id="bf-first", now=utc_now(), hours=1)
        first.release(utc_now())

    async def begins() -> str:
        if waits == "the daily run":
            state = await daily_module.daily.fn(SOURCE, wait_for_lease_s=30)
            return (state.message or "") * state.is_failed()
        given = {"source": SOURCE, "start_date": FIRST, "end_date": LAST, "wait_for_lease_s": 30}
        with pytest.raises(ConfigurationError) as refused:
            await backfill_module.run_backfill(
                place.services, Asked.model_validate(given), "bf-second", PlainOrchestrator()
            )
        return str(refused.value)

    async def story() -> str:
        said, _ = await asyncio.gather(begins(), ends_blocked())
        return said

    assert "in cooldown until" in asyncio.run(story())
    lease = read_lease(place.store, SOURCE)
    assert lease is not None
    assert lease.state == "released"
    assert read_waiting(place.store, SOURCE, utc_now()) == ()
    assert place.upstream.calls.report()["total"] == 0
    assert list(place.store.list("outbox/")) == [], "no mail is promised"


def test_a_cooldown_that_cannot_be_read_is_neither_over_nor_lifted(place: Place, gapless: Any) -> None:
    place.store.write(cooldown_name(SOURCE), b"{}")
    with pytest.raises(StateUnreadable):
        refuse_while_cooling(place.store, SOURCE, NOW)
    assert "state unreadable" in gapless("lift-cooldown", SOURCE, "--reason", "x").err
    assert list(place.store.list("audit/")) == []


def test_without_a_cooldown_nothing_waits_and_nothing_goes_on_by_itself() -> None:
    store = MemoryObjectStore()
    error = BlockedBySource("a challenge page", source="one")
    cool_down(store, error, blocked=Blocked("one"), backfill_id="bf-1", now=NOW, hours=0)
    assert list(store.list(cooldown_name("one"))) == []
    assert resumes_at(error) is None


@pytest.mark.parametrize(("resume_of", "times"), [("", 1), ("bf-earlier", 0)])
def test_a_blocked_run_goes_on_by_itself_once(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch, resume_of: str, times: int
) -> None:
    scheduled: list[dt.datetime] = []

    async def schedule(_: Any, at: dt.datetime) -> tuple[str, str]:
        scheduled.append(at)
        return "00000000-0000-0000-0000-000000000001", "grey-owl"

    monkeypatch.setattr(resume, "schedule_resume", schedule)
    monkeypatch.setattr(resume.deployment, "id", "a deployment", raising=False)
    place.upstream.trouble({"kind": "html403"})
    run, _ = ran(FIRST, LAST, resume_of=resume_of)
    assert run.stopped_by is not None
    over_at = resumes_at(run.stopped_by)
    behind = dt.timedelta(minutes=10)
    monkeypatch.setattr(resume, "utc_now", lambda: utc_now() - behind)
    asyncio.run(resume.note_resume(run))
    assert len(scheduled) == times
    # It is over by the clock of this machine, too: else the run would begin before that, and be stopped at once.
    assert all(over_at and at - behind >= over_at for at in scheduled)
    kept = read_resumes(place.store, SOURCE)
    assert [(one.at, one.waits_for, one.ranges) for one in kept] == [
        (at, "block", "2025-01-10..2025-01-14") for at in scheduled
    ]
    assert (run.facts.resumes_at, run.facts.resumes_as) == ((scheduled[0], "grey-owl") if times else (None, ""))
    assert any("blocked again" in note for note in run.notes) == (not times)


def test_a_resume_is_taken_back_when_its_range_was_completed_by_hand(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(resume, "_cancel", lambda one: cancelled.append(one.flow_run_name))
    now = utc_now()
    kept = Resume(
        backfill_id="bf-1",
        scheduled_at=now,
        at=now + dt.timedelta(hours=2),
        waits_for="block",
        flow_run_id="1",
        flow_run_name="grey-owl",
        ranges="2025-01-10..2025-01-12",
    )
    keep_resume(place.store, SOURCE, kept)
    ran("2025-01-10", "2025-01-11")
    assert resume.take_back_needless(place.services, SOURCE) == []
    ran("2025-01-12", "2025-01-12")
    assert resume.take_back_needless(place.services, SOURCE) == [kept]
    assert cancelled == ["grey-owl"]
    assert read_resumes(place.store, SOURCE) == ()
