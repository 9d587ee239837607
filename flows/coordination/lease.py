"""The lease: one run at a time per source, as an object updated by compare-and-swap."""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.errors import LeaseHeld, PipelineError, StateUnreadable
from alerting.instant import Instant, utc_now
from alerting.machine import is_process_gone, machine_name
from alerting.object_store import GenerationConflict, ObjectStore
from alerting.store_clock import StoreClock
from alerting.versioned_record import Version, VersionedRecord
from flows.coordination.standstill import Standstill
from scrapers.threads import threads

_READ_AT_ONCE = 8


class LeaseRecord(BaseModel):
    """Who works on a source. Times are aware UTC; ``state`` is ``held``, ``paused`` or ``released``.

    ``pid`` is of ``machine``, which people call ``host``. ``standstill`` is set while the holder is alive and begins
    nothing. ``suspended`` is the paused lease of a backfill, which gets it back after the daily run or the person's
    command that holds the source meanwhile.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    state: str
    backfill_id: str
    flow_run_id: str = ""
    mode: str = "backfill"
    range_text: str = ""
    host: str = ""
    machine: str = ""
    pid: int = 0
    wanted_by: str = ""
    lent_to: str = ""
    lent_until: dt.datetime | None = None
    standstill: Standstill | None = None
    released_by: str = ""
    released_reason: str = ""
    suspended: LeaseRecord | None = None
    started_at: dt.datetime
    heartbeat_at: dt.datetime
    expires_at: dt.datetime

    def is_alive(self, now: dt.datetime) -> bool:
        """Held, with a recent heartbeat, and not by a process of this machine that is gone; or lent to a live run.

        By ``now`` alone: who would do something to the holder asks `is_taken`.
        """
        if self.is_lent(now):
            return True
        if self.state != "held" or self.expires_at <= now:
            return False
        return not is_process_gone(self.machine, self.pid)

    @property
    def suspended_run(self) -> LeaseRecord | None:
        """The backfill that waits for Resume, whoever works on the source meanwhile."""
        return self if self.state == "paused" else self.suspended

    def left(self, now: dt.datetime, **changes: object) -> LeaseRecord:
        """What its holder leaves behind: the paused lease of the suspended run, else its own with ``changes``."""
        if self.suspended is not None:
            return self.suspended
        return self.model_copy(update={"heartbeat_at": now, "expires_at": now, "standstill": None, **changes})

    def is_lent(self, now: dt.datetime) -> bool:
        """A live run works on the source by a loan that has not run out."""
        return bool(self.lent_to) and self.lent_until is not None and self.lent_until > now

    @property
    def lasts(self) -> dt.timedelta:
        """From one heartbeat on."""
        return self.expires_at - self.heartbeat_at

    def describe(self) -> str:
        """Holder, start, mode, and where to look, for the message of the one who has to wait."""
        return (
            f"{self.mode} {self.backfill_id} ({self.range_text}) since {self.started_at:%Y-%m-%d %H:%M:%S} UTC "
            f"on {self.host} pid {self.pid}, last heartbeat {self.heartbeat_at:%H:%M:%S} UTC"
        )


def lease_name(source: str) -> str:
    """Where the lease of a source lies."""
    return f"leases/{source}.json"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes a lease: its run, and what people are told of it."""

    backfill_id: str
    flow_run_id: str = ""
    mode: str = "backfill"
    range_text: str = ""


class Lease:
    """Acquire, heartbeat, release. One object of this class belongs to one run."""

    def __init__(
        self, store: ObjectStore, held: Version[LeaseRecord], ttl_s: float, *, begun: Instant, held_until: Instant
    ) -> None:
        self.store = store
        self.ttl_s = ttl_s
        self.standstill: Standstill | None = None
        self._held = held
        self._begun = begun
        self._held_until = held_until

    @property
    def record(self) -> LeaseRecord:
        """As this run last wrote or saw it."""
        return self._held.value

    @property
    def held_until(self) -> Instant:
        """Until when nobody else may take the source, if no heartbeat follows."""
        return self._held_until

    @classmethod
    def acquire(
        cls,
        store: ObjectStore,
        source: str,
        holder: Holder,
        *,
        now: dt.datetime,
        ttl_s: float,
    ) -> Lease:
        """Takes the lease if it is free, released or expired; raises ``LeaseHeld`` naming the holder otherwise."""
        stored, held_until = lease_record(store, source), Instant.now().after(ttl_s)
        seen = stored.version()
        held = seen.value if seen else None
        if held is not None:
            # A run that begins again has its own lease, unless it lent it.
            is_anothers = is_lent if held.backfill_id == holder.backfill_id else is_taken
            if is_anothers(StoreClock(store), held, now):
                raise _refused(held)
        record = LeaseRecord(
            source=source,
            state="held",
            backfill_id=holder.backfill_id,
            flow_run_id=holder.flow_run_id,
            mode=holder.mode,
            range_text=holder.range_text,
            host=socket.gethostname(),
            machine=machine_name(),
            pid=os.getpid(),
            suspended=_suspended_by(held, holder),
            started_at=now,
            heartbeat_at=now,
            expires_at=now + dt.timedelta(seconds=ttl_s),
        )
        try:
            written = stored.write(record, seen)
            return cls(store, written, ttl_s, begun=Instant.now(now), held_until=held_until)
        except GenerationConflict:
            winner = stored.read()
            raise (_refused(winner) if winner else LeaseHeld("lease vanished", source=source)) from None

    def heartbeat(self, now: dt.datetime) -> None:
        """Extends the lease, and says whether its holder stands still. Raises ``LeaseHeld`` when somebody took it over:
        stop writing then.

        A clock that was set back shortens nothing: others, whose clock is right, would take the source over.
        """
        beaten, here = self._begun.latest(now), Instant.now()
        until = beaten.after(self.ttl_s)

        def extended(found: LeaseRecord | None) -> LeaseRecord:
            if found is None:
                raise LeaseHeld("lease vanished", source=self.record.source)
            if found.state != "held" or found.backfill_id != self.record.backfill_id:
                raise _refused(found, "nothing more was done")
            return found.model_copy(
                update={"heartbeat_at": beaten.at, "expires_at": until.at, "standstill": self.standstill}
            )

        try:
            self._held = lease_record(self.store, self.record.source).update(extended, seen=self._held) or self._held
        except LeaseHeld:
            self._held_until = here
            raise
        self._held_until = here.after(self.ttl_s)

    def check(self) -> None:
        """Raises ``LeaseHeld`` when somebody took it over: to be asked before each write of a holder without a gate.

        A holder that was frozen for longer than the lease asks the store. Blocking.
        """
        if self.held_until.is_over:
            self.heartbeat(utc_now())

    def release(self, now: dt.datetime) -> None:
        """Gives the lease back; a lease that somebody took over is left alone."""
        release_lease(self.store, self.record.source, self.record.backfill_id, now)


_SHAPE = TypeAdapter(LeaseRecord)


def lease_record(store: ObjectStore, source: str) -> VersionedRecord[LeaseRecord]:
    """The object that is the lease."""
    return VersionedRecord(store, lease_name(source), _SHAPE, source=source, stage="lease")


def read_lease(store: ObjectStore, source: str) -> LeaseRecord | None:
    """As stored, None when there never was one. Raises ``StateUnreadable``."""
    return lease_record(store, source).read()


def list_leases(store: ObjectStore, unreadable: list[StateUnreadable] | None = None) -> Iterator[LeaseRecord]:
    """Every lease that was ever taken, held or released. What cannot be read is added to ``unreadable``, or raised."""
    sources = [found.name.removeprefix("leases/").removesuffix(".json") for found in store.list("leases/")]
    # A round trip each, of every source, before the first call of a run.
    with threads(_READ_AT_ONCE, "leases") as pool:
        reading = [pool.submit(read_lease, store, source) for source in sources]
    for one in reading:
        try:
            record = one.result()
        except StateUnreadable as error:
            error.told_or_raised(unreadable)
            continue
        if record:
            yield record


def suspended_runs(leases: Iterable[LeaseRecord]) -> set[str]:
    """Ids of the backfills that wait for Resume."""
    return {one.suspended_run.backfill_id for one in leases if one.suspended_run}


def has_run_out(clock: StoreClock, held: LeaseRecord, now: dt.datetime) -> bool:
    """Whether the holder has given no sign of life for too long, by the clock of the store as well."""
    if held.expires_at > now:
        return False
    name = lease_name(held.source)
    return is_process_gone(held.machine, held.pid) or clock.is_over(name, held.expires_at, held.lasts, now)


def is_lent(clock: StoreClock, held: LeaseRecord, now: dt.datetime) -> bool:
    """As `LeaseRecord.is_lent`; a loan that looks over is asked about at the store."""
    if not held.lent_to or held.lent_until is None:
        return False
    return held.is_lent(now) or not clock.is_over(lease_name(held.source), held.lent_until, held.lasts, now)


def is_taken(clock: StoreClock, held: LeaseRecord, now: dt.datetime) -> bool:
    """As `LeaseRecord.is_alive`; a holder that looks dead is asked about at the store, whose clock all share."""
    if held.is_alive(now) or is_lent(clock, held, now):
        return True
    return held.state == "held" and held.expires_at <= now and not has_run_out(clock, held, now)


def seems_taken(store: ObjectStore, held: LeaseRecord, now: dt.datetime) -> bool:
    """As `is_taken`, for who only looks: who may not write at the store asks no clock but their own."""
    try:
        return is_taken(StoreClock(store), held, now)
    except PipelineError:
        return held.is_alive(now)


def release_lease(store: ObjectStore, source: str, backfill_id: str, now: dt.datetime) -> bool:
    """Writes ``released`` if ``backfill_id`` is the holder; True when it was. Never deletes the object.

    A suspended run gets its paused lease back, and one that is released itself does not.
    """
    return _leave(store, source, backfill_id, now, "released")


def _leave(store: ObjectStore, source: str, backfill_id: str, now: dt.datetime, state: str) -> bool:
    def left(found: LeaseRecord | None) -> LeaseRecord | None:
        if found is None:
            return None
        if found.suspended is not None and found.suspended.backfill_id == backfill_id:
            return found.model_copy(update={"suspended": None}) if state == "released" else None
        if found.state not in ("held", "paused") or found.backfill_id != backfill_id:
            return None
        return found.left(now, state=state)

    return lease_record(store, source).update(left) is not None


def pause_lease(store: ObjectStore, source: str, backfill_id: str, now: dt.datetime) -> bool:
    """Writes ``paused`` if ``backfill_id`` is the holder: the source is free, and the run is known to come back."""
    return _leave(store, source, backfill_id, now, "paused")


def _suspended_by(found: LeaseRecord | None, holder: Holder) -> LeaseRecord | None:
    """Another backfill takes the place of a suspended one for good."""
    waits = found.suspended_run if found else None
    return None if waits is None or holder.mode == "backfill" or waits.backfill_id == holder.backfill_id else waits


def _refused(held: LeaseRecord, done: str = "nothing was done") -> LeaseHeld:
    look = f", or look at flow run {held.flow_run_id}" if held.flow_run_id else ""
    return LeaseHeld(
        f"the source is held by {held.describe()}; {done}",
        source=held.source,
        stage="lease",
        hint=f"wait for it{look}; a dead holder expires at {held.expires_at:%H:%M:%S} UTC",
    )
