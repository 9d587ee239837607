"""The outbox: one object per backfill that owes its summary mail from the run's first moment.

``outbox/backfill=<id>.json`` goes open -> claimed(by, until) -> sent (or archived: ended without a mail; or refused:
no channel will ever take it). Every change is a compare-and-swap, so of any number of senders exactly one holds the
claim; a claim ends by itself.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from alerting.errors import StateUnreadable
from alerting.incident import Incident
from alerting.journal import path_part
from alerting.machine import is_process_gone, machine_name
from alerting.object_store import ObjectStore
from alerting.run_facts import RunFacts
from alerting.store_clock import StoreClock
from alerting.versioned_record import Version, VersionedRecord

State = Literal["open", "claimed", "sent", "refused", "archived"]
_CLOSED: tuple[State, ...] = ("sent", "refused", "archived")
CLAIM_S = 900.0
"""Longer than any conversation with a mail server."""
_TRIES_AT_ONCE = 4
"""Three of the run, and one of the hook that follows it."""
_SHORTEST_REST, _LONGEST_REST = dt.timedelta(minutes=5), dt.timedelta(hours=6)
_PREFIX = "outbox/backfill="


@dataclass
class Delivered:
    """One channel took the mail at ``at``; ``refused`` maps recipient to the server's answer.

    ``later`` are those of the refused who are tried again, because the server said "not now". ``cut`` is why it has a
    smaller mail than the others; ``given_up`` when it refused that one as well.
    """

    at: dt.datetime
    refused: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    given_up: bool = False
    later: list[str] = field(default_factory=list)

    @property
    def missing(self) -> str:
        """Who is tried again and why not yet; "" when nobody is."""
        return "; ".join(f"{who} is tried again: {self.refused.get(who, '?')}" for who in self.later)


@dataclass
class HumanNotice:
    """The one "a human is needed now" of this attempt: the incident, and whether the mail is out."""

    incident: Incident
    sent_at: dt.datetime | None = None
    claimed_until: dt.datetime | None = None
    delivered: dict[str, Delivered] = field(default_factory=dict)
    message_id: str = ""


@dataclass
class OutboxEntry:
    """State of one backfill's mail. ``finished_at`` is set when backfill mode ended, mailed or not.

    ``facts`` is ``RunFacts.to_dict()``. ``errors`` are the last failed deliveries, newest last; of ``failed_tries`` in
    all the last one was ``failed_at``. ``quiet_if_ok``
    sends no summary when everything is there.
    One mail may tell of several backfills: ``covers`` are the facts of those as they are planned, in their order, each
    with an entry of its own from its beginning on; ``told_by`` is the backfill whose mail tells of this one, which then
    sends none.
    """

    backfill_id: str
    attempt: int = 1
    state: State = "open"
    source: str = ""
    owner: str = ""
    mail_host: str = "gapless.local"
    opened_at: dt.datetime | None = None
    heartbeat_at: dt.datetime | None = None
    ttl_s: float = 3600.0
    finished_at: dt.datetime | None = None
    claimed_by: str = ""
    claimed_until: dt.datetime | None = None
    sent_at: dt.datetime | None = None
    message_id: str = ""
    mail_object: str = ""
    delivered: dict[str, Delivered] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    failed_tries: int = 0
    failed_at: dt.datetime | None = None
    human: HumanNotice | None = None
    progress_mail_at: dt.datetime | None = None
    quiet_if_ok: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    told_by: str = ""
    covers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Nothing is owed any more."""
        return self.state in _CLOSED

    @property
    def has_ended(self) -> bool:
        """The run came to its end, or a sender has begun to draw its mail."""
        return self.finished_at is not None or self.state == "claimed"

    @property
    def run_facts(self) -> RunFacts:
        """The saved facts, with the entry's own where they are empty."""
        known = RunFacts(
            backfill_id=self.backfill_id,
            attempt=self.attempt,
            source=self.source,
            owner=self.owner,
            started_at=self.opened_at,
        )
        return known.merged(RunFacts.from_dict(self.facts)) if self.facts else known

    def expires_at(self) -> dt.datetime | None:
        """When backfill mode ends by itself for want of a heartbeat."""
        return self.heartbeat_at + dt.timedelta(seconds=self.ttl_s) if self.heartbeat_at else None

    def stale(self, now: dt.datetime) -> bool:
        """The run neither ended nor gave a sign of life for ``ttl_s``."""
        expiry = self.expires_at()
        return not self.closed and self.finished_at is None and (expiry is None or now >= expiry)

    def claimed(self, now: dt.datetime) -> bool:
        """Somebody's claim still runs. One of a process of this machine that is gone does not."""
        runs = self.state == "claimed" and self.claimed_until is not None and now < self.claimed_until
        return runs and not _is_gone(self.claimed_by)

    def claimable(self, now: dt.datetime, by: str) -> bool:
        """Whether ``by`` may send: nobody else holds a claim that still runs."""
        return not self.closed and (not self.claimed(now) or self.claimed_by == by)

    def rests(self, now: dt.datetime) -> bool:
        """Whether the next try waits: not after `_TRIES_AT_ONCE`, then five minutes, twice as long each time, up to six
        hours.

        A channel that fails may have taken the mail, and who reads it gets it again with each try.
        """
        doublings = min(self.failed_tries - _TRIES_AT_ONCE - 1, 10)
        if self.failed_at is None or doublings < 0 or self.closed:
            return False
        return now < self.failed_at + min(_SHORTEST_REST * (1 << doublings), _LONGEST_REST)

    def note(self, problem: str) -> None:
        """Remembers a failed delivery; the last twenty are kept."""
        self.errors = [*self.errors, problem][-20:]


def sender_name() -> str:
    """Who claims: machine, process, thread."""
    return f"{machine_name()}/{os.getpid()}/{threading.get_ident()}"


def _is_gone(sender: str) -> bool:
    machine, _, rest = sender.partition("/")
    pid = rest.partition("/")[0]
    return pid.isdigit() and is_process_gone(machine, int(pid))


_ADAPTER: TypeAdapter[OutboxEntry] = TypeAdapter(OutboxEntry)


class Outbox:
    """All outbox entries of one store.

    What it last wrote of an entry is not read again before the next change: where somebody else has changed it since,
    that write is refused, and the change is made to what is there.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._written: dict[str, Version[OutboxEntry]] = {}

    def read(self, backfill_id: str) -> OutboxEntry | None:
        """None when the backfill never entered backfill mode. Raises ``StateUnreadable``."""
        return self._stored(_name(backfill_id)).read()

    def update(
        self,
        backfill_id: str,
        change: Callable[[OutboxEntry], OutboxEntry | None],
        create: Callable[[], OutboxEntry] | None = None,
    ) -> OutboxEntry | None:
        """Applies ``change`` by compare-and-swap until it sticks; returns what is stored then.

        ``change`` mutates and returns the entry it is given, or returns None to leave things as they are (then None
        comes back). It may be called again with a fresher entry. A missing entry is made by ``create``, else None.
        Raises ``LandingUnavailable`` when every race was lost, ``StateUnreadable`` for an entry that cannot be read.
        """

        def changed(found: OutboxEntry | None) -> OutboxEntry | None:
            entry = found or (create() if create else None)
            return change(entry) if entry else None

        record, written = self._stored(_name(backfill_id)), self._written.pop(backfill_id, None)
        stored = record.update(changed, written)
        if stored is None and written is not None:
            # Nothing would have refused that: what was written since may want another answer.
            stored = record.update(changed)
        if stored is None:
            return None
        # A copy: whoever is given the entry may change it. By way of JSON it takes less than half of deepcopy's time.
        copied = _ADAPTER.validate_json(_ADAPTER.dump_json(stored.value))
        self._written[backfill_id] = Version(copied, stored.generation)
        return stored.value

    def claim(
        self, backfill_id: str, by: str, now: dt.datetime, also: Callable[[OutboxEntry], object] = lambda _: None
    ) -> OutboxEntry | None:
        """The entry, claimed by ``by`` for `CLAIM_S`; None when closed, missing, or claimed by another.

        ``also`` changes it in the same write: Cloud Storage takes one of an object a second.
        """

        def take(entry: OutboxEntry) -> OutboxEntry | None:
            if not entry.claimable(now, by) or self._is_at_it(entry, by, now):
                return None
            also(entry)
            entry.state, entry.claimed_by = "claimed", by
            entry.claimed_until = now + dt.timedelta(seconds=CLAIM_S)
            return entry

        return self.update(backfill_id, take)

    def _is_at_it(self, entry: OutboxEntry, by: str, now: dt.datetime) -> bool:
        """Whether a claim of another sender that looks over by this machine's clock still runs by that of the store."""
        if (
            entry.state != "claimed"
            or entry.claimed_by == by
            or entry.claimed_until is None
            or _is_gone(entry.claimed_by)
        ):
            return False
        lasts, clock = dt.timedelta(seconds=CLAIM_S), StoreClock(self.store)
        if entry.heartbeat_at is not None and entry.heartbeat_at > entry.claimed_until - lasts:
            # The run has written the entry since: when the store took it says nothing of the claim.
            return clock.now() < entry.claimed_until
        return not clock.is_over(_name(entry.backfill_id), entry.claimed_until, lasts, now)

    def entries(self, unreadable: list[StateUnreadable] | None = None) -> Iterator[OutboxEntry]:
        """Every entry that still owes something, by one listing and one read each.

        What cannot be read is added to ``unreadable``, with its source where that is known; without the list it is
        raised.
        """
        for stored in self.store.list(_PREFIX):
            if stored.metadata.get("state") in _CLOSED:
                continue
            try:
                entry = self._stored(stored.name).read()
            except StateUnreadable as error:
                error.told_or_raised(unreadable, source=stored.metadata.get("source", ""))
                continue
            if entry and not entry.closed:
                yield entry

    def _stored(self, name: str) -> VersionedRecord[OutboxEntry]:
        hint = "restore an older generation of that object; backfill mode stays on until then"
        return VersionedRecord(self.store, name, _ADAPTER, metadata=_listed, stage="alert", hint=hint)


def _name(backfill_id: str) -> str:
    return f"{_PREFIX}{path_part(backfill_id)}.json"


def _listed(entry: OutboxEntry) -> dict[str, str]:
    """What a listing tells of an entry."""
    told = {"state": entry.state, "attempt": str(entry.attempt), "backfill_id": entry.backfill_id}
    began = {"opened_at": entry.opened_at.isoformat()} if entry.opened_at else {}
    return told | {"source": entry.source} | began
