"""`gapless preflight --deep`: what no emulator can vouch for, tried on the user's own Google, and taken away again.

In a dataset of its own every load and every statement of one source is sent, first as a dry run and then for real, on
three generated rows. A table of a year then shows by dry runs whether the statements of one date read one partition.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import create_model

from alerting.errors import CriticalError
from alerting.wording import plural
from flows.truth import row_counts
from flows.views.preflight import Checked, check_bucket, failed_check, tried
from flows.wiring import Services
from processors.base import Processor, Row, Table
from processors.changes import asks_elsewhere, changes_sql
from processors.load_plan import QueryValue, TableBatch, replace_scope, replace_sql
from processors.recount_sql import Cells, count_sql
from processors.registry import views_filled_by
from processors.schema import Column, check_table
from processors.state_views import StateView
from processors.vacancy import Identities, vacancy_question
from processors.verification import verify
from processors.views import View
from processors.warehouse import BigQueryWarehouse, Dataset
from scrapers.manifest import Manifest

ROWS = 3
YEAR = 365
_FIRST_DAY = dt.date(2025, 1, 1)
_LOADED_AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_ENTITY = "preflight"
_REMEDY = "send this line to the project: Google's own words name the place"


@dataclass
class _Trial:
    """One scratch dataset with its objects, and what was tried in it."""

    services: Services
    source: str
    name: str
    checks: list[Checked] = field(default_factory=list)

    @property
    def processor(self) -> Processor:
        return self.services.source_kit(self.source).processor

    @property
    def refused(self) -> list[Checked]:
        return [one for one in self.checks if one.result == "fail"]

    def tried(self, name: str, run: Callable[[], str], remedy: str = _REMEDY) -> bool:
        """Notes what came of ``run``, which says what was seen. Whether it went well."""
        try:
            self.checks.append(Checked(name, "pass", run()))
        except Exception as error:  # as of `preflight.tried`
            self.checks.append(failed_check(name, error, remedy))
            return False
        return True

    def part(self, name: str, work: Callable[[], None]) -> None:
        """Several checks; what ends them before the last one is one more."""
        try:
            work()
        except Exception as error:  # as of `preflight.tried`
            self.checks.append(failed_check(name, error, _REMEDY))


class _DryFirst(BigQueryWarehouse):
    """Sends each query as a dry run first, and notes what Google says to it."""

    def __init__(self, trial: _Trial) -> None:
        settings = trial.services.settings
        super().__init__(Dataset(settings.google_project, trial.name, settings.location))
        self._trial = trial
        self._sent = 0

    def query(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> list[dict[str, Any]]:
        self._sent += 1
        rows: list[dict[str, Any]] = []

        def both() -> str:
            size_bytes = self.dry_run(sql, parameters)
            rows.extend(super(_DryFirst, self).query(sql, parameters))
            return f"{size_bytes:,} bytes, {plural(len(rows), 'row')}: {sql.partition(' FROM ')[0][:60]}"

        self._trial.tried(f"statement {self._sent}", both)
        return rows


def deep_preflight(services: Services, source: str) -> list[Checked]:
    """Every load and statement of ``source`` in a scratch dataset, which is gone afterwards; see the module."""
    trial = _Trial(services, source, f"gapless_preflight_{uuid.uuid4().hex[:8]}")
    warehouse = _DryFirst(trial)
    bucket = tried("bucket", lambda: check_bucket(services))
    trial.checks.append(bucket)
    if bucket.result == "fail":
        return trial.checks
    made = trial.tried(
        "scratch",
        lambda: _scratch(warehouse, services.settings.location),
        "grant roles/bigquery.user on the project to whoever runs this one command, or run it with your own account",
    )
    try:
        if made:
            trial.part("source", partial(_all_of, trial, warehouse))
    finally:
        _take_away(trial, warehouse)
    return trial.checks


def _all_of(trial: _Trial, warehouse: _DryFirst) -> None:
    tables = trial.processor.tables
    for table in tables:
        trial.part(f"loads of {table.name}", partial(_load_twice, trial, warehouse, table))
    trial.part("recount", partial(_recount, trial, warehouse))
    trial.part("gaps", partial(_gaps, trial, warehouse))
    for view in views_filled_by(tables):
        trial.tried(f"view {view.name}", partial(_viewed, warehouse, view))
    for table in tables:
        if not table.whole_entity:
            trial.part(f"one date of {table.name}", partial(_year, trial, warehouse, table))


def _scratch(warehouse: _DryFirst, location: str) -> str:
    warehouse.ensure_dataset()
    return f"dataset {warehouse.dataset.name} in {location}"


def _load_twice(trial: _Trial, warehouse: _DryFirst, table: Table) -> None:
    """Three rows in by load job and MERGE, then the same again over them, then the scope emptied and filled again."""

    def load(rows: int, backfill: str) -> str:
        made = _rows(table, rows)
        batch = _batch(trial, table, [_manifest(trial)], made, backfill)
        if question := vacancy_question(batch, _identities(table, made), warehouse.name_of(table.name)):
            warehouse.query(*question)
        staged = warehouse.compare(batch, warehouse.stage(batch))
        size_bytes = warehouse.dry_run(*_replace(batch, warehouse))
        done = warehouse.replace(batch, staged)
        warehouse.drop_staging(batch)
        would = f"the replacing statement would read {size_bytes:,} bytes"
        return f"{plural(staged.rows, 'row')} staged; {would}; {done.replace_job_id}"

    narrow = _without_last_column(table)
    trial.tried(f"table {table.name}", lambda: _ensured(warehouse, narrow, "made, partitioned and clustered"))
    if narrow != table:
        trial.tried(f"wider {table.name}", lambda: _ensured(warehouse, table, "one more column was added to it"))
    for number, rows in enumerate((ROWS, ROWS, 0, ROWS), 1):
        trial.tried(f"load {number} of {table.name}", partial(load, rows, f"preflight-{number}"))


def _ensured(warehouse: _DryFirst, table: Table, told: str) -> str:
    warehouse.ensure_table(table)
    return told


def _without_last_column(table: Table) -> Table:
    """The table as an older row model would have made it, if it has a column that may be missing."""
    fields = {name: (one.annotation, one) for name, one in table.model.model_fields.items()}
    *_, last = table.model.model_fields
    column = check_table(table)[-1]
    named = {*table.key, *table.critical, table.partition_field, table.entity_field, table.deleted_field}
    if column.mode == "REQUIRED" or last in named:
        return table
    del fields[last]
    made: Any = create_model
    return replace(table, model=made(table.model.__name__, __base__=Row, __doc__=table.model.__doc__, **fields))


def _recount(trial: _Trial, warehouse: _DryFirst) -> None:
    """Every question of the recount, also those whose limits no three generated rows would keep."""
    kind = type(trial.processor)
    tables = tuple(
        replace(table, per_parent=(0, ROWS) if table.per_parent else None, per_partition=None) for table in kind.tables
    )
    generous: Processor = type(kind.__name__, (kind,), {"tables": tables})()

    def recounted() -> str:
        (found,) = verify([_manifest(trial)], processor=generous, warehouse=warehouse).values()
        told = f"{found.verdict}: {found.evidence}"
        if len(trial.refused) == refused and not found.is_ok:
            raise CriticalError(told, hint=_REMEDY)
        return told if found.is_ok else "not judged: a statement of it was refused"

    refused = len(trial.refused)
    trial.tried("recount", recounted)


def _viewed(warehouse: _DryFirst, view: View | StateView) -> str:
    """Makes the view over tables of which those of other sources are empty, and reads it whole and by a date."""
    warehouse.ensure_view(view)
    rows = warehouse.query(f"SELECT * FROM {warehouse.name_of(view.name)}")  # noqa: S608 - our own names
    whole = _whole(warehouse, view.name)
    dates = {table.partition_field for table in view.tables} & set(view.key)
    day = f"; {_one_date(warehouse, view, min(dates)):,} by a date" if dates else ""
    return f"{plural(len(rows), 'row')}; a query reads {whole:,} bytes{day}"


def _one_date(warehouse: _DryFirst, view: View | StateView, column: str) -> int:
    return warehouse.dry_run(f"SELECT * FROM {warehouse.name_of(view.name)} WHERE `{column}` = DATE '{_FIRST_DAY}'")  # noqa: S608


def _gaps(trial: _Trial, warehouse: _DryFirst) -> None:
    """What `gaps`, `status` and `cleanup` ask."""
    for table in trial.processor.tables:
        name = warehouse.name_of(table.name)
        warehouse.query(*row_counts.count_sql(name, table, _FIRST_DAY, _FIRST_DAY, [_ENTITY]))
        warehouse.query(f"SELECT MIN(`{table.partition_field}`) AS d FROM {name}")  # noqa: S608 - our own names
        warehouse.query(f"SELECT COUNT(*) AS n FROM {name}")  # noqa: S608 - as above


def _year(trial: _Trial, warehouse: _DryFirst, table: Table) -> None:
    """Fills the table with a year and asks by dry runs what the statements of one date of it read."""
    manifests = [_manifest(trial, _FIRST_DAY + dt.timedelta(days=day)) for day in range(YEAR)]
    rows = [row for day in range(YEAR) for row in _rows(table, ROWS, _FIRST_DAY + dt.timedelta(days=day))]

    def load() -> str:
        batch = _batch(trial, table, manifests, rows, "preflight-year")
        warehouse.replace(batch, warehouse.stage(batch))
        warehouse.drop_staging(batch)
        return plural(len(rows), "row")

    if not trial.tried(f"a year of {table.name}", load):
        return
    # Its staging table goes with the dataset.
    batch = _batch(trial, table, manifests[:1], _rows(table, ROWS), "preflight-day")
    warehouse.stage_rows(batch)
    staged = _whole(warehouse, batch.staging_table)
    name = warehouse.name_of(table.name)
    day = warehouse.dry_run(f"SELECT * FROM {name} WHERE `{table.partition_field}` = DATE '{_FIRST_DAY}'")  # noqa: S608
    whole = _whole(warehouse, table.name)
    scope: dict[str, QueryValue] = {f"scope_{number}": one.values for number, one in enumerate(batch.scope)}
    # The keys of the rest of the table: clustering finds a few blocks of them, which no dry run knows.
    columns = ", ".join(f"`{one}`" for one in {*table.key, *(one.column for one in batch.scope)})
    keys = warehouse.dry_run(f"SELECT {columns} FROM {name}") if asks_elsewhere(batch) else 0  # noqa: S608
    counted = count_sql(table, warehouse), Cells(table, manifests[:1]).parameters
    changes = changes_sql(batch, name, warehouse.name_of(batch.staging_table), by_keys=False), scope
    asked: list[tuple[str, tuple[str, Mapping[str, QueryValue]], int]] = [
        ("replace", _replace(batch, warehouse), day + staged),
        ("changes", changes, day + 3 * staged + keys),
        ("recount", counted, day),
    ]
    for step, (sql, parameters), allowed in asked:
        run = partial(_pruned, warehouse, sql, parameters, allowed, whole)
        trial.tried(f"one date: {step} of {table.name}", run)


def _pruned(
    warehouse: BigQueryWarehouse, sql: str, parameters: Mapping[str, QueryValue], allowed: int, whole: int
) -> str:
    size_bytes = warehouse.dry_run(sql, parameters)
    told = (
        f"{size_bytes:,} bytes; one partition, the staged rows and keys to look up have {allowed:,}, the year {whole:,}"
    )
    if size_bytes > allowed:
        raise CriticalError(f"more than one partition is read: {told}", hint="runs cost more on long tables; report it")
    return told


def _whole(warehouse: BigQueryWarehouse, table: str) -> int:
    return warehouse.dry_run(f"SELECT * FROM {warehouse.name_of(table)}")  # noqa: S608 - our own name


def _replace(batch: TableBatch, warehouse: BigQueryWarehouse) -> tuple[str, dict[str, QueryValue]]:
    sql = replace_sql(batch, warehouse.name_of(batch.table.name), warehouse.name_of(batch.staging_table))
    parameters: dict[str, QueryValue] = {f"scope_{number}": one.values for number, one in enumerate(batch.scope)}
    if batch.table.deleted_field and batch.snapshot_at:
        parameters["snapshot_at"] = batch.snapshot_at
    return sql, parameters


def _manifest(trial: _Trial, day: dt.date = _FIRST_DAY) -> Manifest:
    has_entity = any(table.entity_field for table in trial.processor.tables)
    return Manifest(
        source=trial.source,
        partition=f"{_ENTITY}@{day}" if has_entity else str(day),
        start=day,
        end=day + dt.timedelta(days=1),
        zone="UTC",
        entity=_ENTITY if has_entity else "",
        attempt=trial.name,
        backfill_id=trial.name,
        code_version=trial.services.code_version,
        landed_at=_LOADED_AT,
        pages=(),
        counts={table.name: ROWS for table in trial.processor.tables},
        content_hash=trial.name,
    )


def _batch(
    trial: _Trial, table: Table, manifests: Sequence[Manifest], rows: Sequence[Mapping[str, Any]], backfill: str
) -> TableBatch:
    """The rows as a staged object, as a load would leave it."""
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    digest = hashlib.sha256(f"{trial.name} {backfill} {table.name}".encode() + lines).hexdigest()[:20]
    uris = []
    if rows:
        name = f"probe/{trial.name}/{digest}.ndjson.gz"
        trial.services.store.write(name, zlib.compress(lines, wbits=31), content_type="application/gzip")
        uris.append(f"{trial.services.store.root_uri}/{name}")
    scope = replace_scope(table, manifests)
    return TableBatch(table, scope, digest, backfill, tuple(uris), len(rows), _LOADED_AT)


def _rows(table: Table, count: int, day: dt.date = _FIRST_DAY) -> list[dict[str, Any]]:
    """Rows that differ in their keys; tables that share a column have the same values in it."""
    columns = check_table(table)
    return [{one.name: _cell(table, one, number, day) for one in columns} for number in range(count)]


def _identities(table: Table, rows: Sequence[Mapping[str, Any]]) -> Identities:
    """Those of generated rows, of the types that a load asks for."""
    kinds = {one.name: one.kind for one in check_table(table)}
    found = Identities()
    for name in {table.key[0], *(columns[0] for columns in table.unique)}:
        values = {row[name] for row in rows}
        if kinds[name] == "DATE":
            values = {dt.date.fromisoformat(value) for value in values}
        if kinds[name] in ("STRING", "INTEGER", "DATE"):
            found.add({name: values})
    return found


def _cell(table: Table, column: Column, number: int, day: dt.date) -> Any:
    if column.name == table.partition_field:
        return str(day)
    if column.name == table.entity_field:
        return _ENTITY
    if column.name == table.deleted_field:
        return None
    value = _value(column, number, day)
    return [value] if column.mode == "REPEATED" else value


def _value(column: Column, number: int, day: dt.date) -> Any:
    serial = day.toordinal() * 10 + number
    values: dict[str, Any] = {
        "INTEGER": serial,
        "FLOAT": number + 0.5,
        "BOOLEAN": number % 2 == 0,
        "NUMERIC": f"{number}.123456789",
        "BIGNUMERIC": f"{number}.123456789",
        "DATE": str(day),
        "TIME": "12:34:56.789012",
        "TIMESTAMP": f"{day}T12:34:56.789012Z",
        "JSON": {"number": number},
    }
    if column.fields:
        return {one.name: _value_of_field(one, number, day) for one in column.fields}
    return values.get(column.kind, f"text {serial}")


def _value_of_field(column: Column, number: int, day: dt.date) -> Any:
    value = _value(column, number, day)
    return [value] if column.mode == "REPEATED" else value


def _take_away(trial: _Trial, warehouse: BigQueryWarehouse) -> None:
    store, prefix = trial.services.store, f"probe/{trial.name}/"

    def remove() -> str:
        warehouse.drop_dataset()
        names = [one.name for one in store.list(prefix)]
        for name in names:
            store.delete(name)
        return f"dataset {trial.name} removed, {plural(len(names), 'object')} too"

    trial.tried("clean", remove, f"bq rm -r -f {trial.name}; gcloud storage rm -r {store.root_uri}/{prefix}")
