"""The ledger: one small object per (source, partition) that holds its verdict and the evidence for it.

Everything a plan needs is also the object's custom metadata, so that one listing (1,000 objects a call) reads years.
Every update is a compare-and-swap on the generation last seen; unreadable state stops the run. Partitions that were
planned and never begun have no object of their own: `flows.ledger.pending`.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from alerting.errors import LeaseHeld, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectStore, StoredObject
from alerting.ranges import date_of
from alerting.versioned_record import unreadable
from flows.ledger.entry import LedgerEntry, OfNewerVersion, Verdict
from flows.ledger.pending import read_pending
from scrapers.threads import threads

__all__ = ["Ledger", "LedgerEntry", "Verdict", "ledger_prefix"]


def ledger_prefix(source: str) -> str:
    """All ledger objects of one source."""
    return f"ledger/source={source}/"


def _last_name(last_key: str) -> str:
    """The last in order among the objects of the keys up to ``last_key``.

    ``malmo`` comes before ``malmo-city``, and ``malmo.json`` after ``malmo-city.json``. No date begins with another.

    >>> _last_name("2025-01-31"), _last_name("malmo-city")
    ('2025-01-31.json', 'malmo.json')
    """
    shortest = len(last_key) if date_of(last_key) else 1
    return max(f"{last_key[:end]}.json" for end in range(shortest, len(last_key) + 1))


_A_LISTING = 1_000
"""Objects that Cloud Storage lists at once."""
_LISTINGS_AT_ONCE = 8


class Ledger:
    """The ledger of one source, as last listed plus what this process wrote since. Thread-safe."""

    def __init__(self, store: ObjectStore, source: str, only: Collection[str] | None = None) -> None:
        """``only`` is what is wanted of the source (`LedgerEntry.asked_for`); None takes every entry as it stands."""
        self.store = store
        self.source = source
        self._only = only
        self._entries: dict[str, tuple[LedgerEntry, int]] = {}
        self._lock = threading.Lock()
        self.is_lost = False
        """The run has ended, or the source is another's by now: nothing is written any more."""

    def refresh(
        self, first_key: str = "", last_key: str = "", unreadable: list[StateUnreadable] | None = None
    ) -> dict[str, LedgerEntry]:
        """Lists the source's entries from ``first_key`` to ``last_key`` (inclusive; "" = no bound).

        Raises ``StateUnreadable`` when one object is not a ledger entry; nothing is changed then. Who only shows them
        gives a list, to which it is added instead.
        """
        return self._refresh((first_key, last_key), [], unreadable)

    def refresh_over(self, keys: Sequence[str], around: Sequence[str] = ()) -> dict[str, LedgerEntry]:
        """As `refresh`, from the least of ``keys`` and ``around`` to the greatest: ten years take as long as three.

        A listing is asked for a thousand entries at a time, each where the one before has ended; what lies between
        every thousand of ``keys`` is listed at the same time. Of ``around`` few have an entry, so that the first and
        the last listing have room for them.
        """
        ordered = sorted({*keys})
        if not ordered:
            return {}
        parts = -(-len(ordered) // _A_LISTING)
        cuts = [ordered[len(ordered) * number // parts] for number in range(1, parts)]
        reach = {ordered[0], ordered[-1], *around}
        return self._refresh((min(reach), max(reach)), cuts, None)

    def _refresh(
        self, ends: tuple[str, str], cuts: Sequence[str], unreadable: list[StateUnreadable] | None
    ) -> dict[str, LedgerEntry]:
        prefix, (first_key, last_key) = ledger_prefix(self.source), ends
        bounds = [f"{prefix}{key}" if key else None for key in (first_key, *cuts)]
        bounds.append(f"{prefix}{_last_name(last_key)}~" if last_key else None)
        seen: dict[str, tuple[LedgerEntry, int]] = {}
        # What no run began is one object of its own: a round trip beside those of the listing.
        with threads(_LISTINGS_AT_ONCE, "ledger") as beside:
            reading = beside.submit(self._pending, first_key, last_key)
            for part in [beside.submit(self._listed, *between, unreadable) for between in pairwise(bounds)]:
                seen |= part.result()
        pending = reading.result()
        seen = {key: found for key, found in seen.items() if key >= first_key and (not last_key or key <= last_key)}
        with self._lock:
            for key, (_, generation) in seen.items():
                known = self._entries.get(key)
                if known is None or known[1] <= generation:
                    self._entries[key] = seen[key]
                else:
                    # Written by another thread of this process since the listing was begun: generations only grow.
                    seen[key] = known
            for key in pending.keys() - seen.keys():
                if not self._entries.get(key, (None, 0))[1]:
                    # Generation 0: whoever begins it creates its object.
                    self._entries[key] = (pending[key], 0)
                seen[key] = self._entries[key]
        return {key: self._as_wanted(entry) for key, (entry, _) in seen.items()}

    def _listed(
        self, start: str | None, end: str | None, unreadable: list[StateUnreadable] | None
    ) -> dict[str, tuple[LedgerEntry, int]]:
        """Entries with their generations, of the object names from ``start`` to before ``end``."""
        seen = {}
        for found in self.store.list(ledger_prefix(self.source), start_offset=start, end_offset=end):
            try:
                entry = self._parse(found)
            except StateUnreadable as error:
                error.told_or_raised(unreadable)
                continue
            seen[entry.partition] = (entry, found.generation)
        return seen

    def _pending(self, first_key: str, last_key: str) -> dict[str, LedgerEntry]:
        return {
            key: LedgerEntry(self.source, key, Verdict(one.verdict), one.backfill_id, one.at, evidence=one.why)
            for one in read_pending(self.store, self.source)
            for key in one.keys
            if key >= first_key and (not last_key or key <= last_key)
        }

    def _parse(self, found: StoredObject) -> LedgerEntry:
        key = found.name.removeprefix(ledger_prefix(self.source)).removesuffix(".json")
        try:
            return LedgerEntry.from_metadata(self.source, key, found.metadata)
        except (KeyError, ValueError, TypeError) as error:
            hint = f"look at that object; `gapless reconcile {self.source} --apply` rebuilds it from what landed"
            if isinstance(error, OfNewerVersion):
                hint = f"a newer version of Gapless wrote it ({error}): update this one"
            where = {"source": self.source, "partition": key, "stage": "plan", "hint": hint}
            raise unreadable(self.store, found.name, error, **where) from error

    def get(self, partition: str) -> LedgerEntry | None:
        """The entry as last seen; None when the partition was never attempted."""
        with self._lock:
            known = self._entries.get(partition)
        return self._as_wanted(known[0]) if known else None

    def known_of(self, partitions: Iterable[str]) -> dict[str, LedgerEntry]:
        """As ``get`` of each, at one moment and in their order; those that were never attempted are left out."""
        with self._lock:
            known = [self._entries[key] for key in partitions if key in self._entries]
        return {entry.partition: self._as_wanted(entry) for entry, _ in known}

    def entries(self) -> dict[str, LedgerEntry]:
        """Every entry as last seen, in the order of keys."""
        with self._lock:
            return {key: self._as_wanted(entry) for key, (entry, _) in sorted(self._entries.items())}

    def _as_wanted(self, entry: LedgerEntry) -> LedgerEntry:
        return entry if self._only is None else entry.asked_for(self._only)

    def put(self, entry: LedgerEntry) -> LedgerEntry:
        """Writes ``entry`` over the generation last seen.

        Raises ``LeaseHeld`` when another run has written the partition since: this run lost its lease.
        """
        if self.is_lost:
            raise self._not_recorded(entry, "the run has ended or lost its source; this result of it was not recorded")
        with self._lock:
            known = self._entries.get(entry.partition)
        name = f"{ledger_prefix(self.source)}{entry.partition}.json"
        metadata = entry.to_metadata()
        try:
            generation = self.store.write(
                name,
                json.dumps(metadata, indent=1).encode(),
                if_generation=known[1] if known else 0,
                content_type="application/json",
                metadata=metadata,
            )
        except GenerationConflict as conflict:
            why = "the ledger entry was written by another run; this run's result for it was not recorded"
            raise self._not_recorded(entry, why) from conflict
        with self._lock:
            self._entries[entry.partition] = (entry, generation)
        return entry

    def _not_recorded(self, entry: LedgerEntry, why: str) -> LeaseHeld:
        hint = f"see who holds the lease: gapless status {self.source}"
        return LeaseHeld(why, source=self.source, partition=entry.partition, stage="ledger", hint=hint)

    def advance(
        self, partition: str, verdict: Verdict, backfill_id: str, now: dt.datetime, **facts: object
    ) -> LedgerEntry:
        """Puts the entry with a new verdict and ``facts``; what is not named is kept, an old error is cleared."""
        before = self.get(partition) or LedgerEntry(self.source, partition, verdict, backfill_id, now)
        changed: dict[str, object] = {"error_type": "", "error": "", **facts}
        return self.put(replace(before, verdict=verdict, backfill_id=backfill_id, updated_at=now, **changed))  # type: ignore[arg-type]
