"""Live work goes first: a backfill lends its lease between two partitions, and gets it back when the live run ends.

All of it lies in the one lease object. The live run writes ``wanted_by``; the backfill finishes what is under way and
writes ``lent_to``; the live run extends ``lent_until`` while it works and clears it at its end. A live run that dies
is over when ``lent_until`` is. Each side changes only its own fields, by compare-and-swap.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Any

from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.errors import LeaseHeld, PipelineError
from alerting.instant import Instant, utc_now
from alerting.object_store import ObjectStore
from alerting.store_clock import StoreClock
from alerting.versioned_record import Version, VersionedRecord
from flows.coordination.lease import Holder, Lease, LeaseRecord, is_taken, lease_record, read_lease
from flows.log import partition_logger
from flows.wiring import Services

POLL_S = 2.0
SIGN_OF_LIFE_S = 30.0


# -- the loan: the live run asks, the backfill lends and takes back ---------------------------------------------


class BorrowedLease(Lease):
    """The lease of a live run that a backfill lent: same use as its own, but the source stays the backfill's.

    Its ``record`` says ``expires_at`` of the loan.
    """

    def heartbeat(self, now: dt.datetime) -> None:
        """Extends the loan, whatever is done to the clock. Raises ``LeaseHeld`` when the lender has taken it back."""
        until, here = self._begun.latest(now).after(self.ttl_s), Instant.now()
        if not _change(self.store, self.record, lambda held: {"lent_until": until.at} if self._is_ours(held) else None):
            raise LeaseHeld("the backfill took its lease back", source=self.record.source, stage="lease")
        self._held_until = here.after(self.ttl_s)

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
    seen = lease_record(store, source).version()
    if seen is None or not is_taken(StoreClock(store), seen.value, now):
        return None
    held = seen.value
    if held.lent_to == live_id:
        borrowed = held.model_copy(update={"backfill_id": live_id, "mode": mode})
        of = Version(borrowed, seen.generation)
        loan = BorrowedLease(store, of, ttl_s, begun=Instant.now(now), held_until=Instant.now())
        try:
            # How long ago it was lent, no clock of this machine tells. From this on the lender counts anew.
            loan.heartbeat(now)
        except LeaseHeld:
            return None
        return loan
    if held.mode == "backfill" and not held.wanted_by:
        _change(store, held, lambda found: None if found.wanted_by else {"wanted_by": live_id})
    return None


def withdraw(store: ObjectStore, source: str, live_id: str) -> None:
    """The live run waits no longer."""
    held = read_lease(store, source)
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
    held = read_lease(store, source)
    return held.lent_to if held is not None and held.is_lent(now) else ""


def take_back(store: ObjectStore, lease: Lease, seen: LeaseRecord) -> bool:
    """Ends a loan that was returned or has run out; False when the live run has prolonged it since it was ``seen``."""
    is_ours = True

    def ended(held: LeaseRecord) -> dict[str, Any] | None:
        nonlocal is_ours
        is_ours = not held.lent_to or held.lent_until == seen.lent_until
        return {"lent_to": "", "lent_until": None} if held.lent_to and is_ours else None

    _change(store, lease.record, ended)
    return is_ours


def _change(store: ObjectStore, of: LeaseRecord, change: Callable[[LeaseRecord], dict[str, Any] | None]) -> bool:
    """Applies ``change`` to the record as it is; False when there is nothing to change."""

    def changed(held: LeaseRecord | None) -> LeaseRecord | None:
        update = change(held) if held is not None else None
        return held.model_copy(update=update) if held is not None and update is not None else None

    return lease_record(store, of.source).update(changed) is not None


# -- waiting for a lease that is held ---------------------------------------------------------------------------


class Waiting(BaseModel):
    """A run that waits for a source's lease until ``until``. Times are aware UTC; ``seen_at`` is its sign of life."""

    model_config = ConfigDict(frozen=True)

    backfill_id: str
    range_text: str
    since: dt.datetime
    until: dt.datetime
    seen_at: dt.datetime

    def is_on(self, now: dt.datetime) -> bool:
        """Whether it still waits, and its process is there."""
        return now < self.until and now - self.seen_at < dt.timedelta(seconds=4 * SIGN_OF_LIFE_S)


def _prefix(source: str) -> str:
    return f"waiting/source={source}/"


def waiting_name(source: str, backfill_id: str) -> str:
    """Where a run says that it waits."""
    return f"{_prefix(source)}{backfill_id}.json"


_WAITING = TypeAdapter(Waiting)


def _waiting_at(store: ObjectStore, source: str, name: str) -> VersionedRecord[Waiting]:
    hint = "delete that object: it only says that a run waits"
    return VersionedRecord(store, name, _WAITING, source=source, stage="lease", hint=hint)


def read_waiting(store: ObjectStore, source: str, now: dt.datetime) -> tuple[Waiting, ...]:
    """The runs that wait for a source's lease, the longest first. Raises ``StateUnreadable``."""
    found = [_waiting_at(store, source, stored.name).read() for stored in store.list(_prefix(source))]
    return tuple(sorted((one for one in found if one is not None and one.is_on(now)), key=lambda one: one.since))


async def acquire_when_free(
    services: Services, source: str, *, backfill_id: str, range_text: str, mode: str = "backfill", wait_s: float = 0.0
) -> Lease:
    """The lease of ``source``; raises ``LeaseHeld`` at once with ``wait_s=0``, else when the wait is over.

    One run of a source at a time, whatever its dates: a table has one writer, and the source's quota one owner. To
    spread one range over many processes, run it with ``engine=distributed``. While it waits, an object says so.
    """
    began, deadline_s = utc_now(), time.monotonic() + wait_s
    told_s = 0.0
    try:
        while True:
            try:
                lease: Lease = await asyncio.to_thread(
                    Lease.acquire,
                    services.store,
                    source,
                    Holder(backfill_id, str(flow_run.id or ""), mode, range_text),
                    now=utc_now(),
                    ttl_s=services.settings.lease_ttl_s,
                )
                return lease
            except LeaseHeld as held:
                if mode != "backfill" and (lent := await asyncio.to_thread(_ask, services, source, backfill_id, mode)):
                    return lent
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    await asyncio.to_thread(withdraw, services.store, source, backfill_id)
                    raise
                if not told_s:
                    partition_logger().info("waiting up to %.0f s: %s", wait_s, held.message)
                if not told_s or time.monotonic() - told_s > SIGN_OF_LIFE_S:
                    until = began + dt.timedelta(seconds=wait_s)
                    waits = Waiting(
                        backfill_id=backfill_id, range_text=range_text, since=began, until=until, seen_at=utc_now()
                    )
                    await asyncio.to_thread(_tell, services.store, source, waits)
                    told_s = time.monotonic()
                await asyncio.sleep(min(POLL_S, left_s))
    finally:
        if told_s:
            # Blocking, because a cancelled run may not await; it is one call.
            _untell(services.store, source, backfill_id)


def _tell(store: ObjectStore, source: str, waits: Waiting) -> None:
    _waiting_at(store, source, waiting_name(source, waits.backfill_id)).put(waits)


def _untell(store: ObjectStore, source: str, backfill_id: str) -> None:
    try:
        store.delete(waiting_name(source, backfill_id))
    except PipelineError as error:
        partition_logger().warning("%s is said to wait for %s a little longer: %s", backfill_id, source, error)


def _ask(services: Services, source: str, live_id: str, mode: str) -> BorrowedLease | None:
    return ask_for(services.store, source, live_id, mode=mode, now=utc_now(), ttl_s=services.settings.lease_ttl_s)
