"""What a run's mail says of the data: rows per table, days that are not final, fields that the source sends anew."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from alerting.errors import NotSettled
from alerting.ranges import compress_dates
from alerting.run_facts import RunFacts, TableFacts
from alerting.wording import plural
from flows.ledger.entry import LedgerEntry, Verdict
from flows.parameters import Mode
from processors.receipt import Receipt
from processors.verification import Verification

_SHOWN = 4
# What took less is not worth a line of the mail.
SLOW_ANSWER_S = 1.0


def changes_rows(entry: LedgerEntry, began_at: dt.datetime | None) -> bool:
    """Whether the partition's last load created, updated or removed any row, or may have found rows that are news.

    These are of a run that landed the partition before ``began_at``, loaded it, and was killed before anybody was told:
    see `lands_from`.
    """
    if any(counts.get(what) for counts in entry.changes.values() for what in ("created", "updated", "removed")):
        return True
    return bool(entry.changes) and began_at is not None and entry.answered_at < began_at


def lands_from(facts: RunFacts) -> dt.datetime | None:
    """Since when a run lands what it loads; None in mode reprocess, which loads again what others landed."""
    return None if facts.mode == Mode.REPROCESS.value else facts.started_at


def with_data_facts(
    facts: RunFacts, tables: Sequence[str], entries: Sequence[LedgerEntry], since: dt.datetime | None
) -> RunFacts:
    """``facts`` with all that the ledger says of the data; ``entries`` are those of a plan, made at ``since``."""
    told = [*shrunk_facts(entries, facts.source), *kept_facts(entries), *absent_facts(entries), *item_facts(entries)]
    return replace(
        facts,
        notes=[*told, *facts.notes],
        items=item_counts(entries),
        tables=table_facts(tables, entries, since),
        provisional=provisional_facts(entries),
    )


def table_facts(
    tables: Sequence[str], entries: Sequence[LedgerEntry], since: dt.datetime | None = None
) -> list[TableFacts]:
    """Rows per table over the partitions of a plan; the source announces only those of the first table.

    What a good partition landed and did not load are identical repeats: its verification allowed for them. Rows changed
    by this run are those of entries written at ``since`` (aware) or later. What shrank is left out: its old rows are
    kept, and no fault of the load; `shrunk_facts` tells of it.
    """
    entries = [entry for entry in entries if entry.verdict is not Verdict.SHRUNK]
    ours = [entry for entry in entries if since and entry.updated_at >= since]
    good = [entry for entry in entries if entry.verdict.is_good]
    tried = [entry for entry in entries if not entry.verdict.is_good and entry.verdict is not Verdict.LANDED]
    return [
        TableFacts(
            name=table,
            expected=_announced(entries) if position == 0 else None,
            landed=sum(entry.landed.get(table, 0) for entry in entries),
            loaded=sum(entry.loaded.get(table, 0) for entry in entries),
            verified=sum(entry.loaded.get(table, 0) for entry in good),
            repeats=sum(max(entry.landed.get(table, 0) - entry.loaded.get(table, 0), 0) for entry in good),
            mismatching=[
                entry.partition for entry in tried if entry.landed.get(table, 0) != entry.loaded.get(table, 0)
            ],
            changes=dict(sum((Counter(one.changes.get(table, {})) for one in ours), Counter())),
            removed_on=[one.partition for one in ours if one.changes.get(table, {}).get("removed")],
        )
        for position, table in enumerate(tables)
    ]


def _announced(entries: Sequence[LedgerEntry]) -> int | None:
    """Rows that the source itself announced; None unless it did so for every partition that was landed."""
    totals = [entry.expected for entry in entries if entry.landed]
    known = [total for total in totals if total is not None]
    return sum(known) if known and len(known) == len(totals) else None


def provisional_facts(entries: Sequence[LedgerEntry]) -> dict[str, str]:
    """Ranges of the partitions that the source still changes -> what becomes of them."""
    told = {}
    if blocked := [entry.partition for entry in entries if entry.error_type == NotSettled.__name__]:
        told[compress_dates(blocked)] = "not final at the source; a later run fetches it again"
    for entry in entries:
        if entry.verdict.is_good and entry.open_items and not entry.open_accepted:
            told[entry.partition] = f"loaded without items that are not final: {entry.open_items}"
    return told


def absent_facts(entries: Sequence[LedgerEntry]) -> list[str]:
    """A sentence on what was listed and is rightly not there, with the first of the partitions."""
    absent = {one.partition: one.absent for one in entries if one.verdict.is_good and one.absent}
    return _sentence("Listed at the source and rightly not there", absent)


def item_facts(entries: Sequence[LedgerEntry]) -> list[str]:
    """A sentence on what oracles say of the partitions and is no fault, with the first of them."""
    told = {one.partition: one.told_items for one in entries if one.verdict.is_good and one.told_items}
    return _sentence("Other than expected, and no fault", told)


def _sentence(what: str, told: Mapping[str, str], where: str = "") -> list[str]:
    """Nothing when nothing is told; ``where`` the rest is."""
    if not told:
        return []
    shown = "; ".join(f"{key} {text}" for key, text in list(told.items())[:_SHOWN])
    rest = len(told) - _SHOWN
    more = f"; and {rest:,} more{where}" if rest > 0 else ""
    return [f"{what} ({compress_dates(told)}): {shown}{more}"]


def item_counts(entries: Sequence[LedgerEntry]) -> dict[str, int]:
    """How many items the source's oracles expect of the partitions, and how many of these are there."""
    return dict(sum((Counter(entry.items) for entry in entries), Counter()))


def item_counts_of(found: Verification) -> dict[str, Any]:
    """What the oracles of the source say of a partition, for its ledger entry."""
    strict = [one for one in found.items if one.oracle.is_strict]
    counts = {"expected": sum(one.expected for one in strict), "found": sum(one.found for one in strict)}
    return {
        "items": counts if strict else {},
        "missing_items": "; ".join(one.missing_text for one in strict if one.missing),
        "told_items": "; ".join(one.told for one in found.items if one.told),
    }


def shrunk_facts(entries: Sequence[LedgerEntry], source: str) -> list[str]:
    """A sentence on the partitions whose new answer had fewer rows than before: how many, before and after."""
    shrunk = {one.partition: shrunk_text(one) for one in entries if one.verdict is Verdict.SHRUNK}
    return _sentence("Shrunk at the source, old rows kept", shrunk, f": gapless status {source} --failed")


def kept_facts(entries: Sequence[LedgerEntry]) -> list[str]:
    """A sentence on the partitions that were to be read anew, and have the rows of before."""
    kept = [f"{one.partition} verified {one.verified_at:%Y-%m-%d}" for one in entries if one.keeps_verified_rows]
    return _sentence("Not renewed, old rows kept", dict(one.split(" ", 1) for one in kept))


def shrunk_text(entry: LedgerEntry) -> str:
    """Rows before and after, per table: what was last verified against what came.

    >>> import datetime as dt
    >>> at = dt.datetime(2025, 1, 4, tzinfo=dt.UTC)
    >>> games = {"landed": {"games": 1}, "loaded": {"games": 10}}
    >>> shrunk_text(LedgerEntry("s", "2025-01-03", Verdict.SHRUNK, "bf-1", at, **games))
    'games 10 -> 1'
    """
    tables = [*entry.loaded, *(table for table in entry.landed if table not in entry.loaded)]
    return ", ".join(f"{table} {entry.loaded.get(table, '?')} -> {entry.landed.get(table, 0)}" for table in tables)


def balance_facts(receipts: Sequence[Receipt]) -> list[str]:
    """A warning per kind of sum that does not hold in loaded rows: on how many dates, and an example."""
    kinds: dict[str, dict[str, str]] = {}
    for receipt in receipts:
        for key, texts in receipt.unbalanced.items():
            for text in texts:
                kinds.setdefault(_kind_of(text), {}).setdefault(key, text)
    return [
        f"WARNING: {kind} is not the sum that it should be ({compress_dates(found)}; loaded): "
        f"{next(iter(found.values()))}. Rows are missing or numbers are wrong at the source: look at it, then run the "
        "dates again with mode=full."
        for kind, found in kinds.items()
    ]


def _kind_of(text: str) -> str:
    """Table and column of a difference.

    >>> _kind_of("games (k, 2): home_score is 12, lines.pts sums to 9")
    'games home_score'
    """
    return f"{text.partition(' ')[0]} {text.partition('): ')[2].partition(' ')[0]}"


def drift_facts(receipts: Sequence[Receipt], known: Collection[str]) -> list[str]:
    """Payload fields that no column takes and no earlier run of the source saw, with their number of rows."""
    rows: Counter[str] = Counter()
    for receipt in receipts:
        rows.update(receipt.unknown_fields)
    return [
        f"{name}: sent by the source, taken by no column ({plural(rows[name], 'row')})"
        for name in sorted(rows)
        if name not in known
    ]


def slowest_answer(answers_s: Sequence[float]) -> str:
    """The longest wait for one partition's answers, against the usual one; "" for fewer than two and below 1 s."""
    if len(answers_s) < 2 or max(answers_s) < SLOW_ANSWER_S:
        return ""
    return f"an answer of the source: {max(answers_s):.1f} s (half of them under {median(answers_s):.1f} s)"
