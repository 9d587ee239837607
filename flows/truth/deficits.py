"""What is missing or wrong, and why: the judgement over an inventory. Pure.

``gaps`` looks at tables (is the row there?), ``audit`` at partitions (is every level there, and do they agree?).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any

from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.truth.inventory import Known
from scrapers.scrape import NOBODY_LOOKED

_UNFINISHED = frozenset({Verdict.PLANNED, Verdict.PAUSED})
_LANDED = frozenset({Verdict.LANDED, Verdict.LOADED})


class Deficit(StrEnum):
    """Why a partition is not done, worst first."""

    FAILED = "failed"
    SHORT = "short"
    MISSING_ITEMS = "missing_items"
    MOVED = "moved"
    NO_EVIDENCE = "no_evidence"
    LANDED_NOT_LOADED = "landed_not_loaded"
    IN_REVIEW = "in_review"
    REJECTED = "rejected"
    LOADED_NOT_LANDED = "loaded_not_landed"
    NEVER_ATTEMPTED = "never_attempted"
    UNFINISHED = "unfinished"
    LONG_REST = "long_rest"
    STALE = "stale"
    OPEN_ITEMS = "open_items"
    CHANGED = "changed"
    BELOW = "below_threshold"
    UNMAPPED = "unmapped"
    MISSED = "missed"
    NOT_AUDITED = "not_audited"
    IN_WORK = "in_work"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One partition and what is wrong with it; ``partition`` is "" for a finding about the whole source.

    ``entry`` is the ledger's, as it was judged.
    """

    source: str
    partition: str
    deficit: Deficit
    why: str
    entry: LedgerEntry | None = dataclasses.field(default=None, repr=False, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Neighbouring partitions of one entity and table without the rows they should have, for one reason."""

    source: str
    entity: str
    table: str
    why: str
    partitions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with inclusive ``ranges``."""
        return {
            **dataclasses.asdict(self),
            "partitions": len(self.partitions),
            "ranges": compress_dates(self.partitions),
        }


def find_gaps(source: str, inventory: Sequence[Known], tables: Iterable[str]) -> list[Gap]:
    """Per entity, table and reason, the partitions for which ledger and table do not both say "done".

    A date proven empty or accepted as lost is no gap; rows without a verdict are one, because nobody counted them.
    """
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for known in inventory:
        for number, table in enumerate(tables):
            why = _gap(known, table) or _item_gap(known, {table, *([""] if number == 0 else [])})
            if why:
                grouped.setdefault((known.partition.entity, table, why), []).append(known.partition.key)
    return [Gap(source, entity, table, why, tuple(keys)) for (entity, table, why), keys in sorted(grouped.items())]


def _gap(known: Known, table: str) -> str:
    rows, entry = known.rows.get(table, 0), known.entry
    if entry is None:
        return "rows without a verdict" if rows else "landed, not loaded" if known.attempts else "never attempted"
    if entry.verdict is Verdict.UNAVAILABLE:
        return ""
    if known.refused or known.changed:
        return known.refused or known.changed
    if entry.verdict is Verdict.EMPTY_OK:
        doubt = "proven empty for longer than the source rests" if known.doubt else ""
        return "proven empty, but the table has rows" if rows else doubt
    if entry.verdict is Verdict.VERIFIED:
        expected = entry.loaded.get(table)
        if expected is None:
            return "" if rows else "verified without a count, and the table has no rows"
        return "" if rows == expected else "the table has fewer rows than verified" if rows < expected else (
            "the table has more rows than verified"
        )  # fmt: skip
    return _open_verdict(entry)


def _item_gap(known: Known, tables: Collection[str]) -> str:
    """What an oracle expects in one of ``tables``, where "" is the first one of the source, and is not there."""
    if known.entry is None or not known.entry.verdict.is_good or not known.is_askable:
        return ""
    short = sorted({one.oracle.source for one in known.items if one.is_short and one.oracle.found_in in tables})
    return f"items of {', '.join(short)} are missing" if short else ""


def _open_verdict(entry: LedgerEntry) -> str:
    if entry.is_pending:
        return f"{entry.verdict.value}: {entry.evidence}"
    if entry.verdict is Verdict.STAGED:
        return f"staged: waits for approval in {entry.backfill_id}"
    return f"{entry.verdict.value}: {entry.error_type}" if entry.error_type else entry.verdict.value


def not_at_source(inventory: Iterable[Known]) -> list[dict[str, Any]]:
    """What is ``unavailable`` and why, one line per reason: no gap, and nothing that a run could mend."""
    grouped: dict[str, list[str]] = {}
    for known in inventory:
        if known.entry is not None and known.entry.verdict is Verdict.UNAVAILABLE:
            grouped.setdefault(known.entry.evidence or known.entry.error, []).append(known.partition.key)
    return [
        {"verdict": Verdict.UNAVAILABLE.value, "partitions": len(keys), "ranges": compress_dates(keys), "why": why}
        for why, keys in sorted(grouped.items())
    ]


def find_deficits(
    source: str,
    inventory: Iterable[Known],
    now: dt.datetime,
    *,
    empty_ttl: dt.timedelta,
    fresh_for: dt.timedelta,
    below: int = 0,
) -> list[Finding]:
    """Every partition whose raw, ledger and loaded levels do not all say "done", oldest first within an entity.

    Args:
        source: Source name.
        inventory: As read.
        now: Aware UTC.
        empty_ttl: Evidence of emptiness older than this is stale, and the date is asked for again.
        fresh_for: A snapshot of a whole entity older than this is stale.
        below: Also report good partitions with fewer rows than this in all tables together.
    """
    found = []
    for known in inventory:
        judged = _judge(known, now, empty_ttl, fresh_for) or _below(known, below)
        if judged:
            found.append(Finding(source, known.partition.key, *judged, known.entry))
    return found


def _judge(
    known: Known, now: dt.datetime, empty_ttl: dt.timedelta, fresh_for: dt.timedelta
) -> tuple[Deficit, str] | None:
    entry = known.entry
    if entry is None:
        return _without_entry(known)
    if entry.verdict is Verdict.UNAVAILABLE:
        # Once: a run over it writes it down, and from then on it is known.
        is_news = known.is_missed and entry.evidence.startswith(NOBODY_LOOKED)
        return (Deficit.MISSED, entry.evidence) if is_news else None
    if entry.rejected and not entry.verdict.is_good and entry.verdict not in _LANDED:
        return Deficit.REJECTED, f"{entry.verdict.value}: {entry.rejected}"
    if entry.verdict.is_failed:
        return Deficit.FAILED, _open_verdict(entry)
    if entry.verdict in _UNFINISHED:
        return Deficit.UNFINISHED, _open_verdict(entry)
    if entry.verdict is Verdict.STAGED:
        return Deficit.IN_REVIEW, f"rows of {entry.backfill_id} wait for approval; the old ones are in the tables"
    if entry.verdict in _LANDED:
        failed = f": {entry.error_type}" if entry.has_failed else ""
        return Deficit.LANDED_NOT_LOADED, f"{entry.verdict.value} by {entry.backfill_id}, not verified{failed}"
    found = _of_a_good_verdict(known, entry, now, empty_ttl, fresh_for)
    if found is not None and entry.rejected and found[0] is not Deficit.SHORT:
        # Only the source could say more, and somebody did not approve what it says.
        return Deficit.REJECTED, f"{found[1]}; {entry.rejected}"
    return found


def _without_entry(known: Known) -> tuple[Deficit, str]:
    if known.newest:
        return Deficit.LANDED_NOT_LOADED, f"landed by {known.newest.backfill_id}, unknown to the ledger"
    if known.has_rows:
        return Deficit.LOADED_NOT_LANDED, "rows in BigQuery, no landed payload and no ledger entry"
    return Deficit.NEVER_ATTEMPTED, "no ledger entry, no payload, no rows"


def _of_a_good_verdict(
    known: Known, entry: LedgerEntry, now: dt.datetime, empty_ttl: dt.timedelta, fresh_for: dt.timedelta
) -> tuple[Deficit, str] | None:
    """A date called done is checked against what is really there."""
    if entry.attempt not in {one.attempt for one in known.attempts}:
        return Deficit.LOADED_NOT_LANDED, f"the manifest of attempt {entry.attempt or '(none)'} is gone"
    if known.refused:
        return Deficit.NO_EVIDENCE, known.refused
    if known.changed:
        return Deficit.CHANGED, known.changed
    newest = known.newest
    if newest and newest.attempt != entry.attempt and newest.content_hash != entry.content_hash:
        return Deficit.LANDED_NOT_LOADED, f"another payload was landed later, by {newest.backfill_id}"
    expected = dict.fromkeys(known.rows, 0) if entry.verdict is Verdict.EMPTY_OK else entry.loaded
    wrong = [
        f"{table} {rows} of {expected.get(table, 'an unknown number')}"
        for table, rows in known.rows.items()
        if rows != expected.get(table)
    ]
    if wrong:
        return Deficit.SHORT, f"rows now and when verified differ: {', '.join(wrong)}"
    if known.missing_items and known.is_askable:
        return Deficit.MISSING_ITEMS, known.missing_items
    if known.moved and known.is_askable:
        return Deficit.MOVED, known.moved
    if entry.verdict is Verdict.EMPTY_OK and known.doubt:
        return Deficit.LONG_REST, known.doubt
    age = now - entry.answered_at
    if entry.verdict is Verdict.EMPTY_OK and age > empty_ttl and known.is_askable:
        return Deficit.STALE, f"proven empty on {entry.answered_at:%Y-%m-%d}, {plural(age.days, 'day')} ago"
    if known.partition.is_whole and age > fresh_for:
        return Deficit.STALE, f"the snapshot of {entry.answered_at:%Y-%m-%d %H:%M} UTC is older than {fresh_for}"
    if entry.open_items and not entry.open_accepted:
        return Deficit.OPEN_ITEMS, f"loaded without items that are not final at the source: {entry.open_items}"
    return None


def _below(known: Known, threshold: int) -> tuple[Deficit, str] | None:
    rows = sum(known.rows.values())
    if rows >= threshold or known.entry is None or known.entry.verdict is Verdict.UNAVAILABLE:
        return None
    return Deficit.BELOW, f"{plural(rows, 'row')} in all tables, fewer than {threshold}"


def summarised(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """One line per source, deficit and reason class, worst first: count, ranges, and one example of why."""
    grouped: dict[tuple[str, Deficit, str], list[Finding]] = {}
    for one in findings:
        reason = one.why if one.deficit is Deficit.FAILED else ""
        grouped.setdefault((one.source, one.deficit, reason), []).append(one)
    order = list(Deficit)
    return [
        {
            "source": source,
            "deficit": deficit.value,
            "count": len(members),
            "ranges": compress_dates(one.partition for one in members),
            "why": members[0].why,
        }
        for (source, deficit, _), members in sorted(
            grouped.items(), key=lambda item: (item[0][0], order.index(item[0][1]), -len(item[1]))
        )
    ]
