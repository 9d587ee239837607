"""Rows that wait for approval: from a full run to a person's decision, on the emulators and without Prefect."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.errors import ConfigurationError, LeaseHeld, WarehouseBusy
from alerting.instant import Instant, utc_now
from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.backfill import decided, run_backfill
from flows.cli.care import who
from flows.closing.close import close_backfill, close_dead_runs
from flows.closing.review import approve, look_after_reviews, reject
from flows.coordination.intervention import Intervention
from flows.coordination.lease import Holder, Lease, lease_record
from flows.daily import without_reviewed
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.reviews import Review, ReviewState, begin_review, entries_before, named_review, review_record
from flows.parameters import Mode, Publish
from flows.planning.planner import plan_asked
from flows.run.orchestrator import Decided, Decision
from flows.run.plain_orchestrator import PlainOrchestrator
from processors.review import Stale
from processors.review_dataset import ReviewDataset

if TYPE_CHECKING:
    from ..conftest import Place

SOURCE, RUN = "bdl_box_scores", "bf-review000001"
FIRST, LAST, DAYS = "2025-01-10", "2025-01-12", 3
BOTH = [FIRST, "2025-01-11", LAST]


def rows(place: Place) -> list[dict[str, Any]]:
    return place.sql("SELECT TO_JSON_STRING(t) AS j FROM {lines} t ORDER BY j")


def games(place: Place, date: str) -> int:
    return int(place.sql(f"SELECT COUNT(*) AS n FROM {{games}} WHERE game_date = DATE '{date}'")[0]["n"])


def entries(place: Place) -> dict[str, LedgerEntry]:
    return place.ledger.refresh()


def mails(place: Place) -> list[dict[str, Any]]:
    return [place.inbox.message(one["id"]) for one in place.inbox.messages()]


def me(reason: str = "") -> Intervention:
    return Intervention("maria", reason, utc_now())


def asked(**given: Any) -> Asked:
    whole = {"source": SOURCE, "start_date": FIRST, "end_date": LAST, "max_concurrency": 2}
    return Asked.model_validate({**whole, "mode": Mode.FULL, "publish": Publish.AFTER_APPROVAL, **given})


def run(place: Place, run_id: str = RUN, **given: Any) -> str:
    state = asyncio.run(run_backfill(place.services, asked(**given), run_id, PlainOrchestrator()))
    return str(state.message)


@pytest.fixture(autouse=True)
def no_server() -> Iterator[None]:
    """Nobody is told where Prefect is, so nobody looks for it."""
    with temporary_settings({PREFECT_API_URL: None}):
        yield


@pytest.fixture
def filled(place: Place) -> Place:
    place.fill(FIRST, DAYS)
    return place


@pytest.fixture
def waiting(filled: Place) -> Place:
    """One date has other rows at the source, one has fewer, one is as it was; they wait for approval."""
    filled.upstream.trouble({"kind": "one_game", "dates": [LAST]})
    assert run(filled) == f"1 partition waits for approval: gapless approve {RUN}"
    return filled


def review_of(place: Place) -> Review:
    return named_review(place.store, RUN)


def test_a_full_run_leaves_the_tables_as_they_are_and_mails_what_would_change(filled: Place) -> None:
    before, had = rows(filled), games(filled, LAST)
    filled.upstream.trouble({"kind": "one_game", "dates": [LAST]})
    run(filled)
    assert rows(filled) == before
    assert {key: one.verdict for key, one in entries(filled).items()} == {
        FIRST: Verdict.VERIFIED, "2025-01-11": Verdict.VERIFIED, LAST: Verdict.STAGED,
    }  # fmt: skip
    review = review_of(filled)
    assert (review.state, review.keys, review.round) == (ReviewState.OPEN, [LAST], 1)
    (mail,) = mails(filled)
    assert mail["subject"] == f"[backfill][REVIEW] {SOURCE} {LAST} · fewer rows · approve or reject"
    # A phone shows these lines first.
    assert mail["text"].index("gapless approve") < mail["text"].index("FEWER ROWS") < mail["text"].index("rows added")
    for told in (
        f"nba_bdl_games: 0 rows added, 0 changed, {had - 1} removed",
        f"2025-01  +0  ~0  -{had - 1}",
        "removed: ",
        f"FEWER ROWS THAN USUAL on {LAST}: nba_bdl_games: {had} rows before, 1 after",
        f"gapless approve {RUN}",
        f"gapless reject {RUN} --reason WHY",
    ):
        assert told in mail["text"], mail["text"]


def test_approved_rows_are_published_recounted_and_told_in_the_summary(waiting: Place, gapless: Any) -> None:
    done = gapless("approve", RUN, "--reason", "the league said so")
    assert (done.code, done.out.splitlines()[-1]) == (0, f"published: 1 partition of {SOURCE} ({LAST}); COMPLETE")
    assert games(waiting, LAST) == 1
    entry = entries(waiting)[LAST]
    assert (entry.verdict, entry.loaded["nba_bdl_games"]) == (Verdict.VERIFIED, 1)
    assert f"accepted by {who()} in {RUN}: the league said so" in entry.accepted
    assert entry.changes["nba_bdl_games"]["removed"] > 0
    review = review_of(waiting)
    assert (review.state, review.decided_by, review.reason) == (ReviewState.PUBLISHED, who(), "the league said so")
    assert [mail["subject"].split("]")[1] for mail in mails(waiting)] == ["[OK 3/3", "[REVIEW"]
    with pytest.raises(ConfigurationError, match=f"review {RUN} was published by {who()} at"):
        approve(waiting.services, RUN, me())
    again = gapless("reject", RUN, "--reason", "too late")
    assert again.code == 1
    assert "was published by" in again.err


def test_what_is_published_ends_its_run_also_when_the_dataset_beside_cannot_be_dropped(
    waiting: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: ReviewDataset) -> None:
        raise WarehouseBusy("backendError")

    monkeypatch.setattr(ReviewDataset, "drop_dataset", busy)
    closed = approve(waiting.services, RUN, me())
    assert closed is not None
    assert closed.facts.verdict == "COMPLETE"
    assert review_of(waiting).state is ReviewState.PUBLISHED


def test_rejected_rows_are_dropped_and_the_old_verdicts_are_back(filled: Place) -> None:
    before, known = rows(filled), entries(filled)[LAST]
    filled.upstream.trouble({"kind": "one_game", "dates": [LAST]})
    run(filled)
    closed = reject(filled.services, RUN, me("half of the games are missing"))
    assert closed is not None
    assert closed.facts.verdict == "ABORTED(rejected)"
    assert rows(filled) == before
    assert entries(filled)[LAST] == replace(known, rejected=f"rejected by maria: half of the games are missing ({RUN})")
    assert review_of(filled).state is ReviewState.REJECTED
    assert mails(filled)[0]["subject"].startswith("[backfill][CANCELLED")
    # What nobody wanted is not loaded by the next run.
    calls = filled.upstream.calls.report()["total"]
    run(filled, "bf-after0000001", mode=Mode.INCREMENTAL, publish=Publish.AT_ONCE)
    assert rows(filled) == before
    assert filled.upstream.calls.report()["total"] == calls


def test_what_nobody_approved_is_no_find_of_the_audit_and_not_what_reconcile_goes_back_to(
    waiting: Place, gapless: Any
) -> None:
    known = entries_before(waiting.store, review_of(waiting))[LAST]
    reject(waiting.services, RUN, me("half of the games are missing"))
    audit = gapless("audit", SOURCE, "--from", FIRST, "--to", LAST)
    assert (audit.code, audit.out) == (0, "clean: every partition is done at every level\n")
    assert "nothing to repair" in gapless("repair", SOURCE, FIRST, LAST).out
    waiting.store.delete(f"ledger/source={SOURCE}/{LAST}.json")
    assert gapless("reconcile", SOURCE, "--apply").code == 0
    again = entries(waiting)[LAST]
    assert (again.verdict, again.attempt, again.loaded) == (Verdict.VERIFIED, known.attempt, known.loaded)


def test_dates_that_were_never_there_are_published_or_not_loaded_by_others(place: Place) -> None:
    run(place, mode=Mode.INCREMENTAL, end_date=FIRST)
    assert games(place, FIRST) == 0
    assert {one.verdict for one in entries(place).values()} == {Verdict.STAGED}
    reject(place.services, RUN, me("wrong league"))
    found = entries(place)[FIRST]
    assert (found.verdict, found.error_type) == (Verdict.FAILED_PERMANENT, "NotApproved")
    assert "rejected by maria: wrong league" in found.error
    assert found.rejected == f"rejected by maria: wrong league ({RUN})"
    run(place, "bf-again0000001", mode=Mode.INCREMENTAL, end_date=FIRST)
    approve(place.services, "bf-again0000001", me())
    assert games(place, FIRST) > 0
    again = entries(place)[FIRST]
    assert (again.verdict, again.rejected) == (Verdict.VERIFIED, "")


@pytest.fixture
def rejected(place: Place) -> Place:
    """The first date was never there, and somebody did not want what the source has of it."""
    run(place, mode=Mode.INCREMENTAL, end_date=FIRST)
    reject(place.services, RUN, me("wrong league"))
    return place


@pytest.mark.parametrize(
    "given",
    [
        {"mode": Mode.INCREMENTAL},
        {"mode": Mode.INCREMENTAL, "retry_failed": True},
        {"mode": Mode.INCREMENTAL, "failed_of": RUN},
        {"mode": Mode.REPROCESS},
    ],
)
def test_what_a_person_rejected_is_asked_for_and_loaded_by_no_run_that_does_not_say_so(
    rejected: Place, given: dict[str, Any]
) -> None:
    calls, known = rejected.upstream.calls.report()["total"], entries(rejected)[FIRST]
    told = f"{FIRST} not approved: rejected by maria: wrong league .{RUN}.*Nothing was done"
    with pytest.raises(ConfigurationError, match=told) as error:
        run(rejected, "bf-alone0000001", end_date=FIRST, publish=Publish.AT_ONCE, **given)
    assert "--publish after_approval" in error.value.hint
    assert (entries(rejected)[FIRST], games(rejected, FIRST)) == (known, 0)
    assert rejected.upstream.calls.report()["total"] == calls


def test_a_run_over_more_dates_leaves_what_was_rejected_and_is_not_called_complete(rejected: Place) -> None:
    told = run(rejected, "bf-wider0000001", mode=Mode.INCREMENTAL, publish=Publish.AT_ONCE)
    assert told == "FAILED: 3 partitions: 1 failed_permanent, 2 verified"
    assert (games(rejected, FIRST), games(rejected, LAST) > 0) == (0, True)
    mail = " ".join(mails(rejected)[0]["text"].split())
    assert f"Left as they are, {FIRST}: not approved: rejected by maria: wrong league" in mail
    # A command that is refused helps nobody.
    assert "prefect deployment run" not in mail


def test_what_was_rejected_is_loaded_when_everything_is_asked_for_again(rejected: Place) -> None:
    run(rejected, "bf-full00000001", end_date=FIRST, publish=Publish.AT_ONCE)
    entry = entries(rejected)[FIRST]
    assert (entry.verdict, entry.rejected, games(rejected, FIRST) > 0) == (Verdict.VERIFIED, "", True)


@pytest.mark.parametrize("trouble", ["", "500"])
def test_a_rejection_holds_also_when_the_next_review_of_the_date_came_to_nothing(rejected: Place, trouble: str) -> None:
    if trouble:
        rejected.upstream.trouble({"kind": trouble, "dates": [FIRST]})
    run(rejected, "bf-again0000001", mode=Mode.INCREMENTAL, end_date=FIRST)
    if not trouble:
        record = review_record(rejected.store, "bf-again0000001")
        record.update(lambda one: one.model_copy(update={"state": ReviewState.STAGING}) if one else None)
        close_backfill(rejected.services, "bf-again0000001", aborted="crashed", now=utc_now())
    rejected.upstream.trouble()
    with pytest.raises(ConfigurationError, match="not approved: rejected by maria"):
        run(rejected, "bf-alone0000001", end_date=FIRST, mode=Mode.INCREMENTAL, publish=Publish.AT_ONCE)
    assert games(rejected, FIRST) == 0


def test_neither_audit_repair_daily_nor_reconcile_take_up_what_was_rejected(rejected: Place, gapless: Any) -> None:
    window = rejected.partitions(FIRST, 1)
    assert without_reviewed(rejected.services, SOURCE, window) == []
    (found,) = gapless("audit", SOURCE, "--from", FIRST, "--to", FIRST, "--json").data["deficits"]
    assert (found["deficit"], "rejected by maria: wrong league" in found["why"]) == ("rejected", True)
    repair = gapless("repair", SOURCE, FIRST, FIRST)
    assert "1 partition left as rejected, until a new review" in repair.out
    assert "nothing was started" in repair.out
    known = entries(rejected)[FIRST]
    rejected.store.delete(f"ledger/source={SOURCE}/{FIRST}.json")
    assert gapless("reconcile", SOURCE, "--apply").code == 0
    again = rejected.services.source_kit(SOURCE).ledger.refresh()[FIRST]
    assert (again.verdict, again.rejected) == (known.verdict, known.rejected)
    rejected.store.delete(f"ledger/source={SOURCE}/{FIRST}.json")
    gapless("repair", SOURCE, FIRST, FIRST)
    assert entries(rejected)[FIRST].rejected == known.rejected


def test_what_a_source_says_of_a_verified_date_is_not_read_again_by_itself_once_it_was_rejected(
    waiting: Place,
) -> None:
    before = rows(waiting)
    reject(waiting.services, RUN, me("the feed is broken"))
    window = waiting.partitions(FIRST, DAYS)
    assert [one.key for one in without_reviewed(waiting.services, SOURCE, window)] == [FIRST, "2025-01-11"]
    # Its own rows are still mended from its own payload, without a call.
    waiting.sql(f"DELETE FROM {{games}} WHERE game_date = DATE '{LAST}'")
    calls = waiting.upstream.calls.report()["total"]
    run(waiting, "bf-mended000001", mode=Mode.REPROCESS, publish=Publish.AT_ONCE, start_date=LAST)
    assert (rows(waiting), waiting.upstream.calls.report()["total"]) == (before, calls)
    assert "the feed is broken" in entries(waiting)[LAST].rejected


def test_while_rows_wait_others_leave_them_alone_and_every_surface_says_so(waiting: Place, gapless: Any) -> None:
    told = f"review {RUN} of the source waits since .* Nothing was done"
    with pytest.raises(ConfigurationError, match=told) as error:
        plan_asked(waiting.services, asked(), utc_now(), "bf-second000001")
    assert error.value.hint == f"gapless approve {RUN}, or gapless reject {RUN} --reason WHY"
    at_once = asked(publish=Publish.AT_ONCE, mode=Mode.FULL)
    plan = plan_asked(waiting.services, at_once, utc_now(), "bf-other0000001").plan
    assert dict(plan.counts()) == {"fetch": 2, "leave": 1}
    assert f"Left as they are, {LAST}: waits for approval in {RUN}" in plan.notes[0]
    alone = asked(publish=Publish.AT_ONCE, start_date=LAST)
    with pytest.raises(ConfigurationError, match=f"{LAST} waits for approval in {RUN}, and nothing else"):
        plan_asked(waiting.services, alone, utc_now(), "bf-other0000001")
    window = waiting.partitions(FIRST, DAYS)
    assert [one.key for one in without_reviewed(waiting.services, SOURCE, window)] == [FIRST, "2025-01-11"]

    assert [line.split()[:3] for line in gapless("reviews").out.splitlines()[1:]] == [[RUN, SOURCE, "open"]]
    assert f"gapless approve {RUN}" in gapless("reviews", RUN).out
    assert gapless("audit", SOURCE, "--json").data["deficits"][0]["deficit"] == "in_review"
    assert f"staged: waits for approval in {RUN}" in gapless("gaps", SOURCE, FIRST, LAST).out
    assert "waits for approval" in gapless("calendar", SOURCE).out
    status = gapless("status", SOURCE, "--json").data
    assert (status["state"], status["paused_for"]) == ("paused", "approval")
    assert status["headline"].startswith(f"paused: 1 partition waits for approval in {RUN}, until 20")
    assert f"gapless approve {RUN}" in status["next_step"]
    repair = gapless("repair", SOURCE, "--dry-run")
    assert "1 partition left to the review: gapless reviews" in repair.out


def test_however_long_its_run_took_a_person_has_all_the_time_to_decide(waiting: Place) -> None:
    review = review_of(waiting)
    assert review.compared_at is not None
    assert review.expires_at - review.compared_at == dt.timedelta(days=waiting.services.settings.review_days)
    # It waits for the quota of next month; its own time has not begun.
    record = review_record(waiting.store, RUN)
    record.update(lambda one: one.model_copy(update={"state": ReviewState.STAGING}) if one else None)
    assert look_after_reviews(waiting.services, utc_now() + dt.timedelta(days=40)) == []
    (told,) = look_after_reviews(waiting.services, utc_now() + dt.timedelta(days=80))
    assert "expired" in told


@pytest.mark.parametrize("was", [ReviewState.REJECTED, ReviewState.EXPIRED, ReviewState.PUBLISHED])
def test_a_run_that_goes_on_when_its_review_is_over_begins_another_one(was: ReviewState) -> None:
    store, now = MemoryObjectStore(), utc_now()

    def known(day: int) -> dict[str, LedgerEntry]:
        entry = LedgerEntry(SOURCE, FIRST, Verdict.VERIFIED, f"bf-{day}", now)
        return {FIRST: entry}

    review = Review(
        review_id=RUN, source=SOURCE, backfill_id=RUN, state=ReviewState.STAGING, begun_at=now, expires_at=now
    )
    begin_review(store, review, known(1))
    begin_review(store, review, known(2))
    assert entries_before(store, review) == known(1), "the same run begins once more"
    review_record(store, RUN).update(lambda one: one.model_copy(update={"state": was}) if one else None)
    begin_review(store, review.model_copy(update={"backfill_id": "bf-resumed00001"}), known(3))
    assert named_review(store, RUN).state is ReviewState.STAGING
    assert entries_before(store, review) == known(3)


def test_a_review_that_nobody_decides_is_dropped_and_told(waiting: Place) -> None:
    had = games(waiting, LAST)
    assert look_after_reviews(waiting.services, utc_now()) == []
    (told,) = look_after_reviews(waiting.services, utc_now() + dt.timedelta(days=8))
    assert told.startswith(f"review {RUN} expired: nobody decided until ")
    assert games(waiting, LAST) == had
    assert entries(waiting)[LAST].verdict is Verdict.VERIFIED
    assert mails(waiting)[0]["subject"].startswith("[backfill][STOPPED")


class Killed(BaseException):
    """The process is gone."""


def test_a_publishing_that_was_killed_between_two_tables_is_finished_by_the_watchdog(
    waiting: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = type(waiting.services.warehouse)
    publish = warehouse.publish

    def dying(self: Any, batch: Any, *given: Any) -> str:
        if batch.table.name != "nba_bdl_games":
            raise Killed
        return publish(self, batch, *given)

    monkeypatch.setattr(warehouse, "publish", dying)
    with pytest.raises(Killed):
        approve(waiting.services, RUN, me())
    monkeypatch.setattr(warehouse, "publish", publish)
    assert review_of(waiting).state is ReviewState.APPROVED
    assert entries(waiting)[LAST].verdict is Verdict.STAGED
    # Neither the hook of the killed run nor the next run takes it for dead.
    assert close_backfill(waiting.services, RUN, aborted="crashed", now=utc_now()) is None
    assert close_dead_runs(waiting.services, utc_now() + dt.timedelta(hours=1)) == []
    assert look_after_reviews(waiting.services, utc_now()) == [f"review {RUN} was approved, and is published now"]
    assert entries(waiting)[LAST].verdict is Verdict.VERIFIED
    assert games(waiting, LAST) == 1
    assert review_of(waiting).decided_by == "maria"


def test_what_was_approved_and_cannot_be_published_any_more_is_compared_and_asked_about_again(
    waiting: Place,
) -> None:
    """Its publishing was killed, and somebody changed the tables before the watchdog came."""
    approved = {"state": ReviewState.APPROVED, "decided_by": "maria", "decided_at": utc_now()}
    review_record(waiting.store, RUN).update(lambda one: one.model_copy(update=approved) if one else None)
    waiting.sql(f"UPDATE {{games}} SET home_team_score = 1 WHERE game_date = DATE '{LAST}'")
    (told,) = look_after_reviews(waiting.services, utc_now())
    assert "the table has other rows of these dates" in told
    assert (review_of(waiting).state, review_of(waiting).round) == (ReviewState.OPEN, 2)
    assert reject(waiting.services, RUN, me("no more")) is not None
    assert review_of(waiting).state is ReviewState.REJECTED


def test_what_waits_and_is_lost_can_only_be_rejected(waiting: Place) -> None:
    beside = waiting.services.review_dataset(RUN)
    beside.query(f"DELETE FROM {beside.name_of('nba_bdl_games')} WHERE TRUE")
    with pytest.raises(Stale, match="the rows that wait are not those that were compared") as stale:
        approve(waiting.services, RUN, me())
    assert stale.value.hint == f"gapless reject {RUN} --reason WHY, then run it again"
    assert review_of(waiting).round == 1
    assert reject(waiting.services, RUN, me("lost")) is not None


@pytest.mark.parametrize("decided_first", [approve, reject])
@pytest.mark.parametrize("decided_then", [approve, reject])
def test_of_two_persons_who_decide_at_once_the_second_is_told_what_the_first_did(
    waiting: Place, monkeypatch: pytest.MonkeyPatch, decided_first: Any, decided_then: Any
) -> None:
    """The other one is done between the look at the review and the lease of the source."""
    acquire = Lease.acquire

    def beaten(*given: Any, **named: Any) -> Lease:
        monkeypatch.setattr(Lease, "acquire", acquire)
        decided_first(waiting.services, RUN, me("I was first"))
        return acquire(*given, **named)

    monkeypatch.setattr(Lease, "acquire", beaten)
    done = "published" if decided_first is approve else "rejected"
    with pytest.raises(ConfigurationError, match=f"review {RUN} was {done} by maria"):
        decided_then(waiting.services, RUN, me("I was second"))
    assert (games(waiting, LAST) == 1) is (decided_first is approve)
    assert entries(waiting)[LAST].verdict is Verdict.VERIFIED
    assert review_of(waiting).reason == "I was first"


def test_a_publishing_that_loses_its_source_touches_no_further_table(
    waiting: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is frozen between two tables for longer than its lease, and another run takes the source over."""
    warehouse, before = type(waiting.services.warehouse), rows(waiting)
    publish = warehouse.publish

    def freezes(self: Any, batch: Any, *given: Any) -> str:
        job = publish(self, batch, *given)
        held = lease_record(waiting.store, SOURCE)
        monkeypatch.setattr(Lease, "held_until", property(lambda _: Instant.now()))
        held.update(lambda one: one.model_copy(update={"backfill_id": "bf-other0000001"}) if one else None)
        return job

    monkeypatch.setattr(warehouse, "publish", freezes)
    with pytest.raises(LeaseHeld, match="bf-other0000001"):
        approve(waiting.services, RUN, me())
    assert games(waiting, LAST) == 1
    assert rows(waiting) == before
    assert entries(waiting)[LAST].verdict is Verdict.STAGED


def test_a_live_run_that_works_on_the_source_is_waited_for(waiting: Place) -> None:
    lease = Lease.acquire(waiting.store, SOURCE, Holder("daily-1", mode="daily"), now=utc_now(), ttl_s=60)
    with pytest.raises(LeaseHeld, match="the source is held by daily daily-1"):
        approve(waiting.services, RUN, me())
    lease.release(utc_now())
    assert close_dead_runs(waiting.services, utc_now()) == [], "its lease is another's by now, and it still waits"
    assert approve(waiting.services, RUN, me()) is not None


def test_a_run_that_dies_before_it_compared_gives_the_old_verdicts_back(filled: Place) -> None:
    known = entries(filled)
    filled.upstream.trouble({"kind": "one_game", "dates": [LAST]})
    run(filled)
    record = review_record(filled.store, RUN)
    record.update(lambda one: one.model_copy(update={"state": ReviewState.STAGING}) if one else None)
    closed = close_backfill(filled.services, RUN, aborted="crashed", now=utc_now())
    assert closed is not None
    assert closed.facts.verdict == "ABORTED(crashed)"
    assert entries(filled)[LAST] == known[LAST]
    assert review_of(filled).state is ReviewState.REJECTED


def test_a_cancelled_run_takes_its_review_with_it(waiting: Place) -> None:
    closed = close_backfill(waiting.services, RUN, aborted="user", now=utc_now())
    assert closed is not None
    assert closed.facts.outcome == "CANCELLED"
    assert entries(waiting)[LAST].verdict is Verdict.VERIFIED


def test_fewer_rows_that_were_kept_out_are_reviewed_without_a_call(filled: Place) -> None:
    filled.upstream.trouble({"kind": "one_game", "dates": [LAST]})
    run(filled, "bf-at-once00001", publish=Publish.AT_ONCE)
    assert entries(filled)[LAST].verdict is Verdict.SHRUNK
    calls = filled.upstream.calls.report()["total"]
    run(filled, mode=Mode.INCREMENTAL, accept_shrink=True)
    assert filled.upstream.calls.report()["total"] == calls
    reject(filled.services, RUN, me("no"))
    assert entries(filled)[LAST].verdict is Verdict.SHRUNK
    run(filled, "bf-again0000001", mode=Mode.INCREMENTAL, accept_shrink=True)
    approve(filled.services, "bf-again0000001", me("yes"))
    assert games(filled, LAST) == 1


def test_a_run_in_which_nothing_changed_has_nothing_to_approve(filled: Place, gapless: Any) -> None:
    assert run(filled).startswith("COMPLETE")
    assert review_of(filled).state is ReviewState.REJECTED
    assert gapless("reviews").out.splitlines()[1].endswith("gapless     nothing was staged"), "nobody rejected it"


def test_mode_validate_has_nothing_to_publish(filled: Place) -> None:
    with pytest.raises(ConfigurationError, match="mode validate loads nothing"):
        plan_asked(filled.services, asked(mode=Mode.VALIDATE), utc_now())


class Resumed(PlainOrchestrator):
    """Resume was pressed, and this was chosen, round by round."""

    def __init__(self, *decisions: Decision) -> None:
        super().__init__()
        self.rounds: list[int] = []
        self._decisions = list(decisions)

    async def decision(self, round_: int, told: Sequence[str], timeout_s: float) -> Decision | None:
        assert timeout_s > 0
        assert told[0].startswith("FEWER ROWS THAN USUAL")
        assert told[1].startswith("nba_bdl_games: ")
        self.rounds.append(round_)
        return self._decisions.pop(0) if self._decisions else None


def test_resume_on_changed_tables_asks_again_with_the_new_comparison_and_records_who(waiting: Place) -> None:
    waiting.sql(f"UPDATE {{games}} SET home_team_score = 1 WHERE game_date = DATE '{LAST}'")
    before = rows(waiting)
    with pytest.raises(Stale, match="nba_bdl_games: the table has other rows") as stale:
        approve(waiting.services, RUN, me())
    assert f"gapless reviews {RUN}; then gapless approve {RUN}" in stale.value.hint
    assert rows(waiting) == before
    assert (review_of(waiting).state, review_of(waiting).round) == (ReviewState.OPEN, 2)
    assert "Compared again: the tables had changed." in " ".join(mails(waiting)[0]["text"].split())

    waiting.sql(f"UPDATE {{games}} SET home_team_score = 2 WHERE game_date = DATE '{LAST}'")
    form = Resumed(Decision(Decided.PUBLISH, "ann"), Decision(Decided.PUBLISH, "ann", "looked right"))
    state = asyncio.run(decided(waiting.services, review_of(waiting), form))
    assert form.rounds == [2, 3]
    assert state.is_completed()
    assert state.message == "COMPLETE: 3 partitions: 3 verified; publish by ann"
    assert (review_of(waiting).decided_by, review_of(waiting).reason) == ("ann", "looked right")
    assert games(waiting, LAST) == 1


def test_resume_may_reject(waiting: Place) -> None:
    state = asyncio.run(decided(waiting.services, review_of(waiting), Resumed(Decision(Decided.REJECT, "ann", "no"))))
    assert state.is_cancelled()
    assert state.message is not None
    assert state.message.endswith("reject by ann")
