"""BigQuery's limit of partitions a table, told before the calls whose rows would not fit."""

from __future__ import annotations

from collections.abc import Mapping

from flows.ledger.entry import LedgerEntry
from flows.planning.plan import Path, Plan
from processors.base import Processor
from processors.table_budget import STOP_AT

PARTITIONS_PER_TABLE = 10_000
"""https://docs.cloud.google.com/bigquery/quotas#partitioned_tables"""
_BRINGS_ROWS = (Path.FETCH, Path.RELOAD, Path.REPARSE)


def partition_limit_note(processor: Processor, plan: Plan, entries: Mapping[str, LedgerEntry]) -> str:
    """What to know if days with rows, and those that may have some, are more than 95 % of the limit; else "".

    It is a sentence and no refusal: how many days have rows, only their calls tell.
    """
    tables = [table.name for table in processor.tables if table.granularity == "DAY"]
    filled: set[int] = set()
    asked: set[int] = set()
    for item in plan.items:
        days = range(item.partition.start.toordinal(), item.partition.end.toordinal())
        entry = entries.get(item.partition.key)
        if entry is not None and any(entry.loaded.values()):
            filled.update(days)
        elif item.path in _BRINGS_ROWS:
            asked.update(days)
    asked -= filled
    if not tables or len(filled) + len(asked) <= int(PARTITIONS_PER_TABLE * STOP_AT):
        return ""
    have = f"{', '.join(tables)} {'has' if len(tables) == 1 else 'have'}"
    return (
        f"{len(filled):,} days of this range have rows and {len(asked):,} more may get some, but BigQuery takes "
        f"{PARTITIONS_PER_TABLE:,} partitions a table and {have} one a day: a load beyond that is refused, "
        "and its payloads stay landed"
    )
