"""What one load replaces, and the names of its pieces. Pure.

Names are derived from what is loaded, so that a repeat finds its own traces:

* batch hash: over source, processor version, and each partition's attempt and payload hash.
* digest: over one table's schema, the replaced scope, the bytes of its rows, and the backfill id, so that no run
  removes what another still loads. It names the staged objects and the staging table: the name implies the content.
* job id: over dataset, table and digest, plus an attempt number, because BigQuery never accepts an id a second time,
  not even of a failed job. A finished *load* job is trusted when its staging table still holds its rows.
  A finished *replace* job of an earlier call never is: a partition loaded as A, then B, then A again has the first
  A's job as done, while the table holds B. Such a replace runs again under the next attempt, which is harmless.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from alerting.errors import ConfigurationError
from processors.base import Table
from processors.state_views import StateView
from processors.views import View
from scrapers.manifest import Manifest
from scrapers.scrape import nothing

QueryValue = str | int | dt.date | Sequence[str] | Sequence[int] | Sequence[dt.date]

MAX_DAYS_PER_BATCH = 1_000
"""Well below BigQuery's 4,000 partitions a job (https://docs.cloud.google.com/bigquery/quotas#partitioned_tables)."""

MAX_KEYS = 10_000
MAX_KEYS_BYTES = 5_000_000
"""In one parameter of a query, as JSON; a request to BigQuery may have 10 MB: https://cloud.google.com/bigquery/quotas."""

MAX_BYTES_PER_BATCH = 2**30
"""Payloads of one batch. Its rows are spooled to a temporary folder, which is memory on Cloud Run."""

MAX_ROWS_PER_BATCH = 1_000_000
"""Rows that scrapers counted in one batch, for the same reason: one of 9 columns is spooled as 160 bytes, one of 35 as
570, and of CSV that is many times what was landed."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """``column IN values``; the rows a load replaces are those that meet every constraint of its scope."""

    column: str
    values: tuple[dt.date, ...] | tuple[str, ...]

    @property
    def kind(self) -> str:
        """``DATE`` or ``STRING``."""
        return "DATE" if isinstance(self.values[0], dt.date) else "STRING"


@dataclass(frozen=True, slots=True)
class TableBatch:
    """Everything the warehouse needs to replace one table's part of a batch.

    ``uris`` name gzip NDJSON objects that together hold ``rows`` rows; both are empty when the scope is only emptied.
    ``snapshot_at`` (aware) stamps the rows that the batch's snapshots do not have any more. ``keys`` are the values of
    the first key column: with them, what asks for these keys in the rest of the table reads little of it.
    """

    table: Table
    scope: tuple[Constraint, ...]
    digest: str
    backfill_id: str
    uris: tuple[str, ...]
    rows: int
    snapshot_at: dt.datetime | None = None
    keys: tuple[object, ...] = ()

    @property
    def staging_table(self) -> str:
        """Id of the table in which the rows are complete before anything is replaced."""
        return f"stg_{self.table.name}_{self.digest}"

    def job_id(self, dataset: str, step: str, attempt: int) -> str:
        """The id of ``step`` (``load`` or ``replace``) at its ``attempt``, counted from 1; see the module."""
        run = re.sub(r"[^A-Za-z0-9_-]", "-", self.backfill_id)[:60]
        unique = _sha([dataset, self.table.name, self.digest, self.backfill_id])[:20]
        return f"gapless-{step}-{self.table.name}-{run}-{unique}-a{attempt}"


@dataclass(frozen=True, slots=True)
class TableLoad:
    """What the warehouse did. ``rows`` is the load job's own count; without rows there is no load job (id "").

    ``replace_job_id`` is "" while the rows are only staged. ``cells`` is what changes: rows of
    :func:`processors.changes.changes_sql`. ``shared`` has rows of :func:`processors.uniqueness.shared_sql` for each of
    the table's unique columns.
    """

    load_job_id: str
    replace_job_id: str
    rows: int
    size_bytes: int
    cells: tuple[Mapping[str, Any], ...] = ()
    shared: tuple[tuple[tuple[str, ...], tuple[Mapping[str, Any], ...]], ...] = ()


class Warehouse(Protocol):
    """What loading and verifying need of BigQuery.

    Errors of every method: ``WarehouseBusy``, ``BudgetExhausted``, ``AuthenticationError``, ``ConfigurationError``,
    ``LoadRejected``; anything else is ``CriticalError``.
    """

    def ensure_table(self, table: Table) -> None:
        """Creates the table or adds its missing columns. ``LoadRejected`` when a type changed; nothing is changed."""

    def ensure_view(self, view: View | StateView) -> None:
        """Creates the view, or gives it its present definition; its tables are ensured before."""

    def stage(self, batch: TableBatch) -> TableLoad:
        """The batch's rows, complete beside the table, which is neither touched nor looked at."""

    def compare(self, batch: TableBatch, staged: TableLoad) -> TableLoad:
        """``staged`` with ``cells`` and ``shared``: what the rows would change, and which unique values others have."""

    def replace(self, batch: TableBatch, staged: TableLoad, may_write: Callable[[], None] = nothing) -> TableLoad:
        """Replaces the rows of the batch's scope by the staged ones, atomically. Safe to repeat after any crash.

        ``may_write`` is called right before each job is begun, from any thread; raises where it must not be.
        What was staged stays until `drop_staging`.
        """

    def drop_staging(self, batch: TableBatch) -> None:
        """Forgets what was staged, if it is there."""

    def name_of(self, table: str) -> str:
        """The quoted full name for SQL."""

    def query(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> list[dict[str, Any]]:
        """Rows of one SELECT with named parameters; a sequence becomes an array parameter."""


def batch_hash(source: str, version: int, manifests: Iterable[Manifest]) -> str:
    """Equal for the same landed attempts in any order."""
    landed = sorted((manifest.partition, manifest.attempt, manifest.content_hash) for manifest in manifests)
    return _sha([source, version, landed])[:20]


def table_digest(table: str, schema: str, scope: Sequence[Constraint], rows_sha256: str, backfill_id: str) -> str:
    """See the module; ``schema`` is its hash."""
    limits = [[constraint.column, [str(value) for value in constraint.values]] for constraint in scope]
    return _sha([table, schema, limits, rows_sha256, backfill_id])[:20]


def replace_scope(table: Table, manifests: Sequence[Manifest]) -> tuple[Constraint, ...]:
    """All rows that belong to ``manifests``, including those of partitions that have become empty.

    Raises ``ConfigurationError`` when entities with different dates are mixed: the scope is a product of entities
    and dates, and would replace rows of partitions that are not in the batch.
    """
    days = sorted({day for manifest in manifests for day in _days(manifest)})
    if not table.entity_field:
        return (Constraint(table.partition_field, tuple(days)),)
    entities = sorted({manifest.entity for manifest in manifests})
    if "" in entities:
        raise ConfigurationError(f"table {table.name} is partitioned by entity, and a partition has none", stage="load")
    by_entity = Constraint(table.entity_field, tuple(entities))
    if table.whole_entity:
        return (by_entity,)
    if sum(len(_days(manifest)) for manifest in manifests) != len(days) * len(entities):
        raise ConfigurationError(
            f"table {table.name}: the batch mixes entities with different dates", stage="load", hint="batch with pack()"
        )
    return by_entity, Constraint(table.partition_field, tuple(days))


def within_sql(batch: TableBatch, alias: str = "") -> str:
    """The condition on a row of the batch's scope, with the parameters of `scope_parameters`."""
    return " AND ".join(
        f"{alias}`{limit.column}` IN UNNEST(@scope_{number})" for number, limit in enumerate(batch.scope)
    )


def scope_parameters(batch: TableBatch) -> dict[str, QueryValue]:
    """Arrays ``scope_0``, ``scope_1``."""
    return {f"scope_{number}": limit.values for number, limit in enumerate(batch.scope)}


def replace_sql(batch: TableBatch, table: str, staging: str) -> str:
    """One statement: the scope's rows out, the staged rows in; parameters are those of `scope_parameters`.

    ``staging`` is a quoted name, or a SELECT in brackets.
    ``INSERT ROW`` would be shorter, but goes by position, and the local BigQuery cannot parse it.
    """
    within = within_sql(batch, "T.")
    if batch.table.deleted_field:
        return _bury_sql(batch, table, staging, within)
    if not batch.rows:
        return f"DELETE FROM {table} T WHERE {within}"  # noqa: S608 - names are ours, values are parameters
    return (
        f"MERGE {table} T USING {staging} S ON FALSE "  # noqa: S608 - as above
        f"WHEN NOT MATCHED BY SOURCE AND {within} THEN DELETE "
        f"WHEN NOT MATCHED BY TARGET THEN INSERT ({_columns(batch)}) VALUES ({_columns(batch)})"
    )


def _bury_sql(batch: TableBatch, table: str, staging: str, within: str) -> str:
    """As ``replace_sql``, with rows that are gone marked and not deleted; one that comes back is alive again."""
    deleted = f"`{batch.table.deleted_field}`"
    bury = f"{within} AND T.{deleted} IS NULL"
    if not batch.rows:
        return f"UPDATE {table} T SET {deleted} = @snapshot_at WHERE {bury}"  # noqa: S608 - as above
    same = " AND ".join(f"T.`{name}` = S.`{name}`" for name in batch.table.key)
    others = [name for name in batch.table.model.model_fields if name not in batch.table.key]
    changes = ", ".join(f"`{name}` = S.`{name}`" for name in others)
    return (
        f"MERGE {table} T USING {staging} S ON {same} "  # noqa: S608 - as above
        f"WHEN MATCHED THEN UPDATE SET {changes} "
        f"WHEN NOT MATCHED BY SOURCE AND {bury} THEN UPDATE SET {deleted} = @snapshot_at "
        f"WHEN NOT MATCHED BY TARGET THEN INSERT ({_columns(batch)}) VALUES ({_columns(batch)})"
    )


def _columns(batch: TableBatch) -> str:
    return ", ".join(f"`{name}`" for name in batch.table.model.model_fields)


def keys_parameter(values: Sequence[object]) -> dict[str, QueryValue]:
    """Parameter ``keys``; empty when there are none, too many or too long ones, or when no parameter has their type."""
    if not 0 < len(values) <= MAX_KEYS:
        return {}
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if type(value) is int]
    days = [value for value in values if type(value) is dt.date]
    if len(texts) == len(values):
        # A name of the value goes with each.
        fits = len(json.dumps(texts)) + 12 * len(texts) <= MAX_KEYS_BYTES
        return {"keys": sorted(texts)} if fits else {}
    if len(numbers) == len(values):
        return {"keys": sorted(numbers)}
    return {"keys": sorted(days)} if len(days) == len(values) else {}


def unique_window(table: Table, days: Sequence[dt.date]) -> dict[str, QueryValue]:
    """Parameters ``unique_from`` and ``unique_to``, both inclusive: `Table.unique_within_days` around ``days``.

    >>> from processors.base import Row
    >>> games = Table("games", Row, ("game_key",), "game_date", unique_within_days=366)
    >>> unique_window(games, [dt.date(2025, 1, 3)])
    {'unique_from': datetime.date(2024, 1, 3), 'unique_to': datetime.date(2026, 1, 4)}
    """
    reach = table.unique_within_days
    if not reach or not days:
        return {}
    first, last = max(min(days).toordinal() - reach, 1), min(max(days).toordinal() + reach, dt.date.max.toordinal())
    return {"unique_from": dt.date.fromordinal(first), "unique_to": dt.date.fromordinal(last)}


def pack(
    manifests: Iterable[Manifest],
    max_days: int = MAX_DAYS_PER_BATCH,
    max_bytes: int = MAX_BYTES_PER_BATCH,
    max_rows: int = MAX_ROWS_PER_BATCH,
) -> list[tuple[Manifest, ...]]:
    """The fewest batches for one load each: at most ``max_days`` dates, ``max_bytes`` of payloads, ``max_rows`` rows.

    A single partition with more is a batch of its own; a whole entity counts as a date. Partitions with an entity share
    a batch only with the same entity or the same dates, whichever gives fewer batches. Oldest first within an entity.
    """
    ordered = sorted(manifests, key=lambda manifest: (manifest.entity, manifest.start, manifest.partition))
    by_entity: dict[object, list[Manifest]] = {}
    by_dates: dict[object, list[Manifest]] = {}
    for manifest in ordered:
        by_entity.setdefault(manifest.entity, []).append(manifest)
        by_dates.setdefault((manifest.start, manifest.end), []).append(manifest)
    # A batch of one entity may hold many dates; a batch of one date may hold many entities. Never both.
    groups = by_dates if len(by_dates) < len(by_entity) else by_entity
    most = (min(max_days, MAX_DAYS_PER_BATCH), max_bytes, max_rows)
    return [batch for group in groups.values() for batch in _split(group, most)]


def rows_of(manifest: Manifest) -> int:
    """Of all tables, as the scraper counted them."""
    return sum(manifest.counts.values())


def _split(manifests: Sequence[Manifest], most: tuple[int, int, int]) -> list[tuple[Manifest, ...]]:
    batches: list[list[Manifest]] = []
    room = (0, 0, 0)
    for manifest in manifests:
        size = (max(len(_days(manifest)), 1), manifest.size_bytes, rows_of(manifest))
        if not batches or any(one > left for one, left in zip(size, room, strict=True)):
            batches.append([])
            room = most
        batches[-1].append(manifest)
        room = (room[0] - size[0], room[1] - size[1], room[2] - size[2])
    return [tuple(batch) for batch in batches]


def check_batch(source: str, manifests: Sequence[Manifest]) -> None:
    """Raises ``ConfigurationError`` for a batch that must not be loaded as one."""
    keys = [manifest.partition for manifest in manifests]
    problem = ""
    if not manifests:
        problem = "an empty batch"
    elif foreign := {manifest.source for manifest in manifests} - {source}:
        problem = f"manifests of {', '.join(sorted(foreign))}"
    elif len(keys) != len(set(keys)):
        problem = "two attempts of one partition"
    elif len(keys) > 1 and sum(len(_days(manifest)) for manifest in manifests) > MAX_DAYS_PER_BATCH:
        problem = f"more than {MAX_DAYS_PER_BATCH} dates"
    if problem:
        raise ConfigurationError(f"a batch of {source} was given {problem}; nothing was loaded", stage="load")


def _days(manifest: Manifest) -> list[dt.date]:
    count = (manifest.end - manifest.start).days
    return [manifest.start + dt.timedelta(days=offset) for offset in range(count)]


def _sha(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
