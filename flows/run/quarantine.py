"""Landed partitions that look too much like others to be believed: quarantined before anything is loaded or verified.

Three signs, none of which a single partition can show:

* more empty dates in a row than the source ever rests (``Scraper.rests``): its proofs of emptiness are not believed;
* the same payload, byte for byte, for two partitions: the source ignored what it was asked for;
* the same round number of rows on several, and never more: the source cuts there and does not say so.

A source in which one of the last two is normal says ``may_repeat``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from alerting.errors import CoverageLow, NothingPublished, PipelineError, Truncated
from alerting.ranges import compress_dates
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.rests import long_rests
from flows.run.recording import record_failure
from flows.run.run import Run
from scrapers.manifest import Manifest

FEWEST_AT_A_CAP = 3
"""Partitions with the same largest number of rows from which on it is taken for a cap."""
SMALLEST_CAP = 100
CAP_STEP = 50

_BELIEVED = (Verdict.LANDED, Verdict.LOADED, Verdict.STAGED, Verdict.VERIFIED)
_CALLED_DONE = (*_BELIEVED, Verdict.EMPTY_OK)


def quarantine_suspects(run: Run, manifests: Sequence[Manifest]) -> list[Manifest]:
    """Records the suspects among ``manifests``, and those that this run has landed or loaded. Returns the others.

    A partition that an earlier run has verified keeps its verdict and is named as evidence. Blocking.
    """
    if not manifests:
        return []
    partitions = [one.partition for one in manifests]
    entries, table = run.ledger.entries(), run.kit.scraper.tables[0]
    found: dict[str, PipelineError] = {
        key: NothingPublished(
            f"{why}; landed, not called empty",
            hint="run them again later; before a source's launch: gapless first-date; if right, declare it in rests",
        )
        for key, why in long_rests(entries, run.work.partitions.values(), run.kit.scraper).items()
    }
    if not run.kit.scraper.may_repeat:
        cap = 0 if run.kit.scraper.result_cap else learned_cap(entries, table)
        found |= {**at_cap(entries, table, cap), **duplicate_payloads(entries, partitions, run.backfill_id)}
    for key, error in found.items():
        entry = entries[key]
        if key in partitions or (entry.backfill_id == run.backfill_id and entry.verdict in _CALLED_DONE):
            located = error.located(source=run.source, partition=key, stage="load")
            record_failure(run, key, located, "load", partitions[0])
            run.work.quarantine(key)
    return [one for one in manifests if one.partition not in found]


def duplicate_payloads(
    entries: Mapping[str, LedgerEntry], asked: Collection[str], backfill_id: str
) -> dict[str, PipelineError]:
    """Partitions whose payload one of ``asked`` has too, each with an error that names the others.

    Empty ones are alike by nature and are no suspects; what an earlier run found wanting is no evidence.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for key, entry in entries.items():
        is_quarantined = entry.backfill_id == backfill_id and entry.verdict is Verdict.PARTIAL
        if _is_full(entry) and (entry.verdict in _BELIEVED or is_quarantined or key in asked):
            groups[entry.content_hash].append(key)
    return {
        key: CoverageLow(
            f"the payload is byte for byte that of {compress_dates([one for one in group if one != key])}: the source "
            "returned one response to different requests; it is landed, not called done",
            hint="fetch all of them again; if that is normal here, declare may_repeat = True in the scraper",
            content_hash=entries[key].content_hash[:12],
        )
        for group in groups.values()
        if len(group) > 1 and not set(group).isdisjoint(asked)
        for key in group
    }


def learned_cap(entries: Mapping[str, LedgerEntry], table: str) -> int:
    """The number of rows at which the source seems to cut; 0 when nothing points to one.

    Rows that the source itself announced are proven by that, and do not count.
    """
    counted = [(entry.landed.get(table, 0), entry.content_hash) for entry in _unannounced(entries).values()]
    most = max((rows for rows, _ in counted), default=0)
    if most < SMALLEST_CAP or most % CAP_STEP:
        return 0
    return most if len({one for rows, one in counted if rows == most}) >= FEWEST_AT_A_CAP else 0


def at_cap(entries: Mapping[str, LedgerEntry], table: str, cap: int) -> dict[str, PipelineError]:
    """Partitions with exactly ``cap`` rows, each with its error; none for a cap of 0."""
    if not cap:
        return {}
    keys = [key for key, entry in _unannounced(entries).items() if entry.landed.get(table, 0) == cap]
    return {
        key: Truncated(
            f"{cap:,} rows of {table}, as {len(keys) - 1} others have, and none has more: the source seems to cut "
            "there; it is landed, not called done",
            hint=f"declare result_cap = {cap} in the scraper; if so many are right, declare may_repeat = True",
        )
        for key in keys
    }


def _unannounced(entries: Mapping[str, LedgerEntry]) -> dict[str, LedgerEntry]:
    return {key: entry for key, entry in entries.items() if _is_full(entry) and entry.expected is None}


def _is_full(entry: LedgerEntry) -> bool:
    return bool(entry.content_hash) and not entry.evidence and any(entry.landed.values())
