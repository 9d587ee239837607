"""One limiter for all severities, in the object store: shared by processes, and it survives restarts.

A cooldown counts from the last mail that a server accepted, not from the last attempt. What is held back is counted.
A server that takes a mail and fails before it says so would get it again with every error: tries that fail become ever
more seldom.

All by the clock of the store: by those of their machines, two processes would undo each other's cooldowns.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as stored_dataclass

from alerting.object_store import ObjectStore
from alerting.store_clock import StoreClock
from alerting.versioned_record import VersionedRecord

_RESERVED = dt.timedelta(minutes=1)
_LONGEST_REST = dt.timedelta(minutes=32)
_FAILED_WITHIN = 20
"""So many failed tries of what ``ask_among`` allows, within its minutes."""
# Of writers that overtake each other.
_CLOCK_SKEW = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send once. ``suppressed`` errors were held back since ``since``."""

    key: str
    suppressed: int
    since: dt.datetime | None
    type_key: str = ""


@stored_dataclass
class _Record:
    last_sent_at: dt.datetime | None = None
    suppressed: int = 0
    reserved_until: dt.datetime | None = None
    sent_at: list[dt.datetime] = field(default_factory=list)
    failures: int = 0
    failed_at: list[dt.datetime] = field(default_factory=list)


_ADAPTER: TypeAdapter[_Record] = TypeAdapter(_Record)


def _within(times: Iterable[dt.datetime], now: dt.datetime, minutes: float) -> list[dt.datetime]:
    """Those of the last ``minutes``."""
    return [when for when in times if when - _CLOCK_SKEW <= now < when + dt.timedelta(minutes=minutes)]


def _is_cooling(record: _Record, now: dt.datetime, cooldown_minutes: float) -> bool:
    """A mail of a later time than now was sent by a clock that was wrong: it silences nobody."""
    last = record.last_sent_at
    return last is not None and last - _CLOCK_SKEW <= now < last + dt.timedelta(minutes=cooldown_minutes)


class Limiter:
    """``ask`` for a permit, then say what became of it: ``confirm``, ``failed`` or ``release``. Key "" is not limited.

    ``clock`` is that of this machine.
    """

    def __init__(self, store: ObjectStore, clock: Callable[[], dt.datetime]) -> None:
        self._store, self._store_clock = store, StoreClock(store, clock)

    def now(self) -> dt.datetime:
        """By the clock of the store, to the second: the way there and back takes a part of one."""
        return self._store_clock.about().replace(microsecond=0)

    def ask(self, key: str, cooldown_minutes: float, *, type_key: str = "") -> Permit | None:
        """A permit, or None after counting the error as held back."""
        given: list[Permit] = []

        def decide(record: _Record) -> None:
            given.clear()
            now = self.now()
            cooling = _is_cooling(record, now, cooldown_minutes)
            until = record.reserved_until
            reserved = until is not None and now < until <= now + _LONGEST_REST + _CLOCK_SKEW
            if cooldown_minutes > 0 and (cooling or reserved):
                record.suppressed += 1
                return
            record.reserved_until = now + _RESERVED
            given.append(Permit(key, record.suppressed, record.last_sent_at, type_key))

        self._update(key, decide)
        return given[0] if given else None

    def ask_among(self, key: str, most: int, minutes: float, *, type_key: str = "") -> Permit | None:
        """A permit unless ``most`` were given within ``minutes``; None after counting the error as held back."""
        given: list[Permit] = []

        def decide(record: _Record) -> None:
            given.clear()
            now = self.now()
            record.sent_at = _within(record.sent_at, now, minutes)
            record.failed_at = _within(record.failed_at, now, minutes)
            if len(record.sent_at) >= most or len(record.failed_at) >= _FAILED_WITHIN:
                record.suppressed += 1
                return
            record.sent_at.append(now)
            given.append(Permit(key, record.suppressed, record.last_sent_at, type_key))

        self._update(key, decide)
        return given[0] if given else None

    def confirm(self, permit: Permit) -> None:
        """The mail was accepted: the cooldown begins."""

        def sent(record: _Record) -> None:
            record.last_sent_at, record.reserved_until, record.failures = self.now(), None, 0
            record.suppressed = max(record.suppressed - permit.suppressed, 0)

        for key in filter(None, (permit.key, permit.type_key)):
            self._update(key, sent)

    def failed(self, permit: Permit) -> None:
        """No channel said that it took the mail, and one may have it: the next try waits, twice as long each time."""

        def rest(record: _Record) -> None:
            now = self.now()
            record.failures += 1
            record.reserved_until = now + min(_RESERVED * (1 << min(record.failures - 1, 10)), _LONGEST_REST)
            record.sent_at, record.failed_at = record.sent_at[:-1], [*record.failed_at, now][-_FAILED_WITHIN:]

        if permit.key:
            self._update(permit.key, rest)

    def release(self, permit: Permit) -> None:
        """The mail was not tried: the next error may, and this one counts as held back."""

        def free(record: _Record) -> None:
            record.reserved_until = None
            record.suppressed += 1

        if permit.key:
            self._update(permit.key, free)

    def free(self, key: str, cooldown_minutes: float) -> bool:
        """Whether the cooldown of ``key`` is over; changes nothing."""
        record = self._stored(key).read()
        return record is None or not _is_cooling(record, self.now(), cooldown_minutes)

    def recent(self, window_s: float) -> int:
        """Counts this alert in, and returns how many were within the window."""
        found: list[int] = []

        def count(record: _Record) -> None:
            now = self.now()
            since = now - dt.timedelta(seconds=window_s)
            record.sent_at = [*(when for when in record.sent_at if when > since), now][-1000:]
            found[:] = [len(record.sent_at)]

        self._update("recent", count)
        return found[0]

    def _stored(self, key: str) -> VersionedRecord[_Record]:
        name = f"alert-state/limiter/{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
        hint = "delete that object: its cooldown starts again"
        return VersionedRecord(self._store, name, _ADAPTER, stage="alert", hint=hint)

    def _update(self, key: str, change: Callable[[_Record], None]) -> None:
        def changed(found: _Record | None) -> _Record:
            record = found or _Record()
            change(record)
            return record

        self._stored(key).update(changed)
