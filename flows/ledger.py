"""The ledger: one small object per (source, partition) that holds its verdict and the evidence for it.

Everything a plan needs is also the object's custom metadata, so that one listing (1,000 objects a call) reads years.
Every update is a compare-and-swap on the generation last seen; unreadable state stops the run.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from alerting.errors import LeaseHeld, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectStore, StoredObject
from alerting.redaction import redact

ERROR_LIMIT_CHARS = 300


class Verdict(StrEnum):
    """What is known about one partition."""

    PLANNED = "planned"
    RUNNING = "running"
    LANDED = "landed"
    LOADED = "loaded"
    VERIFIED = "verified"
    EMPTY_OK = "empty_ok"
    PARTIAL = "partial"
    TRUNCATED = "truncated"
    FAILED_RETRYABLE = "failed_retryable"
    FAILED_PERMANENT = "failed_permanent"
    UNAVAILABLE = "unavailable"
    BLOCKED = "blocked"
    SKIPPED = "skipped"
    PAUSED = "paused"

    @property
    def is_good(self) -> bool:
        """Terminal and good: nothing is left to do for this partition."""
        return self in _GOOD

    @property
    def is_failed(self) -> bool:
        """Tried, and not good: what ``retry_failed`` retries."""
        return self in _FAILED


_GOOD = frozenset({Verdict.VERIFIED, Verdict.EMPTY_OK, Verdict.UNAVAILABLE, Verdict.SKIPPED})
_FAILED = frozenset(
    {
        Verdict.PARTIAL,
        Verdict.TRUNCATED,
        Verdict.FAILED_RETRYABLE,
        Verdict.FAILED_PERMANENT,
        Verdict.BLOCKED,
    }
)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One partition's state. ``landed`` and ``loaded`` are rows per table; ``updated_at`` is aware UTC.

    ``pages_fetched`` is how many rows of the first table the source really gave (civic.band calls its rows pages),
    ``expected`` how many it announced (None: it does not), ``actual`` how many were recounted in the warehouse at
    ``verified_at``; ``last_cursor`` is where a paginated partition stopped.
    """

    source: str
    partition: str
    verdict: Verdict
    backfill_id: str
    updated_at: dt.datetime
    attempt: str = ""
    attempts: int = 0
    content_hash: str = ""
    landed: Mapping[str, int] = field(default_factory=dict)
    loaded: Mapping[str, int] = field(default_factory=dict)
    receipt_id: str = ""
    error_type: str = ""
    error: str = ""
    evidence: str = ""
    last_cursor: str = ""
    pages_fetched: int = 0
    expected: int | None = None
    actual: int | None = None
    verified_at: dt.datetime | None = None

    @property
    def manifest_name(self) -> str:
        """Object name of the manifest of the attempt that landed, "" when nothing is landed."""
        if not self.attempt:
            return ""
        return f"landing/source={self.source}/partition={self.partition}/attempt={self.attempt}/manifest.json"

    def to_metadata(self) -> dict[str, str]:
        """The entry as custom metadata: text values only, empty ones left out."""
        values = {
            "verdict": self.verdict.value,
            "backfill_id": self.backfill_id,
            "updated_at": self.updated_at.isoformat(),
            "attempt": self.attempt,
            "attempts": str(self.attempts) if self.attempts else "",
            "content_hash": self.content_hash,
            "landed": json.dumps(dict(self.landed)) if self.landed else "",
            "loaded": json.dumps(dict(self.loaded)) if self.loaded else "",
            "receipt_id": self.receipt_id,
            "error_type": self.error_type,
            "error": redact(self.error)[:ERROR_LIMIT_CHARS],
            "evidence": self.evidence,
            "last_cursor": self.last_cursor,
            "pages_fetched": str(self.pages_fetched) if self.pages_fetched else "",
            "expected": "" if self.expected is None else str(self.expected),
            "actual": "" if self.actual is None else str(self.actual),
            "verified_at": self.verified_at.isoformat() if self.verified_at else "",
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_metadata(cls, source: str, partition: str, metadata: Mapping[str, str]) -> LedgerEntry:
        """Raises ``KeyError`` or ``ValueError`` for metadata that this code did not write."""
        return cls(
            source=source,
            partition=partition,
            verdict=Verdict(metadata["verdict"]),
            backfill_id=metadata["backfill_id"],
            updated_at=dt.datetime.fromisoformat(metadata["updated_at"]),
            attempt=metadata.get("attempt", ""),
            attempts=int(metadata.get("attempts", "0")),
            content_hash=metadata.get("content_hash", ""),
            landed=json.loads(metadata.get("landed", "{}")),
            loaded=json.loads(metadata.get("loaded", "{}")),
            receipt_id=metadata.get("receipt_id", ""),
            error_type=metadata.get("error_type", ""),
            error=metadata.get("error", ""),
            evidence=metadata.get("evidence", ""),
            last_cursor=metadata.get("last_cursor", ""),
            pages_fetched=int(metadata.get("pages_fetched", "0")),
            expected=int(metadata["expected"]) if "expected" in metadata else None,
            actual=int(metadata["actual"]) if "actual" in metadata else None,
            verified_at=dt.datetime.fromisoformat(metadata["verified_at"]) if "verified_at" in metadata else None,
        )


def ledger_prefix(source: str) -> str:
    """All ledger objects of one source."""
    return f"ledger/source={source}/"


class Ledger:
    """The ledger of one source, as last listed plus what this process wrote since. Thread-safe."""

    def __init__(self, store: ObjectStore, source: str) -> None:
        self.store = store
        self.source = source
        self._entries: dict[str, tuple[LedgerEntry, int]] = {}
        self._lock = threading.Lock()

    def refresh(self, first_key: str = "", last_key: str = "") -> dict[str, LedgerEntry]:
        """Lists the source's entries from ``first_key`` to ``last_key`` (inclusive; "" = no bound).

        Raises ``StateUnreadable`` when one object is not a ledger entry; nothing is changed then.
        """
        prefix = ledger_prefix(self.source)
        listed = self.store.list(
            prefix,
            start_offset=f"{prefix}{first_key}" if first_key else None,
            end_offset=f"{prefix}{last_key}.json~" if last_key else None,
        )
        seen = {}
        for found in listed:
            entry = self._parse(found)
            seen[entry.partition] = (entry, found.generation)
        with self._lock:
            self._entries.update(seen)
        return {key: entry for key, (entry, _) in seen.items()}

    def _parse(self, found: StoredObject) -> LedgerEntry:
        key = found.name.removeprefix(ledger_prefix(self.source)).removesuffix(".json")
        try:
            return LedgerEntry.from_metadata(self.source, key, found.metadata)
        except (KeyError, ValueError, TypeError) as error:
            raise StateUnreadable(
                f"state unreadable at {self.store.root_uri}/{found.name}; nothing was changed",
                source=self.source,
                partition=key,
                stage="plan",
                reason=f"{type(error).__name__}: {error}",
                hint=f"look at that object; `gapless reconcile {self.source}` rebuilds it from manifests and receipts",
            ) from error

    def get(self, partition: str) -> LedgerEntry | None:
        """The entry as last seen; None when the partition was never attempted."""
        with self._lock:
            known = self._entries.get(partition)
        return known[0] if known else None

    def put(self, entry: LedgerEntry) -> LedgerEntry:
        """Writes ``entry`` over the generation last seen.

        Raises ``LeaseHeld`` when another run has written the partition since: this run lost its lease.
        """
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
            raise LeaseHeld(
                "the ledger entry was written by another run; this run's result for it was not recorded",
                source=self.source,
                partition=entry.partition,
                stage="ledger",
                hint=f"see who holds the lease: gapless status {self.source}",
            ) from conflict
        with self._lock:
            self._entries[entry.partition] = (entry, generation)
        return entry

    def advance(
        self, partition: str, verdict: Verdict, backfill_id: str, now: dt.datetime, **facts: object
    ) -> LedgerEntry:
        """Puts the entry with a new verdict and ``facts``; what is not named is kept, an old error is cleared."""
        before = self.get(partition) or LedgerEntry(self.source, partition, verdict, backfill_id, now)
        changed: dict[str, object] = {"error_type": "", "error": "", **facts}
        return self.put(replace(before, verdict=verdict, backfill_id=backfill_id, updated_at=now, **changed))  # type: ignore[arg-type]
