"""A warehouse in memory that runs the product's own SQL: GoogleSQL, by sqlglot on DuckDB.

What is in a table is a value, and a question about values has one answer: it is asked of DuckDB once, however many
simulated runs ask it.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import itertools
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import duckdb
import sqlglot

from alerting.object_store import ObjectStore
from processors.base import Table
from processors.changes import asks_elsewhere, changes_sql
from processors.load_plan import QueryValue, TableBatch, TableLoad, keys_parameter, replace_sql
from processors.schema import Column, check_table
from processors.state_views import StateView
from processors.uniqueness import shared_questions
from processors.views import View, view_sql
from scrapers.scrape import nothing

_SCHEMA = "sim"
_TYPED, _CHANGED = f'{_SCHEMA}."typed"', f'{_SCHEMA}."changed"'
_MOST_THERE = 60
"""Tables that DuckDB keeps; a statement is about a few."""
STAGING = "stg_"
"""Begins the name of a table that is replaced into another."""
_NAME = re.compile(r"`sim`\.`(\w+)`")
_PLACE = re.compile(r'"sim"\."(t\d+)"')
_KINDS = {
    "STRING": "VARCHAR", "INTEGER": "BIGINT", "FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP", "NUMERIC": "DECIMAL(38,9)", "BIGNUMERIC": "DECIMAL(38,9)", "JSON": "JSON",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """What stands in a table: its columns, and its rows in the order of their texts."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...] = ()
    digest: str = field(default="", compare=False)

    def __hash__(self) -> int:
        return hash(self.digest)

    @staticmethod
    def of(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> Content:
        """Rows in any order."""
        ordered = tuple(sorted(rows, key=repr))
        names = ",".join(column.name for column in columns)
        digest = hashlib.sha256(f"{names}{ordered!r}".encode()).hexdigest()
        return Content(tuple(columns), ordered, digest)

    def without(self, columns: Collection[str]) -> list[str]:
        """Each row as text, without these columns; in no order that means anything where there are some."""
        if not columns:
            return [repr(row) for row in self.rows]
        kept = [number for number, column in enumerate(self.columns) if column.name not in columns]
        return sorted(repr([row[number] for number in kept]) for row in self.rows)

    def dicts(self) -> list[dict[str, Any]]:
        """Rows by the names of their columns."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


class Engine:
    """DuckDB in one thread, the contents that it was asked about lately, and every answer that it has given."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute(f"CREATE SCHEMA {_SCHEMA}")
        self._sql: dict[str, str] = {}
        self._there: OrderedDict[str, str] = OrderedDict()
        """Tables by the digest of what is in them, those longest not asked about first."""
        self._numbers = itertools.count()
        self._answers: dict[tuple[Any, ...], Any] = {}

    def rows(
        self, sql: str, parameters: Mapping[str, Any], tables: Mapping[str, Content], views: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Rows of one SELECT over ``tables`` and ``views``, which are by the names in ``sql``."""
        return [dict(row) for row in self._once(sql, parameters, tables, views, self._select)]

    def changed(self, sql: str, parameters: Mapping[str, Any], tables: Mapping[str, Content], name: str) -> Content:
        """The content of the table ``name``, the first of ``tables``, after one statement."""

        def change(translated: str, given: dict[str, Any], places: dict[str, str]) -> Content:
            # A table may hold what is staged: only the first one is changed, and what it held before is kept.
            self._connection.execute(f"CREATE OR REPLACE TABLE {_CHANGED} AS SELECT * FROM {places['t0']}")  # noqa: S608
            self._connection.execute(_placed(translated, {**places, "t0": _CHANGED}), given)
            found = self._connection.execute(f"SELECT * FROM {_CHANGED}").fetchall()  # noqa: S608
            return Content.of(tables[name].columns, found)

        found: Content = self._once(sql, parameters, tables, {}, change)
        return found

    def typed(self, columns: Sequence[Column], lines: bytes) -> Content:
        """Rows of NDJSON with the types of ``columns``."""
        key = ("typed", tuple(column.name for column in columns), lines)
        if key not in self._answers:
            names = [column.name for column in columns]
            texts = [json.loads(line) for line in lines.splitlines() if line]
            self._make(_TYPED, columns, [[row.get(name) for name in names] for row in texts])
            found = self._connection.execute(f"SELECT * FROM {_TYPED}").fetchall()  # noqa: S608
            self._answers[key] = Content.of(columns, found)
        content: Content = self._answers[key]
        return content

    def _once(
        self,
        sql: str,
        parameters: Mapping[str, Any],
        tables: Mapping[str, Content],
        views: Mapping[str, str],
        work: Callable[[str, dict[str, Any], dict[str, str]], Any],
    ) -> Any:
        # Staging tables are named by what they hold and by their run: here by their place in the statement.
        names = {name: f"t{number}" for number, name in enumerate(tables)}
        names |= {name: f"v{number}" for number, name in enumerate(views)}

        def general(text: str) -> str:
            return _NAME.sub(lambda found: f"`{_SCHEMA}`.`{names.get(found[1], found[1])}`", text)

        queries = tuple(general(query) for query in views.values())
        state = tuple(content.digest for content in tables.values())
        key = (general(sql), repr(sorted(parameters.items())), state, queries)
        if key not in self._answers:
            places = {names[name]: self._table(content) for name, content in tables.items()}
            for name, query in zip(views, queries, strict=True):
                made = _placed(self._translated(query), places)
                self._connection.execute(f'CREATE OR REPLACE VIEW {_SCHEMA}."{names[name]}" AS {made}')
            translated = self._translated(general(sql))
            # DuckDB refuses a parameter that the statement does not name, and BigQuery does not.
            named = set(re.findall(r"\$(\w+)", translated))
            given = {name: _bound(value) for name, value in parameters.items() if name in named}
            self._answers[key] = work(translated, given, places)
        return self._answers[key]

    def _select(self, translated: str, given: dict[str, Any], places: dict[str, str]) -> list[dict[str, Any]]:
        found = self._connection.execute(_placed(translated, places), given)
        columns = [described[0] for described in found.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]

    def _table(self, content: Content) -> str:
        """The table with this content."""
        name = self._there.get(content.digest)
        if name is None:
            name = f'{_SCHEMA}."content{next(self._numbers)}"'
            self._make(name, content.columns, content.rows)
            self._there[content.digest] = name
            if len(self._there) > _MOST_THERE:
                _, oldest = self._there.popitem(last=False)
                self._connection.execute(f"DROP TABLE {oldest}")
        self._there.move_to_end(content.digest)
        return name

    def _make(self, name: str, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
        described = ", ".join(f'"{column.name}" {_kind(column)}' for column in columns)
        self._connection.execute(f"CREATE OR REPLACE TABLE {name} ({described})")
        if not rows:
            return
        # A parameter for each column: one for each value takes DuckDB twenty times as long.
        values = [
            _json_texts(of) if column.kind == "JSON" else list(of)
            for column, of in zip(columns, zip(*rows, strict=True), strict=True)
        ]
        taken = ", ".join(f"CAST(unnest(?) AS {_kind(column)})" for column in columns)
        self._connection.execute(f"INSERT INTO {name} SELECT {taken}", values)

    def _translated(self, sql: str) -> str:
        if sql not in self._sql:
            tree = sqlglot.parse_one(sql, read="bigquery")
            for counted in tree.find_all(sqlglot.exp.CountIf):
                # Of NULL alone it is NULL in DuckDB, and 0 in BigQuery.
                counted.set("this", sqlglot.exp.Coalesce(this=counted.this.copy(), expressions=[sqlglot.exp.false()]))
            self._sql[sql] = tree.sql(dialect="duckdb")
        return self._sql[sql]


class MemoryWarehouse:
    """See `processors.load_plan.Warehouse`.

    Args:
        store: Holds the staged rows.
        engine: May serve many warehouses.
        tables: That are there from the beginning.
        views: The same.
    """

    billed_bytes = 0

    def __init__(
        self,
        store: ObjectStore,
        engine: Engine,
        tables: Mapping[str, Content] = MappingProxyType({}),
        views: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.store, self._engine = store, engine
        self.tables: dict[str, Content] = dict(tables)
        self.views: dict[str, str] = dict(views)
        self._loaded: dict[str, TableBatch] = {}

    def ensure_dataset(self) -> None:
        """It is there."""

    def ensure_table(self, table: Table) -> None:
        """See the protocol; a table has from its beginning all columns that it will have."""
        if table.name not in self.tables:
            self.tables[table.name] = Content.of(check_table(table), [])

    def ensure_view(self, view: View | StateView) -> None:
        """See the protocol."""
        for table in view.tables:
            self.ensure_table(table)
        self.views[view.name] = view_sql(view, self.name_of)

    def stage(self, batch: TableBatch) -> TableLoad:
        """See the protocol."""
        self.ensure_table(batch.table)
        if batch.rows:
            data = b"".join(self.store.read(uri.removeprefix(f"{self.store.root_uri}/"))[0] for uri in batch.uris)
            content = self._engine.typed(check_table(batch.table), gzip.decompress(data))
            self.tables[batch.staging_table] = content
        return TableLoad("load" if batch.rows else "", "", batch.rows, 0)

    def compare(self, batch: TableBatch, staged: TableLoad) -> TableLoad:
        """See the protocol."""
        names = self.name_of(batch.table.name), self.name_of(batch.staging_table)
        keys = keys_parameter(batch.keys) if asks_elsewhere(batch) else {}
        scope = {f"scope_{number}": limit.values for number, limit in enumerate(batch.scope)}
        cells = self.query(changes_sql(batch, *names, by_keys=bool(keys)), {**scope, **keys})
        shared = tuple(
            (columns, tuple(self.query(asked, given))) for columns, asked, given in shared_questions(batch, *names)
        )
        return dataclasses.replace(staged, cells=tuple(cells), shared=shared)

    def replace(self, batch: TableBatch, staged: TableLoad, may_write: Callable[[], None] = nothing) -> TableLoad:
        """See the protocol."""
        may_write()
        sql = replace_sql(batch, self.name_of(batch.table.name), self.name_of(batch.staging_table))
        parameters: dict[str, Any] = {f"scope_{number}": limit.values for number, limit in enumerate(batch.scope)}
        if batch.table.deleted_field:
            parameters["snapshot_at"] = batch.snapshot_at
        self.tables[batch.table.name] = self._engine.changed(sql, parameters, self._read_by(sql), batch.table.name)
        return TableLoad(staged.load_job_id, "replace", staged.rows, staged.size_bytes, staged.cells)

    def drop_staging(self, batch: TableBatch) -> None:
        """See the protocol."""
        self.tables.pop(batch.staging_table, None)

    def name_of(self, table: str) -> str:
        """See the protocol."""
        return f"`{_SCHEMA}`.`{table}`"

    def query(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> list[dict[str, Any]]:
        """See the protocol."""
        named = _NAME.findall(sql)
        views = {name: self.views[name] for name in named if name in self.views}
        reads = {**self._read_by(sql)}
        for query in views.values():
            reads |= self._read_by(query)
        return self._engine.rows(sql, parameters or {}, reads, views)

    def dry_run(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> int:
        """Nothing is billed."""
        return 0

    def _read_by(self, sql: str) -> dict[str, Content]:
        return {name: self.tables[name] for name in dict.fromkeys(_NAME.findall(sql)) if name in self.tables}


def _placed(translated: str, places: Mapping[str, str]) -> str:
    """The statement with tables in place of their numbers."""
    return _PLACE.sub(lambda found: places[found[1]], translated)


def _kind(column: Column) -> str:
    if column.fields:
        inner = ", ".join(f'"{one.name}" {_kind(one)}' for one in column.fields)
        kind = f"STRUCT({inner})"
    else:
        kind = _KINDS[column.kind]
    return f"{kind}[]" if column.mode == "REPEATED" else kind


def _json_texts(values: Sequence[Any]) -> list[str | None]:
    """A list of DuckDB has one type, and values of JSON have several."""
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]


def _bound(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
