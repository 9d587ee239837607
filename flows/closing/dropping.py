"""The end of a review that is not published: its rows are dropped, and its partitions have their old verdicts again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from alerting.run_facts import RunFacts
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.ledger.reviews import Review, ReviewState, entries_before, move, read_review
from flows.wiring import Services

NOT_APPROVED = "NotApproved"
"""In place of an error: nobody wanted the rows of this partition."""


def drop_review(services: Services, review: Review, state: ReviewState, who: str, why: str, now: dt.datetime) -> Review:
    """Gives the old verdicts back, drops the dataset, and writes ``state``, in this order. Repeatable.

    What was verified before, or kept its old rows as shrunk, is that again. What had no rows is ``landed`` after a run
    that broke off, and ``failed_permanent`` when somebody did not want it, so that no other run loads it unseen.
    """
    before = entries_before(services.store, review)
    ledger = Ledger(services.store, review.source)
    is_broken_off = review.state is ReviewState.STAGING and state is ReviewState.REJECTED
    error = "" if is_broken_off else f"{state.value} by {who}: {why}; what was landed is kept"
    for key, entry in sorted(ledger.refresh().items()):
        if entry.verdict is Verdict.STAGED or (_is_on_its_way(entry, review) and _had_rows(before.get(key))):
            _give_back(ledger, entry, before.get(key), error, now)
    services.review_dataset(review.review_id).drop_dataset()
    decided = {"decided_by": who, "decided_at": now, "reason": why, "ended_at": now}
    return move(services.store, review, review.state, state=state, **decided)


def _is_on_its_way(entry: LedgerEntry, review: Review) -> bool:
    """Landed by its run, and not loaded beside the tables: another run would load it into them."""
    return entry.verdict in (Verdict.LANDED, Verdict.LOADED) and entry.backfill_id in (
        review.review_id,
        review.backfill_id,
    )


def _had_rows(entry: LedgerEntry | None) -> bool:
    return entry is not None and (entry.verdict.is_good or entry.verdict is Verdict.SHRUNK)


def _give_back(ledger: Ledger, entry: LedgerEntry, before: LedgerEntry | None, error: str, now: dt.datetime) -> None:
    if before is not None and _had_rows(before):
        ledger.put(before)
    elif not error:
        ledger.advance(entry.partition, Verdict.LANDED, entry.backfill_id, now)
    else:
        facts = {"error_type": NOT_APPROVED, "error": error}
        ledger.advance(entry.partition, Verdict.FAILED_PERMANENT, entry.backfill_id, now, **facts)


def settle_review(services: Services, facts: RunFacts, aborted: str, now: dt.datetime) -> bool:
    """What the end of a run does to its review; False while the run has to stay open for it.

    One that waits for a decision goes with a run that was cancelled or died; what is approved is published first.
    """
    review = read_review(services.store, facts.resumed_from or facts.backfill_id)
    if review is None or not review.state.is_waiting:
        return True
    if review.state is ReviewState.APPROVED or (review.state is ReviewState.OPEN and aborted != "user"):
        return False
    why = f"the run ended{f' ({aborted})' if aborted else ''} before anybody decided"
    drop_review(services, review, ReviewState.REJECTED, "gapless", why, now)
    return True


def waiting_ids(reviews: Iterable[Review]) -> set[str]:
    """Runs that owe their mail until somebody decides."""
    return {one.backfill_id for one in reviews if one.state is not ReviewState.STAGING}
