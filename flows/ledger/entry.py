"""One entry of the ledger: a partition's verdict and the evidence for it, as text metadata and back. Pure."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from alerting.object_store import METADATA_LIMIT_BYTES
from alerting.redaction import redact

ERROR_LIMIT_CHARS = 300
_FOR_PEOPLE = (
    *("error", "evidence", "open_items", "absent", "missing_items", "told_items"),
    *("accepted", "rejected", "open_accepted", "last_cursor"),
)
NARROWED = "Narrowed"
"""In place of an error: the partition was landed for a part of what is wanted by now."""
REOPENED = "Reopened"
"""In place of an error: an audit gave back a partition that was called done."""
NOT_APPROVED = "NotApproved"
"""In place of an error: nobody wanted the rows of this partition."""


class Verdict(StrEnum):
    """What is known about one partition."""

    PLANNED = "planned"
    LANDED = "landed"
    LOADED = "loaded"
    STAGED = "staged"
    VERIFIED = "verified"
    EMPTY_OK = "empty_ok"
    PARTIAL = "partial"
    TRUNCATED = "truncated"
    SHRUNK = "shrunk"
    FAILED_RETRYABLE = "failed_retryable"
    FAILED_PERMANENT = "failed_permanent"
    UNAVAILABLE = "unavailable"
    BLOCKED = "blocked"
    PAUSED = "paused"

    @property
    def is_good(self) -> bool:
        """Terminal and good: nothing is left to do for this partition."""
        return self in _GOOD

    @property
    def is_failed(self) -> bool:
        """Tried, and not good: what ``retry_failed`` retries."""
        return self in _FAILED


_GOOD = frozenset({Verdict.VERIFIED, Verdict.EMPTY_OK, Verdict.UNAVAILABLE})
_FAILED = frozenset(
    {
        Verdict.PARTIAL,
        Verdict.TRUNCATED,
        Verdict.SHRUNK,
        Verdict.FAILED_RETRYABLE,
        Verdict.FAILED_PERMANENT,
        Verdict.BLOCKED,
    }
)
_WHAT_WAS_ASKED = frozenset({Verdict.LANDED, Verdict.LOADED, Verdict.VERIFIED, Verdict.EMPTY_OK})


# Tools that copy objects add names with a hyphen, and rclone its "mtime".
_OURS = re.compile(r"(?!mtime\b)[a-z][a-z_]*")


class OfNewerVersion(ValueError):
    """What a later version says of a partition, as that not all of it was asked for, must not be left unheard."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One partition's state. ``landed`` and ``loaded`` are rows per table; ``updated_at`` is aware UTC.

    ``pages_fetched`` is how many rows of the first table the source really gave (civic.band calls its rows pages),
    ``expected`` how many it announced (None: it does not), ``actual`` how many were recounted in the warehouse at
    ``verified_at``; ``read_at`` is when the source last answered for it, which no reload and no recount makes later;
    ``last_cursor`` is where a paginated partition stopped. ``changes`` is what the last load did:
    table -> created, updated, unchanged, removed. ``accepted`` says who accepted fewer rows than before, and why;
    ``rejected`` who did not approve what came last, and why: nothing of the source is loaded until a person asks again.
    ``open_items`` names what a good partition was loaded without (a postponed game), ``open_accepted`` who accepted
    that as a loss, and why. ``absent`` names what was listed and is rightly not there. ``items`` is how many the
    source's oracles had ``expected`` and how many of these were ``found``, empty where none was believed;
    ``missing_items`` names those that were not, ``told_items`` what is worth a note. ``fed_by`` is the ``content_hash``
    of the list, of the source that this one feeds on, of which these are the items. ``only`` are the parts of the
    source that were asked for (`scrapers.base.Scraper.only`), () for all of it.
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
    changes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    receipt_id: str = ""
    error_type: str = ""
    error: str = ""
    evidence: str = ""
    open_items: str = ""
    absent: str = ""
    items: Mapping[str, int] = field(default_factory=dict)
    missing_items: str = ""
    told_items: str = ""
    accepted: str = ""
    rejected: str = ""
    open_accepted: str = ""
    fed_by: str = ""
    only: tuple[str, ...] = ()
    last_cursor: str = ""
    pages_fetched: int = 0
    expected: int | None = None
    actual: int | None = None
    verified_at: dt.datetime | None = None
    read_at: dt.datetime | None = None

    @property
    def answered_at(self) -> dt.datetime:
        """How old the evidence is; of an entry of before there was ``read_at`` by its verdict."""
        return self.read_at or self.updated_at

    @property
    def is_pending(self) -> bool:
        """Planned by a run that ended or paused before it began this partition; it has no object of its own."""
        return self.verdict in (Verdict.PLANNED, Verdict.PAUSED) and not self.attempts

    @property
    def has_failed(self) -> bool:
        """Tried, and not good: also what is landed and could not be loaded, which a retry does without a call."""
        behind = self.verdict in (Verdict.LANDED, Verdict.LOADED) and self.error_type not in ("", REOPENED)
        return self.verdict.is_failed or behind

    @property
    def keeps_verified_rows(self) -> bool:
        """Whether nothing came of the last try, and what was verified before it is still in the tables."""
        nothing_came = self.verdict.is_failed and self.verdict not in (Verdict.SHRUNK, Verdict.PARTIAL)
        return nothing_came and self.verified_at is not None and any(self.loaded.values())

    def asked_for(self, only: Collection[str]) -> LedgerEntry:
        """The entry where ``only`` is wanted, () for all: what was landed for less is ``partial``.

        >>> at = dt.datetime(2025, 1, 3, tzinfo=dt.UTC)
        >>> british = LedgerEntry("s", "2025-01-03", Verdict.VERIFIED, "bf-1", at, attempt="a1", only=("gb",))
        >>> [british.asked_for(only).verdict.value for only in (("gb",), ("gb", "ire"), ())]
        ['verified', 'partial', 'partial']
        """
        is_less = bool(self.only) and not (only and set(only) <= set(self.only))
        if not is_less or not self.attempt or self.verdict not in _WHAT_WAS_ASKED:
            return self
        error = f"landed for {', '.join(self.only)} alone, and {', '.join(only) or 'all'} is wanted"
        return replace(self, verdict=Verdict.PARTIAL, error_type=NARROWED, error=error)

    @property
    def manifest_name(self) -> str:
        """Object name of the manifest of the attempt that landed, "" when nothing is landed."""
        if not self.attempt:
            return ""
        return f"landing/source={self.source}/partition={self.partition}/attempt={self.attempt}/manifest.json"

    def to_metadata(self) -> dict[str, str]:
        """The entry as custom metadata: text values only, without empty ones, long texts cut to fit."""
        values = {
            "verdict": self.verdict.value,
            "backfill_id": self.backfill_id,
            "updated_at": self.updated_at.isoformat(),
            "attempt": self.attempt,
            "attempts": str(self.attempts) if self.attempts else "",
            "content_hash": self.content_hash,
            "landed": json.dumps(dict(self.landed)) if self.landed else "",
            "loaded": json.dumps(dict(self.loaded)) if self.loaded else "",
            "changes": json.dumps(dict(self.changes)) if self.changes else "",
            "receipt_id": self.receipt_id,
            "error_type": self.error_type,
            "error": redact(self.error, ERROR_LIMIT_CHARS)[:ERROR_LIMIT_CHARS],
            "evidence": self.evidence,
            "open_items": self.open_items[:ERROR_LIMIT_CHARS],
            "absent": self.absent[:ERROR_LIMIT_CHARS],
            "items": json.dumps(dict(self.items)) if self.items else "",
            "missing_items": self.missing_items[:ERROR_LIMIT_CHARS],
            "told_items": self.told_items[:ERROR_LIMIT_CHARS],
            "accepted": redact(self.accepted, ERROR_LIMIT_CHARS)[:ERROR_LIMIT_CHARS],
            "rejected": redact(self.rejected, ERROR_LIMIT_CHARS)[:ERROR_LIMIT_CHARS],
            "open_accepted": redact(self.open_accepted)[:ERROR_LIMIT_CHARS],
            "fed_by": self.fed_by,
            "only": ",".join(self.only),
            "last_cursor": self.last_cursor[:ERROR_LIMIT_CHARS],
            "pages_fetched": str(self.pages_fetched) if self.pages_fetched else "",
            "expected": "" if self.expected is None else str(self.expected),
            "actual": "" if self.actual is None else str(self.actual),
            "verified_at": self.verified_at.isoformat() if self.verified_at else "",
            "read_at": self.read_at.isoformat() if self.read_at else "",
        }
        return _fitting({name: value for name, value in values.items() if value})

    @classmethod
    def from_metadata(cls, source: str, partition: str, metadata: Mapping[str, str]) -> LedgerEntry:
        """Raises ``KeyError`` or ``ValueError`` for metadata that this code did not write."""
        is_entry = metadata.keys() >= {"verdict", "backfill_id", "updated_at"}
        unknown = [name for name in metadata if name not in _NAMES and _OURS.fullmatch(name)]
        if is_entry and unknown:
            raise OfNewerVersion(f"this one does not know {', '.join(sorted(unknown))[:80]}")
        if is_entry and metadata["verdict"] not in _VERDICTS:
            raise OfNewerVersion(f"this one does not know the verdict {metadata['verdict'][:80]!r}")
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
            changes=json.loads(metadata.get("changes", "{}")),
            receipt_id=metadata.get("receipt_id", ""),
            error_type=metadata.get("error_type", ""),
            error=metadata.get("error", ""),
            evidence=metadata.get("evidence", ""),
            open_items=metadata.get("open_items", ""),
            absent=metadata.get("absent", ""),
            items=json.loads(metadata.get("items", "{}")),
            missing_items=metadata.get("missing_items", ""),
            told_items=metadata.get("told_items", ""),
            accepted=metadata.get("accepted", ""),
            rejected=metadata.get("rejected", ""),
            open_accepted=metadata.get("open_accepted", ""),
            fed_by=metadata.get("fed_by", ""),
            only=tuple(metadata["only"].split(",")) if metadata.get("only") else (),
            last_cursor=metadata.get("last_cursor", ""),
            pages_fetched=int(metadata.get("pages_fetched", "0")),
            expected=int(metadata["expected"]) if "expected" in metadata else None,
            actual=int(metadata["actual"]) if "actual" in metadata else None,
            verified_at=dt.datetime.fromisoformat(metadata["verified_at"]) if "verified_at" in metadata else None,
            read_at=dt.datetime.fromisoformat(metadata["read_at"]) if "read_at" in metadata else None,
        )


_VERDICTS = frozenset(Verdict)
_NAMES = frozenset(one.name for one in fields(LedgerEntry)) - {"source", "partition"}


def _fitting(metadata: dict[str, str]) -> dict[str, str]:
    """All of it, with the texts for people as long as an object can hold beside the rest."""
    for limit_chars in (ERROR_LIMIT_CHARS, 150, 75, 35):
        if len(json.dumps(metadata, ensure_ascii=False).encode()) <= METADATA_LIMIT_BYTES:
            break
        metadata = {name: text[:limit_chars] if name in _FOR_PEOPLE else text for name, text in metadata.items()}
    return metadata
