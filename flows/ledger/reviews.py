"""Reviews: rows that were loaded and recounted beside the tables, and wait until a person publishes or rejects them.

One object per review, ``reviews/<id>.json``, updated by compare-and-swap; ``reviews/<id>.before.json`` keeps what the
ledger said of its partitions before, for a rejection. A review has the id of the backfill that began it; a run that
goes on after a quota's reset continues the review of the run before. A source has one review that waits at a time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.errors import ConfigurationError, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from alerting.ranges import expand_dates
from alerting.versioned_record import VersionedRecord, unreadable
from flows.ledger.entry import LedgerEntry
from processors.review import Diff

_PREFIX = "reviews/"
_BEFORE = ".before.json"


class ReviewState(StrEnum):
    """How far a review is. ``staging``: its run is at work; ``approved``: its rows are being put in place."""

    STAGING = "staging"
    OPEN = "open"
    APPROVED = "approved"
    PUBLISHED = "published"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def is_waiting(self) -> bool:
        """Whether its rows still lie beside the tables."""
        return self in (ReviewState.STAGING, ReviewState.OPEN, ReviewState.APPROVED)


class Review(BaseModel):
    """One review. Times are aware UTC; ``ranges`` as in mails; ``round`` counts how often it was compared.

    ``expires_at`` counts from the last comparison.

    ``backfill_id`` is the run that owes the mail, ``flow_run_id`` the one that is suspended. ``decided_by`` and
    ``reason`` are of whoever approved, rejected, or let it expire.
    """

    model_config = ConfigDict(frozen=True)

    review_id: str
    source: str
    backfill_id: str
    state: ReviewState
    begun_at: dt.datetime
    expires_at: dt.datetime
    flow_run_id: str = ""
    round: int = 0
    ranges: str = ""
    compared_at: dt.datetime | None = None
    diff: Diff | None = None
    decided_at: dt.datetime | None = None
    decided_by: str = ""
    reason: str = ""
    ended_at: dt.datetime | None = None

    @property
    def keys(self) -> list[str]:
        """Its partitions, once it was compared."""
        return expand_dates(self.ranges)

    @property
    def approve_command(self) -> str:
        """What a person types to publish it."""
        return f"gapless approve {self.review_id}"

    @property
    def reject_command(self) -> str:
        """What a person types to drop it."""
        return f"gapless reject {self.review_id} --reason WHY"


_SHAPE = TypeAdapter(Review)


def review_record(store: ObjectStore, review_id: str) -> VersionedRecord[Review]:
    """The object that is the review."""
    return VersionedRecord(
        store,
        f"{_PREFIX}{review_id}.json",
        _SHAPE,
        metadata=lambda one: {"source": one.source, "state": one.state.value},
        stage="review",
    )


def read_review(store: ObjectStore, review_id: str) -> Review | None:
    """As stored, None when there is none of that id. Raises ``StateUnreadable``."""
    return review_record(store, review_id).read()


def list_reviews(
    store: ObjectStore,
    *,
    source: str = "",
    waiting_only: bool = False,
    unreadable: list[StateUnreadable] | None = None,
) -> Iterator[Review]:
    """Reviews (of one source), by id; one listing, and one read for each that is wanted.

    What cannot be read is added to ``unreadable``, or raised.
    """
    over = {one.value for one in ReviewState if not one.is_waiting}
    for found in store.list(_PREFIX):
        if found.name.endswith(_BEFORE) or source not in ("", found.metadata.get("source", "")):
            continue
        if waiting_only and found.metadata.get("state") in over:
            continue
        try:
            review = read_review(store, found.name.removeprefix(_PREFIX).removesuffix(".json"))
        except StateUnreadable as error:
            error.told_or_raised(unreadable, source=found.metadata.get("source", ""))
            continue
        if review is not None and (review.state.is_waiting or not waiting_only):
            yield review


def dropped_reviews(store: ObjectStore, source: str) -> set[str]:
    """Ids of the source's reviews that were rejected or expired. One listing."""
    over = (ReviewState.REJECTED.value, ReviewState.EXPIRED.value)
    return {
        found.name.removeprefix(_PREFIX).removesuffix(".json")
        for found in store.list(_PREFIX)
        if found.metadata.get("source") == source and found.metadata.get("state") in over
    }


def waiting_review(store: ObjectStore, source: str) -> Review | None:
    """The review of which rows of the source still wait."""
    return next(list_reviews(store, source=source, waiting_only=True), None)


def named_review(store: ObjectStore, review_id: str) -> Review:
    """The review that a person named; raises ``ConfigurationError`` when there is none of that id."""
    review = read_review(store, review_id) if review_id.strip("/") == review_id and review_id else None
    if review is None:
        raise ConfigurationError(
            f"there is no review {review_id!r}. Nothing was done", stage="review", hint="gapless reviews"
        )
    return review


def refuse_second_review(store: ObjectStore, source: str, review_id: str) -> None:
    """Raises ``ConfigurationError`` when another review of the source than ``review_id`` waits."""
    other = waiting_review(store, source)
    if other is not None and other.review_id != review_id:
        raise ConfigurationError(
            f"review {other.review_id} of the source waits since {other.begun_at:%Y-%m-%d %H:%M} UTC, and a source has "
            "one at a time. Nothing was done",
            source=source,
            stage="plan",
            hint=f"{other.approve_command}, or {other.reject_command}",
        )


def begin_review(store: ObjectStore, review: Review, before: Mapping[str, LedgerEntry]) -> None:
    """Keeps the review, and what the ledger says of its partitions before any is touched.

    Repeatable: a run that begins again, or goes on for another, keeps what was kept first, unless that was dropped
    meanwhile: then the review begins anew.
    """
    found = read_review(store, review.review_id)
    is_new = found is None or not found.state.is_waiting
    kept = {key: entry.to_metadata() for key, entry in before.items() if not entry.is_pending}
    with contextlib.suppress(GenerationConflict):
        store.write(
            f"{_PREFIX}{review.review_id}{_BEFORE}",
            json.dumps(kept).encode(),
            if_generation=0 if found is None or not is_new else None,
            content_type="application/json",
            metadata={"source": review.source},
        )

    def begun(found: Review | None) -> Review | None:
        if found is None or is_new:
            return review
        same = {"backfill_id": review.backfill_id, "flow_run_id": review.flow_run_id}
        return found.model_copy(update=same) if found.state is ReviewState.STAGING else None

    review_record(store, review.review_id).update(begun)


def entries_before(store: ObjectStore, review: Review) -> dict[str, LedgerEntry]:
    """What the ledger said of its partitions before. Raises ``StateUnreadable``."""
    name = f"{_PREFIX}{review.review_id}{_BEFORE}"
    try:
        kept = json.loads(store.read(name)[0])
        return {key: LedgerEntry.from_metadata(review.source, key, one) for key, one in kept.items()}
    except (ObjectMissing, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(store, name, error, source=review.source, stage="review") from error


def move(store: ObjectStore, review: Review, allowed: ReviewState, **changes: object) -> Review:
    """Changes a review that is in state ``allowed``; raises ``ConfigurationError`` when another was quicker."""

    def changed(found: Review | None) -> Review:
        if found is None or found.state is not allowed:
            raise ConfigurationError(told_over(found or review), source=review.source, stage="review")
        return found.model_copy(update=changes)

    stored = review_record(store, review.review_id).update(changed)
    assert stored is not None
    return stored.value


def told_rejection(review: Review) -> str:
    """Who did not want its rows, and why."""
    return f"{review.state.value} by {review.decided_by}: {review.reason} ({review.review_id})"


def told_over(review: Review) -> str:
    """Why nothing can be decided: what became of the review, when and by whom."""
    if review.state is ReviewState.STAGING:
        return f"review {review.review_id} is not compared yet: its run is at work. Nothing was done"
    by = f" by {review.decided_by}" if review.decided_by else ""
    when = f" at {review.decided_at:%Y-%m-%d %H:%M} UTC" if review.decided_at else ""
    return f"review {review.review_id} was {review.state.value}{by}{when}. Nothing was done"
