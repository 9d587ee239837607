"""Tables that no source fills: how far each source is with what it must have, and what is wrong with single items.

Of the dates and sources that somebody looked at the rows are replaced, both tables one after the other, each in one
atomic statement; a later look takes the place of an earlier one. Of two writers at once BigQuery lets one through and
begins the other anew (https://docs.cloud.google.com/bigquery/docs/data-manipulation-language#dml_statement_conflicts).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Sequence

from pydantic import AwareDatetime, Field

from alerting.object_store import ObjectStore
from processors.base import Row, Table
from processors.load_plan import MAX_DAYS_PER_BATCH, Constraint, TableBatch, Warehouse, table_digest
from processors.row_lines import RowLines
from processors.schema import check_table, schema_hash
from processors.staging import TableSpool, staging_folder


class CoverageRow(Row):
    """How far one source is with what an oracle expects of one of its dates, in items (games, races)."""

    date: dt.date = Field(description="in the source's own zone; of a month its first date")
    source: str = Field(description="whose rows were looked for")
    oracle: str = Field(description="the source that says what must be there")
    item: str = Field(description="what one is called")
    expected: int | None = Field(description="items that must be there; NULL where the oracle is not believed")
    landed: int | None = Field(description="of these, those whose answer is in the bucket")
    loaded: int | None = Field(description="of these, those that have rows")
    verified: int | None = Field(description="of these, those of a verified date")
    more: int | None = Field(description="items with rows that nobody expects")
    verdict: str | None = Field(description="of the date, as the ledger has it; NULL where it was never begun")
    error: str | None = Field(description="why the date is not done, with the items by name")
    doubt: str | None = Field(description="why the oracle is not believed")
    looked_at: AwareDatetime = Field(description="when ledger and tables were read, UTC")


class DisagreementRow(Row):
    """An item of one date that a source lacks, or has and should not."""

    date: dt.date = Field(description="in the source's own zone; of a month its first date")
    item_key: str = Field(description="what the schedule calls the item, however the source names it")
    source: str = Field(description="that is at odds")
    item: str = Field(description="its name for people")
    kind: str = Field(description="missing, extra, moved (on another date) or doubled (on another date, too)")
    other_dates: str | None = Field(description="the other dates in question, separated by commas")
    there_in: str | None = Field(description="sources that have it on this date, verified, separated by commas")
    looked_at: AwareDatetime = Field(description="when ledger and tables were read, UTC")


COVERAGE = Table(
    "gapless_coverage", CoverageRow, ("date", "source", "oracle"), partition_field="date", granularity="MONTH"
)
DISAGREEMENTS = Table(
    "gapless_disagreements",
    DisagreementRow,
    ("date", "item_key", "source"),
    partition_field="date",
    granularity="MONTH",
)
TABLES = (COVERAGE, DISAGREEMENTS)


def replace_looked_at(
    warehouse: Warehouse,
    store: ObjectStore,
    rows: Sequence[CoverageRow | DisagreementRow],
    sources: Sequence[str],
    dates: Iterable[dt.date],
    look: str,
) -> None:
    """Puts ``rows`` in the place of all that both tables have of ``sources`` on ``dates``.

    ``look`` names it in the ids of its jobs, and is used once. Raises what warehouse and store raise; a table that was
    not reached is as it was.
    """
    days = sorted(set(dates))
    by_source = Constraint("source", tuple(sorted(set(sources))))
    for at in range(0, len(days), MAX_DAYS_PER_BATCH):
        some = tuple(days[at : at + MAX_DAYS_PER_BATCH])
        for table in TABLES:
            mine = [one for one in rows if isinstance(one, table.model) and some[0] <= one.date <= some[-1]]
            _replace(warehouse, store, table, (by_source, Constraint("date", some)), mine, look)


def _replace(
    warehouse: Warehouse,
    store: ObjectStore,
    table: Table,
    scope: tuple[Constraint, ...],
    rows: Sequence[Row],
    look: str,
) -> None:
    lines = RowLines(table.model)
    with (
        staging_folder() as folder,
        contextlib.closing(TableSpool(folder, table.name)) as spool,
    ):
        for row in rows:
            spool.append(lines.line(row))
        digest = table_digest(table.name, schema_hash(check_table(table)), scope, spool.sha256(), look)
        names = spool.upload(store, f"staging/look={look}/", digest)
    try:
        uris = tuple(f"{store.root_uri}/{name}" for name in names)
        batch = TableBatch(table, scope, digest, look, uris, len(rows))
        warehouse.replace(batch, warehouse.stage(batch))
        warehouse.drop_staging(batch)
    finally:
        for name in names:
            store.delete(name)
