"""Live work goes first: a backfill lends its lease between two partitions, and gets it back when the live run ends.

All of it lies in the one lease object. The live run writes ``wanted_by``; the backfill finishes what is under way and
writes ``lent_to``; the live run extends ``lent_until`` while it works and clears it at its end. A live run that dies
is over when ``lent_until`` is. Each side changes only its own fields, by compare-and-swap.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from alerting.errors import LeaseHeld
from alerting.object_store import GenerationConflict, ObjectStore
from flows.control.lease import Lease, LeaseRecord, read_lease, write_lease

_WRITE_TRIES = 10


class BorrowedLease(Lease):
    """The lease of a live run that a backfill lent: same use as its own, but the source stays the backfill's."""

    def heartbeat(self, now: dt.datetime) -> None:
        """Extends the loan. Raises ``LeaseHeld`` when the lender has taken it back."""
        until = now + dt.timedelta(seconds=self.ttl_s)
        if not _change(self.store, self.record, lambda held: {"lent_until": until} if self._is_ours(held) else None):
            raise LeaseHeld("the backfill took its lease back", source=self.record.source, stage="lease")

    def release(self, now: dt.datetime) -> None:  # noqa: ARG002 - as the base
        """Gives the source back to the backfill."""
        _change(
            self.store, self.record, lambda held: {"lent_to": "", "lent_until": None} if self._is_ours(held) else None
        )

    def _is_ours(self, held: LeaseRecord) -> bool:
        return held.lent_to == self.record.backfill_id


def ask_for(
    store: ObjectStore, source: str, live_id: str, *, mode: str, now: dt.datetime, ttl_s: float
) -> BorrowedLease | None:
    """Asks the backfill that holds ``source`` to yield; the loan once it did, None while it has not."""
    held, _ = read_lease(store, source)
    if held is None or not held.is_alive(now):
        return None
    if held.lent_to == live_id:
        return BorrowedLease(store, held.model_copy(update={"backfill_id": live_id, "mode": mode}), ttl_s)
    if held.mode == "backfill" and not held.wanted_by:
        _change(store, held, lambda found: None if found.wanted_by else {"wanted_by": live_id})
    return None


def withdraw(store: ObjectStore, source: str, live_id: str) -> None:
    """The live run waits no longer."""
    held, _ = read_lease(store, source)
    if held is not None:
        _change(store, held, lambda found: {"wanted_by": ""} if found.wanted_by == live_id else None)


def lend(store: ObjectStore, lease: Lease, now: dt.datetime) -> str:
    """Called by the holder when nothing of it is under way; returns who has the source now, "" for nobody."""
    until = now + dt.timedelta(seconds=lease.ttl_s)

    def to_asker(held: LeaseRecord) -> dict[str, Any] | None:
        if held.backfill_id != lease.record.backfill_id or not held.wanted_by:
            return None
        return {"lent_to": held.wanted_by, "lent_until": until, "wanted_by": ""}

    _change(store, lease.record, to_asker)
    return borrower(store, lease.record.source, now)


def borrower(store: ObjectStore, source: str, now: dt.datetime) -> str:
    """The live run that works on ``source`` by a loan that has not run out, "" for none."""
    held, _ = read_lease(store, source)
    return held.lent_to if held is not None and held.is_lent(now) else ""


def take_back(store: ObjectStore, lease: Lease) -> None:
    """Ends a loan that was returned or has run out."""
    _change(store, lease.record, lambda held: {"lent_to": "", "lent_until": None} if held.lent_to else None)


def _change(
    store: ObjectStore, of: LeaseRecord, change: Callable[[LeaseRecord], dict[str, Any] | None]
) -> LeaseRecord | None:
    """Applies ``change`` to the record as it is; None when there is nothing to change."""
    for _ in range(_WRITE_TRIES):
        held, generation = read_lease(store, of.source)
        update = change(held) if held is not None else None
        if held is None or update is None:
            return None
        changed = held.model_copy(update=update)
        try:
            write_lease(store, changed, generation)
        except GenerationConflict:
            continue
        return changed
    raise LeaseHeld("the lease changed under every write", source=of.source, stage="lease")
