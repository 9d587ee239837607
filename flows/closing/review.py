"""From rows that wait beside the tables to their publishing, or to their end: wherever a person decides.

`open_review` compares and mails when the run has tried everything; then the run is suspended. `approve` and `reject`
are what Resume, ``gapless approve`` and ``gapless reject`` do; the watchdog lets reviews expire, and finishes a
publishing that was killed. Each step can be repeated: what was published stays, and a verdict is written after its
recount.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import Sequence

from alerting.errors import ConfigurationError, CoverageLow, PipelineError, StateUnreadable
from alerting.instant import utc_now
from alerting.notices import send_review
from alerting.outbox import Outbox
from alerting.ranges import compress_dates
from alerting.wording import cut_items, plural
from flows.closing.close import Closed, close_backfill
from flows.closing.dropping import drop_review
from flows.coordination.intervention import Intervention
from flows.coordination.kept_lease import held_by_hand
from flows.coordination.lease import Lease
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.ledger.reviews import (
    Review,
    ReviewState,
    entries_before,
    list_reviews,
    move,
    named_review,
    told_over,
)
from flows.run.data_facts import item_counts_of
from flows.run.interruption import end_suspended
from flows.run.run import Run
from flows.wiring import Services
from processors.receipt import dropped_rightly, read_receipt
from processors.review import Stale, Trial
from processors.review_dataset import RUN_MAY_TAKE
from processors.verification import verify
from scrapers.manifest import Manifest

LOG = logging.getLogger("gapless.review")
_SHOWN_MONTHS, _SUBJECT_RANGES = 12, 2


def open_review(run: Run) -> Review | None:
    """Compares what the run has staged, and mails it; None when there is nothing to decide. Blocking.

    Of a run that goes on after its quota's reset, that one compares.
    """
    review = named_review(run.services.store, run.review_id)
    if run.facts.resumes_at is not None or review.state is not ReviewState.STAGING:
        return None
    keys = sorted(key for key in run.work.planned if _is_staged(run.ledger.get(key)))
    if not keys:
        drop_review(run.services, review, ReviewState.REJECTED, "gapless", "nothing was staged", utc_now())
        return None
    run.services.alerts.heartbeat(run.facts_so_far())
    return _compared(run.services, review, keys, ReviewState.STAGING)


def _is_staged(entry: LedgerEntry | None) -> bool:
    return entry is not None and entry.verdict is Verdict.STAGED


def _compared(services: Services, review: Review, keys: list[str], allowed: ReviewState) -> Review:
    """The review with its diff, which is mailed."""
    now = utc_now()
    before = entries_before(services.store, review)
    verified = {key: entry.loaded for key in keys if (entry := before.get(key)) is not None and entry.loaded}
    diff = _trial(services, review, keys).compare(verified)
    opened = move(
        services.store,
        review,
        allowed,
        state=ReviewState.OPEN,
        round=review.round + 1,
        ranges=compress_dates(keys, join=".."),
        diff=diff,
        compared_at=now,
        expires_at=now + dt.timedelta(days=services.settings.review_days),
    )
    _mail(services, opened, now)
    return opened


def _trial(services: Services, review: Review, keys: list[str]) -> Trial:
    kit = services.source_kit(review.source)
    ledger = Ledger(services.store, review.source).refresh_over(keys)
    manifests = [services.landing.read_manifest(ledger[key].manifest_name) for key in keys]
    dataset = services.review_dataset(review.review_id)
    return Trial(review.review_id, manifests, kit.processor, services.warehouse, dataset)


# -- a person's decision ---------------------------------------------------------------------------------------


def approve(services: Services, review_id: str, by: Intervention) -> Closed | None:
    """Publishes the review: each table in atomic steps, then the recount, then the verdicts and the run's mail.

    Raises ``Stale`` when the tables are not what they were when it was compared: nothing is published then, and where
    that helps it is compared and mailed anew. Raises ``ConfigurationError`` for a review that is over, ``LeaseHeld``
    while a run works on the source.
    """
    review = _open(services, review_id, ReviewState.APPROVED)
    with _held(services, review, "publish") as lease:
        review = _open(services, review_id, ReviewState.APPROVED)
        trial, diff = _trial(services, review, review.keys), review.diff
        assert diff is not None
        try:
            if review.state is ReviewState.OPEN:
                trial.check_as_compared(diff)
                decided = {"decided_by": by.who, "decided_at": by.at, "reason": by.reason}
                review = move(services.store, review, ReviewState.OPEN, state=ReviewState.APPROVED, **decided)
            jobs = trial.publish(diff, lease.check)
        except Stale as error:
            _ask_again(services, review, error)
            raise
        LOG.info("review %s: %s published", review_id, plural(len(jobs), "table replaced", "tables replaced"))
        _record(services, review, trial.manifests)
        published = move(services.store, review, ReviewState.APPROVED, state=ReviewState.PUBLISHED, ended_at=utc_now())
    try:
        services.review_dataset(review_id).drop_dataset()
    except PipelineError as error:
        # It is published: BigQuery drops the tables beside it by itself, and nobody else would end the run as whole.
        LOG.warning("review %s is published, its dataset is still there: %s", review_id, error)
    return _closed(services, published, aborted="")


def _open(services: Services, review_id: str, *also: ReviewState) -> Review:
    """The review, of which a person may decide: asked again when the source is held, as somebody may just have."""
    review = named_review(services.store, review_id)
    if review.state not in (ReviewState.OPEN, *also):
        raise ConfigurationError(told_over(review), source=review.source, stage="review")
    return review


def _ask_again(services: Services, review: Review, error: Stale) -> None:
    """Compares anew, as its rows are not what a person saw: also of one that was approved and half published."""
    if error.facts.pop("lost", False):
        move(services.store, review, review.state, state=ReviewState.OPEN)
        error.located(source=review.source, hint=f"{review.reject_command}, then run it again")
        return
    _compared(services, review, review.keys, review.state)
    hint = f"it was compared again: gapless reviews {review.review_id}; then {review.approve_command}"
    error.located(source=review.source, hint=hint)


def _record(services: Services, review: Review, manifests: Sequence[Manifest]) -> None:
    """The recount in the real tables, and a verdict for every partition."""
    kit = services.source_kit(review.source)
    ledger = Ledger(services.store, review.source)
    entries = ledger.refresh_over(review.keys)
    rests_on = {manifest.partition: entries[manifest.partition].receipt_id for manifest in manifests}
    receipts = {one: read_receipt(services.store, review.source, one) for one in set(rests_on.values())}
    dropped = dropped_rightly(rests_on, receipts)
    found = verify(manifests, processor=kit.processor, warehouse=services.warehouse, dropped=dropped)
    for manifest in manifests:
        key, entry = manifest.partition, entries[manifest.partition]
        if entry.verdict is not Verdict.STAGED:
            continue
        one = found[key]
        if not one.is_ok:
            error = CoverageLow(f"{one.verdict}: {one.evidence}; published by {review.review_id}, not called done")
            ledger.advance(
                key,
                Verdict.PARTIAL,
                review.backfill_id,
                utc_now(),
                rejected="",
                error_type="CoverageLow",
                error=error.message,
            )
            continue
        loss = review.diff.losses.get(key, "") if review.diff else ""
        ledger.advance(
            key,
            Verdict.EMPTY_OK if manifest.empty_evidence else Verdict.VERIFIED,
            review.backfill_id,
            utc_now(),
            loaded=one.loaded,
            changes=receipts[entry.receipt_id].changes_of(key),
            actual=one.loaded.get(kit.scraper.tables[0], 0),
            verified_at=utc_now(),
            rejected="",
            **item_counts_of(one),
            **({"accepted": _accepted(review, loss)} if loss else {}),
        )


def _accepted(review: Review, loss: str) -> str:
    why = f": {review.reason}" if review.reason else ""
    return f"fewer rows accepted by {review.decided_by} in {review.review_id}{why} ({loss})"


def reject(services: Services, review_id: str, by: Intervention) -> Closed | None:
    """Drops what waits; the tables and their verdicts are as they were. Errors as of `approve`, but for ``Stale``."""
    review = _open(services, review_id)
    with _held(services, review, "reject"):
        dropped = drop_review(services, _open(services, review_id), ReviewState.REJECTED, by.who, by.reason, by.at)
    return _closed(services, dropped, aborted="rejected")


def _closed(services: Services, review: Review, aborted: str) -> Closed | None:
    closed = close_backfill(services, review.backfill_id, aborted=aborted, now=utc_now())
    told = f"{review.state.value} by {review.decided_by}"
    end_suspended(review.flow_run_id, told, completed=review.state is ReviewState.PUBLISHED)
    return closed


# -- without a person ------------------------------------------------------------------------------------------


def look_after_reviews(services: Services, now: dt.datetime) -> list[str]:
    """Finishes what was approved and not published, and ends what has waited too long; a sentence on each."""
    told, unreadable = [], list[StateUnreadable]()
    for review in list_reviews(services.store, waiting_only=True, unreadable=unreadable):
        try:
            if review.state is ReviewState.APPROVED:
                approve(services, review.review_id, Intervention(review.decided_by, review.reason, now))
                told.append(f"review {review.review_id} was approved, and is published now")
            elif _is_forgotten(review, now):
                with _held(services, review, "expire"):
                    review = _open(services, review.review_id, ReviewState.STAGING)
                    why = f"nobody decided until {review.expires_at:%Y-%m-%d %H:%M} UTC"
                    dropped = drop_review(services, review, ReviewState.EXPIRED, "gapless", why, now)
                _closed(services, dropped, aborted="expired")
                told.append(f"review {review.review_id} expired: {why}; its rows are dropped")
        except PipelineError as error:
            told.append(f"review {review.review_id}: {error}")
    return [*told, *map(str, unreadable)]


def _is_forgotten(review: Review, now: dt.datetime) -> bool:
    """Nobody decided in time. One that is not compared yet waits for its run, which may wait for a quota."""
    more = RUN_MAY_TAKE if review.state is ReviewState.STAGING else dt.timedelta()
    return review.expires_at + more <= now


# -- words -----------------------------------------------------------------------------------------------------


def diff_lines(review: Review) -> list[str]:
    """What the review would change, for people: losses first, then tables by month with samples."""
    if review.diff is None:
        return ["not compared yet"]
    lines: list[str] = []
    if review.diff.losses:
        keys = compress_dates(review.diff.losses)
        lines.append(f"FEWER ROWS THAN USUAL on {keys}: {next(iter(review.diff.losses.values()))}")
    for table in review.diff.tables:
        total = table.total
        lines.append(
            f"{table.table}: {plural(total.created, 'row')} added, {total.updated:,} changed, {total.removed:,} removed"
        )
        months = list(table.months.items())
        lines += [
            f"  {month}  +{one.created:,}  ~{one.updated:,}  -{one.removed:,}" for month, one in months[:_SHOWN_MONTHS]
        ]
        if len(months) > _SHOWN_MONTHS:
            lines.append(f"  and {plural(len(months) - _SHOWN_MONTHS, 'more month')}")
        lines += [f"  {one.kind}: {one.text}" for one in table.samples]
    return lines


def _mail(services: Services, review: Review, now: dt.datetime) -> None:
    entry = Outbox(services.store).read(review.backfill_id)
    if entry is None:
        return
    again = " Compared again: the tables had changed." if review.round > 1 else ""
    at = f"{review.expires_at:%Y-%m-%d %H:%M} UTC"
    count = plural(len(review.keys), "partition", "waits", "wait")
    links = dict(entry.run_facts.links)
    run_url = links.pop("Prefect run", "")
    lines = [
        f"{count} for your approval: {review.source} {review.ranges}.{again}",
        f"The tables are as they were. Without a decision it stays so: the rows are dropped at {at}.",
        "",
        *([f"Open the run, press Resume and choose: {run_url}", ""] if run_url else []),
        "Or in a shell:" if run_url else "In a shell:",
        "",
        f"    {review.approve_command}",
        f"    {review.reject_command}",
        "",
        "This is what publishing would change:",
        "",
        *diff_lines(review),
        "",
        *(f"{name}: {url}" for name, url in links.items()),
    ]
    fewer = " · fewer rows" if review.diff and review.diff.losses else ""
    place = f"{review.source} {cut_items(review.ranges.split(', '), _SUBJECT_RANGES)}{fewer}"
    send_review(services.channels, entry, place, lines, review.round, now)


# -- the source is this review's meanwhile ---------------------------------------------------------------------


def _held(services: Services, review: Review, mode: str) -> contextlib.AbstractContextManager[Lease]:
    """Nobody else works on the source, nor on this review. Raises ``LeaseHeld``."""
    return held_by_hand(services, review.source, mode, review.ranges)
