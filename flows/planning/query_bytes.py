"""What BigQuery would read for a plan, by its own dry runs: nothing is read or billed. One per shape of statement.

They speak of the rows that are there before the run. Statements that look up keys of rows yet to be staged are left
out, and the load that fills staging tables is free.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from alerting.errors import PipelineError
from alerting.wording import plural, size
from flows.planning.plan import Plan
from flows.wiring import Services
from processors.base import Processor, Table
from processors.items import between, dates_of, expected_sql, found_in, found_sql
from processors.load_plan import (
    Constraint,
    QueryValue,
    TableBatch,
    Warehouse,
    replace_sql,
    unique_window,
)
from processors.recount_sql import count_sql, orphan_sql, ratio_sql, shared_sql
from scrapers.partition import Partition
from scrapers.threads import threads

_WAIT_S = 5.0
_AT_ONCE = 8
_DAYS_AT_ONCE = 4_000
"""Partitions that one job of BigQuery may modify (https://docs.cloud.google.com/bigquery/quotas#partitioned_tables):
nothing is loaded here, and every question is a round trip before the first call to the source."""
Statement = tuple[str, Mapping[str, QueryValue]]


@dataclass(frozen=True, slots=True)
class DryRun:
    """Bytes of the rows that so many partitions have already; None when BigQuery did not say, as without tables."""

    partitions: int
    replace_bytes: int | None
    recount_bytes: int | None

    @property
    def size_bytes(self) -> int | None:
        """All of it."""
        if self.replace_bytes is None or self.recount_bytes is None:
            return None
        return self.replace_bytes + self.recount_bytes

    def describe(self) -> str:
        """One line under the estimate."""
        if self.replace_bytes is None or self.recount_bytes is None:
            return f"dry run    no response from BigQuery about {plural(self.partitions, 'partition')}"
        return (
            f"dry run    {size(self.replace_bytes)} read to replace and {size(self.recount_bytes)} to recount "
            f"{plural(self.partitions, 'partition')}"
        )

    def promised(self) -> dict[str, float]:
        """Under the name of ``RunFacts``, so that the mail has it beside what was billed; nothing if unknown."""
        return {} if self.size_bytes is None else {"bigquery_bytes": float(self.size_bytes)}


@dataclass(frozen=True, slots=True)
class EarlyDryRun:
    """The dry run of a plan, begun before its run holds the source, which takes as long. Of a plan made anew since, it
    says the same where that is the same."""

    plan: Plan
    asking: Awaitable[DryRun]

    def is_of(self, plan: Plan) -> bool:
        """Whether it is asked for what ``plan`` loads."""
        return (self.plan.hash, self.plan.expected) == (plan.hash, plan.expected)


def plan_dry_run(services: Services, source: str, plan: Plan) -> DryRun:
    """Asks BigQuery about all that the plan loads or counts again. Raises nothing of what the warehouse raises."""
    loaded = [*plan.to_fetch, *plan.to_call_empty, *plan.to_reload]
    counted = [*loaded, *plan.to_recount]
    processor, warehouse = services.source_kit(source).processor, services.warehouse_within(_WAIT_S)
    replacing, recounting = list[Statement](), list[Statement]()
    for batch in _batches(loaded):
        replacing += [_replacing(table, batch, warehouse) for table in processor.tables]
    for batch in _batches(counted):
        for table in processor.tables:
            recounting += _recounting(table, batch, processor, warehouse)
        recounting += _comparing(services, source, plan, batch, warehouse)
    # Each is a round trip to BigQuery, and nothing begins before them.
    with threads(_AT_ONCE, "dry-run") as asking:
        asked = [asking.submit(warehouse.dry_run, *one) for one in (*replacing, *recounting)]
    try:
        read = [one.result() for one in asked]
    except PipelineError:
        return DryRun(len(counted), None, None)
    return DryRun(len(counted), sum(read[: len(replacing)]), sum(read[len(replacing) :]))


def _batches(partitions: Sequence[Partition]) -> Iterator[Sequence[Partition]]:
    return (partitions[begin : begin + _DAYS_AT_ONCE] for begin in range(0, len(partitions), _DAYS_AT_ONCE))


def _replacing(table: Table, batch: Sequence[Partition], warehouse: Warehouse) -> Statement:
    """What empties the partitions: a MERGE reads them as well, and besides only what it has staged."""
    limits = ((table.entity_field, _entities(table, batch)), (table.partition_field, _days(table, batch)))
    scope = tuple(Constraint(column, tuple(values)) for column, values in limits if values)  # type: ignore[arg-type]
    emptied = TableBatch(table, scope, digest="", backfill_id="", uris=(), rows=0)
    sql = replace_sql(emptied, warehouse.name_of(table.name), "")
    parameters: dict[str, QueryValue] = {f"scope_{number}": limit.values for number, limit in enumerate(scope)}
    if table.deleted_field:
        parameters["snapshot_at"] = dt.datetime.now(dt.UTC)
    return sql, parameters


def _recounting(
    table: Table, batch: Sequence[Partition], processor: Processor, warehouse: Warehouse
) -> Iterator[Statement]:
    days, entities = _days(table, batch), _entities(table, batch)
    given: dict[str, QueryValue] = {**({"days": days} if days else {}), **({"entities": entities} if entities else {})}
    yield count_sql(table, warehouse), given
    for columns in table.unique:
        yield shared_sql(table, columns, warehouse), {**given, **unique_window(table, days)}
    if table.parent and not table.parent_elsewhere:
        parent = next(one for one in processor.tables if one.name == table.parent[0])
        yield orphan_sql(table, parent, warehouse, by_keys=False), given
        if table.per_parent:
            fewest, most = table.per_parent
            yield ratio_sql(table, parent, warehouse, by_keys=False), {**given, "fewest": fewest, "most": most}


def _comparing(
    services: Services, source: str, plan: Plan, batch: Sequence[Partition], warehouse: Warehouse
) -> Iterator[Statement]:
    """What oracles expect of the batch, and what of it is found; nothing where none is believed."""
    for number, oracle in enumerate(services.source_kit(source).scraper.oracles):
        asked = [one for one in batch if (said := plan.expected.get(one.key)) and not said[number].doubt]
        if asked:
            given = between(map(dates_of, asked))
            tables = services.source_kit(source).processor.tables
            yield expected_sql(oracle, "", warehouse.name_of), given
            yield found_sql(oracle, found_in(oracle, tables), warehouse.name_of), given


def _days(table: Table, batch: Sequence[Partition]) -> list[dt.date]:
    if table.whole_entity:
        return []
    return sorted({one.start + dt.timedelta(days=number) for one in batch for number in range(one.days)})


def _entities(table: Table, batch: Sequence[Partition]) -> list[str]:
    return sorted({one.entity for one in batch}) if table.entity_field else []
