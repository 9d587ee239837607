"""Live alerts that wait for the digest, in the object store: kept by every process, told once by that of the digest.

All by the clock of the store. What a machine whose clock is behind keeps, and what storage takes only after some tries,
would lie before the digest that is sent already, and be in none.
"""

from __future__ import annotations

import datetime as dt
import gzip
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as stored_dataclass

from alerting.errors import PipelineError
from alerting.incident import Incident
from alerting.journal import with_fingerprint
from alerting.object_store import ObjectMissing, ObjectStore
from alerting.redaction import redact
from alerting.versioned_record import VersionedRecord, unreadable

_log = logging.getLogger("gapless.alerting")
PENDING_PREFIX = "pending-alerts/"
LONGEST_DIGEST_HOURS = 24.0 * 31
_LATEST = dt.timedelta(minutes=10)
"""So long after it was reported, an alert may still come into storage: a write is tried for a minute."""


@stored_dataclass
class _Digest:
    """The last one: when it looked, and what it told of the last minutes before."""

    at: dt.datetime
    told: list[str] = field(default_factory=list)


_LAST: TypeAdapter[_Digest | dt.datetime] = TypeAdapter(_Digest | dt.datetime)


@dataclass(frozen=True, slots=True)
class DueDigest:
    """What a digest at ``at`` tells: of ``hours``, the alerts ``names``; ``told`` are all that no later one repeats."""

    at: dt.datetime
    hours: float
    names: tuple[str, ...]
    told: tuple[str, ...]


class PendingAlerts:
    """Those of one store; ``now`` is aware UTC, by the clock of the store."""

    def __init__(self, store: ObjectStore, now: Callable[[], dt.datetime]) -> None:
        self._store, self._now = store, now

    def keep(self, incident: Incident) -> None:
        """Under the time at which it was reported: a caller's clock, or an old error, would be in no digest."""
        self._store.write(
            f"{_begin(self._now())}-{incident.incident_id}.json.gz",
            gzip.compress(incident.to_json(), mtime=0),
            if_generation=0,
            content_type="application/gzip",
        )

    def since(self, hours: float, at: dt.datetime) -> Iterator[Incident]:
        """Those of the last ``hours`` before ``at``, by any clock: who only looks writes nothing to ask the store's."""
        return self.read(self._names(at - dt.timedelta(hours=hours)), at)

    def read(self, names: Iterable[str], at: dt.datetime) -> Iterator[Incident]:
        """These; one that cannot be read is told as an alert of its own, of ``at``."""
        for name in names:
            try:
                yield Incident.from_json(gzip.decompress(self._store.read(name)[0]))
            except ObjectMissing:
                continue
            except (OSError, EOFError, ValueError, zlib.error) as error:
                fault = unreadable(self._store, name, error, stage="alert")
                yield with_fingerprint(Incident.from_error(fault, occurred_at=at))

    def due(self, hours: float) -> DueDigest:
        """The last ``hours``; all since the digest before it, should that be longer ago; and what came too late for
        that one."""
        now, last = self._now(), self._last()
        since = begin = now - dt.timedelta(hours=hours)
        if last is not None:
            longest = now - dt.timedelta(hours=LONGEST_DIGEST_HOURS)
            begin, since = min(begin, max(last.at - _LATEST, longest)), min(since, max(last.at, longest))
        before = {*last.told} if last is not None else set()
        listed = list(self._names(begin))
        names = tuple(name for name in listed if name >= _begin(now - dt.timedelta(hours=hours)) or name not in before)
        told = tuple(name for name in sorted({*names, *before}) if name >= _begin(now - _LATEST))
        return DueDigest(now, (now - since).total_seconds() / 3600, names, told)

    def tell(self, digest: DueDigest) -> None:
        """It was sent, or had nothing to tell."""
        self._last_digest().put(_Digest(digest.at, list(digest.told)))

    def _names(self, since: dt.datetime) -> Iterator[str]:
        return (one.name for one in self._store.list(PENDING_PREFIX, start_offset=_begin(since)))

    def _last(self) -> _Digest | None:
        try:
            last = self._last_digest().read()
        except (PipelineError, OSError) as error:
            _log.error("not known when the last digest was sent: %s", redact(str(error)))
            return None
        return _Digest(last) if isinstance(last, dt.datetime) else last

    def _last_digest(self) -> VersionedRecord[_Digest | dt.datetime]:
        return VersionedRecord(self._store, "alert-state/last-digest.json", _LAST, stage="alert")


def _begin(instant: dt.datetime) -> str:
    """Where the names of what was reported from then on begin."""
    return f"{PENDING_PREFIX}{instant:%Y-%m-%d}/{instant:%H%M%S}"
