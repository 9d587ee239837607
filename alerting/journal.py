"""The incident journal: append-only objects, one per window and attempt, read back as a stream.

Layout: ``alerts/backfill=<id>/incidents/<window>-<attempt>-<uuid>.json.gz``, gzipped lines of JSON. No object is
ever rewritten, so writers need no lock and cannot lose each other's incidents.
"""

from __future__ import annotations

import datetime as dt
import gzip
import re
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pydantic import TypeAdapter

from alerting.errors import StateUnreadable
from alerting.fingerprint import fingerprint
from alerting.incident import Incident
from alerting.object_store import ObjectMissing, ObjectStore, StoredObject
from alerting.versioned_record import unreadable


def path_part(text: str) -> str:
    """The text as one path segment: other characters than letters, digits and ``. _ @ = + -`` become ``-``.

    >>> path_part("2021/03 a")
    '2021-03-a'
    """
    return re.sub(r"[^\w.@=+-]+", "-", text).strip(".") or "-"


def alerts_prefix(backfill_id: str) -> str:
    """All alerting objects of one backfill, except its outbox entry."""
    return f"alerts/backfill={path_part(backfill_id)}/"


def with_fingerprint(incident: Incident) -> Incident:
    """The incident with its fingerprint filled in, so that later versions of the algorithm leave it alone."""
    return incident if incident.fingerprint else replace(incident, fingerprint=fingerprint(incident))


_WRITER, _REPEATS = "spool", "repeats"
_INCIDENTS = TypeAdapter(list[Incident])


def _writer(stored: StoredObject) -> str:
    return stored.metadata.get(_WRITER, "")


class IncidentJournal:
    """Incidents of backfills in an object store. Safe from any number of threads and processes."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.read_up_to: dt.datetime | None = None
        """When the store took the newest object that was there when `read` began; None where there was none."""

    def append(
        self,
        backfill_id: str,
        window: str,
        attempt: int | str,
        incidents: Sequence[Incident],
        *,
        writer: str = "",
        repeats: bool = True,
    ) -> str:
        """Stores the incidents as one object and returns its name ("" for none). All of them or none.

        ``repeats=False`` is the promise of a named ``writer`` that nothing in it was given to the journal before.
        Raises what the store raises; the caller keeps the incidents then, and may have them stored twice.
        """
        if not incidents:
            return ""
        unique = f"{time.time_ns():016x}{uuid.uuid4().hex[:12]}"
        name = (
            f"{alerts_prefix(backfill_id)}incidents/"
            f"{path_part(window or 'run')}-{path_part(str(attempt))}-{unique}.json.gz"
        )
        lines = b"\n".join(with_fingerprint(incident).to_json() for incident in incidents)
        self.store.write(
            name,
            gzip.compress(lines, compresslevel=5, mtime=0),
            if_generation=0,
            content_type="application/gzip",
            metadata={
                "incidents": str(len(incidents)),
                "backfill_id": backfill_id,
                _WRITER: writer,
                _REPEATS: "yes" if repeats else "no",
            },
        )
        return name

    def read(self, backfill_id: str, unreadable: list[StateUnreadable] | None = None) -> Iterator[Incident]:
        """Every incident once, object by object. Memory: one object, and 16 characters per incident of those writers
        that may have stored some of theirs twice.

        Raises ``StateUnreadable`` that names the object: a broken journal is never an empty one. Who only shows them
        gives a list, to which it is added instead.
        """
        prefix = f"{alerts_prefix(backfill_id)}incidents/"
        writers = set[tuple[str, bool]]()
        for stored in self.store.list(prefix):
            writers.add((_writer(stored), stored.metadata.get(_REPEATS) != "no"))
            if stored.updated_at is not None:
                self.read_up_to = max(self.read_up_to or stored.updated_at, stored.updated_at)
        if not writers:
            return
        repeating = {writer for writer, repeats in writers if repeats}
        seen: set[str] = set()
        for stored in self.store.list(prefix):
            try:
                incidents = self._read_object(stored.name)
            except StateUnreadable as error:
                error.told_or_raised(unreadable)
                continue
            if _writer(stored) not in repeating:
                yield from incidents
                continue
            for incident in incidents:
                if incident.incident_id not in seen:
                    seen.add(incident.incident_id)
                    yield incident

    def after(self, backfill_id: str, instant: dt.datetime | None, writer: str) -> Iterator[Incident]:
        """What the store took of ``writer`` later than at ``instant``, None for all. Raises as ``read``."""
        for stored in self.store.list(f"{alerts_prefix(backfill_id)}incidents/"):
            is_later = instant is None or (stored.updated_at is not None and stored.updated_at > instant)
            if is_later and _writer(stored) == writer:
                yield from self._read_object(stored.name)

    def count(self, backfill_id: str) -> int:
        """Incidents by the objects' metadata, without reading one; repeats count twice."""
        found = self.store.list(f"{alerts_prefix(backfill_id)}incidents/")
        return sum(int(stored.metadata.get("incidents", 0)) for stored in found)

    def _read_object(self, name: str) -> Iterable[Incident]:
        try:
            lines = gzip.decompress(self.store.read(name)[0]).strip()
            # Inside of JSON a line break is escaped: one parse of the whole object takes half of one for each line.
            return _INCIDENTS.validate_json(b"[%b]" % lines.replace(b"\n", b","))
        except (ObjectMissing, OSError, EOFError, zlib.error, ValueError) as error:
            hint = "look at that object; restore an older generation or move it away, then send the summary again"
            raise unreadable(self.store, name, error, stage="alert", hint=hint) from error
