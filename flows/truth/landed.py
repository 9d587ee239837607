"""Which attempts of a source are landed, by the listing alone, and which of them a review has dropped."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from alerting.object_store import ObjectStore
from alerting.outbox import Outbox
from flows.ledger.entry import LedgerEntry
from flows.ledger.reviews import ReviewState, dropped_reviews, read_review, told_rejection
from scrapers.manifest import order_of, source_prefix

_MANIFEST = re.compile(r"landing/source=([^/]+)/partition=([^/]+)/attempt=([^/]+)/manifest\.json")


@dataclasses.dataclass(frozen=True, slots=True)
class LandedAttempt:
    """An attempt that has its manifest, by the listing alone.

    ``statuses`` are those of its answers; empty where the listing does not say them, and the manifest has to be read.
    """

    attempt: str
    content_hash: str
    backfill_id: str
    manifest_name: str
    statuses: frozenset[int] = frozenset()


def landed_attempts(store: ObjectStore, source: str) -> dict[str, tuple[LandedAttempt, ...]]:
    """Partition key -> its attempts with a manifest, oldest first, from one listing of the landing."""
    found: defaultdict[str, list[tuple[tuple[str, str], LandedAttempt]]] = defaultdict(list)
    for stored in store.list(source_prefix(source)):
        match = _MANIFEST.fullmatch(stored.name)
        if match:
            facts = stored.metadata
            one = LandedAttempt(
                match[3],
                facts.get("content_hash", ""),
                facts.get("backfill_id", ""),
                stored.name,
                frozenset(int(text) for text in facts.get("statuses", "").split() if text.isdecimal()),
            )
            found[match[2]].append((order_of(match[3], stored), one))
    in_order = {key: sorted(attempts, key=lambda each: each[0]) for key, attempts in found.items()}
    return {key: tuple(one for _, one in attempts) for key, attempts in in_order.items()}


def landed_after(attempts: Sequence[LandedAttempt], attempt: str) -> tuple[LandedAttempt, ...]:
    """Those of ``attempts``, oldest first, that are newer than ``attempt``, whose manifest may be gone; "": all."""
    ids = [one.attempt for one in attempts]
    if attempt in ids:
        return tuple(attempts[ids.index(attempt) + 1 :])
    return tuple(one for one in attempts if one.attempt > attempt)


def landed_sources(store: ObjectStore) -> list[str]:
    """Names of all sources that ever landed an object, one listing call each."""
    names: list[str] = []
    start = None
    while True:
        first = next(iter(store.list("landing/source=", start_offset=start)), None)
        if first is None:
            return names
        names.append(first.name.split("/")[1].removeprefix("source="))
        start = f"landing/source={names[-1]}0"  # "0" comes right after "/"


def wanted_attempts(
    store: ObjectStore, source: str, entries: Mapping[str, LedgerEntry]
) -> dict[str, tuple[LandedAttempt, ...]]:
    """As `landed_attempts`, without what a review has dropped where an earlier attempt holds.

    That is what a good verdict of ``entries`` rests on; without one it is any that was not dropped. Nobody approved the
    rows of the others, so they are no later payload that somebody forgot to load.
    """
    landed, dropped = landed_attempts(store, source), dropped_reviews(store, source)
    if not dropped:
        return landed
    later = {key: _later(attempts, entries.get(key)) for key, attempts in landed.items()}
    runs = {one.backfill_id for attempts in later.values() for one in attempts}
    unwanted = {one for one in runs if _review_of(store, one) in dropped}
    return {
        key: tuple(one for one in attempts if one not in later[key] or one.backfill_id not in unwanted) or attempts
        for key, attempts in landed.items()
    }


def _later(attempts: tuple[LandedAttempt, ...], entry: LedgerEntry | None) -> tuple[LandedAttempt, ...]:
    """Attempts after the one that a good verdict rests on; all of them where there is no entry."""
    if entry is not None and not entry.verdict.is_good:
        return ()
    return attempts if entry is None else landed_after(attempts, entry.attempt)


def rejection_of(store: ObjectStore, attempt: LandedAttempt) -> str:
    """Who did not want what this attempt landed, and why; "" where nobody had to say or nobody objected."""
    review = read_review(store, _review_of(store, attempt.backfill_id))
    is_over = review is not None and review.state in (ReviewState.REJECTED, ReviewState.EXPIRED)
    return told_rejection(review) if review is not None and is_over else ""


def _review_of(store: ObjectStore, backfill_id: str) -> str:
    """A run that goes on after a pause continues the review of the one before."""
    entry = Outbox(store).read(backfill_id)
    return (entry.run_facts.resumed_from if entry else "") or backfill_id
