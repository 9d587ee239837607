"""The end of a review that is not published: its rows are dropped, and its partitions have their old verdicts again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

from alerting.run_facts import RunFacts
from flows.ledger.entry import NOT_APPROVED
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.ledger.reviews import Review, ReviewState, entries_before, move, read_review, told_rejection
from flows.wiring import Services


def drop_review(services: Services, review: Review, state: ReviewState, who: str, why: str, now: dt.datetime) -> Review:
    """Gives the old verdicts back, drops the dataset, and writes ``state``, in this order. Repeatable.

    What was verified before, or kept its old rows as shrunk, is that again. What had no rows is ``landed`` after a run
    that broke off, and ``failed_permanent`` when somebody did not want it. Both are ``rejected`` then, so that nothing
    loads it unseen.
    """
    before = entries_before(services.store, review)
    ledger = Ledger(services.store, review.source)
    is_broken_off = review.state is ReviewState.STAGING and state is ReviewState.REJECTED
    decided = review.model_copy(update={"state": state, "decided_by": who, "decided_at": now, "reason": why})
    rejected = "" if is_broken_off else told_rejection(decided)
    for key, entry in sorted(ledger.refresh().items()):
        had = before.get(key)
        is_ours = _is_on_its_way(entry, review) and (rejected or _stands(had))
        if entry.verdict is Verdict.STAGED or is_ours:
            _give_back(ledger, entry, had, rejected, now)
    services.review_dataset(review.review_id).drop_dataset()
    ended = {"decided_by": who, "decided_at": now, "reason": why, "ended_at": now}
    return move(services.store, review, review.state, state=state, **ended)


def _is_on_its_way(entry: LedgerEntry, review: Review) -> bool:
    """Landed by its run, and not loaded beside the tables: another run would load it into them."""
    return entry.verdict in (Verdict.LANDED, Verdict.LOADED) and entry.backfill_id in (
        review.review_id,
        review.backfill_id,
    )


def _stands(entry: LedgerEntry | None) -> bool:
    """Whether it had rows, or somebody did not want those of an earlier review."""
    return entry is not None and (entry.verdict.is_good or entry.verdict is Verdict.SHRUNK or bool(entry.rejected))


def _give_back(ledger: Ledger, entry: LedgerEntry, before: LedgerEntry | None, rejected: str, now: dt.datetime) -> None:
    if before is not None and _stands(before):
        ledger.put(replace(before, rejected=rejected or before.rejected))
    elif not rejected:
        ledger.advance(entry.partition, Verdict.LANDED, entry.backfill_id, now)
    else:
        facts = {"rejected": rejected, "error_type": NOT_APPROVED, "error": f"{rejected}; what was landed is kept"}
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
