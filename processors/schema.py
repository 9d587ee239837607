"""Row model -> BigQuery columns, and what changed between the two. Pure: knows BigQuery's names, not its client."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import hashlib
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel

from alerting.errors import ConfigurationError, LoadRejected
from processors.base import Table
from processors.column_values import BigNumericColumn

_TYPES: dict[Any, str] = {
    str: "STRING",
    int: "INTEGER",
    float: "FLOAT",
    bool: "BOOLEAN",
    dt.date: "DATE",
    dt.time: "TIME",
    AwareDatetime: "TIMESTAMP",
    Decimal: "NUMERIC",
    BigNumericColumn: "BIGNUMERIC",
}
_SYNONYMS = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
_UNCLUSTERABLE = {"FLOAT", "RECORD", "JSON", "TIME"}
# https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
_RESERVED = (
    "all and any array as asc assert_rows_modified at between by case cast collate contains create cross cube current "
    "default define desc distinct else end enum escape except exclude exists extract false fetch following for from "
    "full group grouping groups hash having if ignore in inner intersect interval into is join lateral left like limit "
    "lookup merge natural new no not null nulls of on or order outer over partition preceding proto qualify range "
    "recursive respect right rollup rows select set some struct tablesample then to treat true unbounded union unnest "
    "using when where window with within"
)
RESERVED_WORDS = frozenset(_RESERVED.split())
"""Refused as column names: BigQuery takes them in backquotes only, and queries by hand forget these."""

_OURS = re.compile(r"[dest]|twin_day|cell_.*", re.IGNORECASE)
"""Refused as well: our own queries call tables and numbers so, and take such a column for these."""

# https://docs.cloud.google.com/bigquery/docs/schemas#column_names
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COLUMN_NAME_CHARS = 300
_PREFIXES = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_")
_DESCRIPTION_CHARS = 1_024


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``mode`` is REQUIRED, NULLABLE or REPEATED, ``fields`` the columns of a RECORD."""

    name: str
    kind: str
    mode: str
    description: str = ""
    fields: tuple[Column, ...] = ()

    def to_api(self) -> dict[str, Any]:
        """As in https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema."""
        body: dict[str, Any] = {"name": self.name, "type": self.kind, "mode": self.mode}
        if self.description:
            body["description"] = self.description
        if self.fields:
            body["fields"] = [field.to_api() for field in self.fields]
        return body

    @property
    def sql_type(self) -> str:
        """For DDL.

        >>> Column("inners", "RECORD", "REPEATED", fields=(Column("n", "INTEGER", "NULLABLE"),)).sql_type
        'ARRAY<STRUCT<`n` INT64>>'
        """
        kind = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}.get(self.kind, self.kind)
        if self.kind == "RECORD":
            kind = f"STRUCT<{', '.join(f'`{field.name}` {field.sql_type}' for field in self.fields)}>"
        return f"ARRAY<{kind}>" if self.mode == "REPEATED" else kind

    @classmethod
    def from_api(cls, body: dict[str, Any]) -> Column:
        """The inverse of ``to_api``; standard SQL type names become the ones used here."""
        kind = str(body["type"]).upper()
        fields = tuple(cls.from_api(field) for field in body.get("fields") or ())
        mode = str(body.get("mode") or "NULLABLE").upper()
        return cls(body["name"], _SYNONYMS.get(kind, kind), mode, body.get("description") or "", fields)


@functools.lru_cache(maxsize=1_000)
def columns_of(model: type[BaseModel]) -> tuple[Column, ...]:
    """The model's columns in field order; raises ``ConfigurationError`` for a type that no column can hold.

    >>> from processors.base import Row
    >>> class Game(Row):
    ...     game_date: dt.date
    ...     quarters: list[int]
    ...     score: int | None = None
    >>> [(column.name, column.kind, column.mode) for column in columns_of(Game)]
    [('game_date', 'DATE', 'REQUIRED'), ('quarters', 'INTEGER', 'REPEATED'), ('score', 'INTEGER', 'NULLABLE')]
    """
    return tuple(
        _column(model, name, field.annotation, field.description or "", field.metadata)
        for name, field in model.model_fields.items()
    )


def _column(model: type[BaseModel], name: str, annotation: Any, description: str, marks: Iterable[Any] = ()) -> Column:
    kind, mode = _bare(annotation, marks), "REQUIRED"
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        if len(members) != 1:
            raise _unsupported(model, name, annotation)
        kind, mode = _bare(members[0]), "NULLABLE"
    if get_origin(kind) in (list, tuple):
        if mode == "NULLABLE":
            raise _unsupported(model, name, annotation, "a REPEATED column holds no NULL: let [] be its default")
        kind, mode = _bare(get_args(kind)[0]), "REPEATED"
    if get_origin(kind) is dict:
        return Column(name, "JSON", mode, description)
    if get_origin(kind) is Literal and all(isinstance(value, str) for value in get_args(kind)):
        return Column(name, "STRING", mode, description)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return Column(name, "RECORD", mode, description, columns_of(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and issubclass(kind, str):
        return Column(name, "STRING", mode, description)
    if kind not in _TYPES:
        raise _unsupported(model, name, annotation)
    return Column(name, _TYPES[kind], mode, description)


def _bare(annotation: Any, marks: Iterable[Any] = ()) -> Any:
    """The type itself, or the mark that decides about its column."""
    if get_origin(annotation) is Annotated:
        annotation, *found = get_args(annotation)
        marks = [*marks, *found]
    if annotation is Decimal and any(isinstance(mark, BigNumericColumn) for mark in marks):
        return BigNumericColumn
    return annotation


def _unsupported(model: type[BaseModel], name: str, annotation: Any, why: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"{model.__name__}.{name}: no BigQuery column holds {annotation}",
        stage="load",
        hint=why
        or "use str, int, float, bool, date, time, AwareDatetime, Decimal, BigNumeric, a Row, a list of these, or dict "
        "for JSON",
    )


@functools.lru_cache(maxsize=256)
def schema_hash(columns: tuple[Column, ...]) -> str:
    """Changes with names, types, modes and order, not with descriptions."""
    bare = repr([_undescribed(column) for column in columns])
    return hashlib.sha256(bare.encode()).hexdigest()[:16]


def _undescribed(column: Column) -> Column:
    return replace(column, description="", fields=tuple(_undescribed(field) for field in column.fields))


# Of 1,024 characters; the staging table's name is longer by a digest. https://cloud.google.com/bigquery/docs/tables
_TABLE_NAME = re.compile(r"[A-Za-z0-9_]{1,900}")


def check_table(table: Table) -> tuple[Column, ...]:
    """The table's columns; raises ``ConfigurationError`` when its declaration cannot hold its promises."""
    columns = columns_of(table.model)
    known = {column.name: column for column in columns}
    named = {
        *table.key,
        *table.critical,
        *(name for columns in table.unique for name in columns),
        table.partition_field,
        *filter(None, [table.entity_field, table.deleted_field]),
    }
    problems = [] if _TABLE_NAME.fullmatch(table.name) else [f"the name is not {_TABLE_NAME.pattern}"]
    problems += [f"no column {name}" for name in sorted(named - set(known))]
    key = [known[name] for name in table.key if name in known]
    problems += [f"key column {column.name} may be null" for column in key if column.mode != "REQUIRED"]
    problems += [f"key column {column.name} is {column.kind}" for column in key if column.kind in _UNCLUSTERABLE]
    date = known.get(table.partition_field)
    if date and date.kind != "DATE":
        problems.append(f"partition column {date.name} is {date.kind}, not DATE")
    if date and date.mode != "REQUIRED" and not table.whole_entity:
        problems.append(f"partition column {date.name} may be null")
    if table.whole_entity and not table.entity_field:
        problems.append("whole_entity without entity_field")
    if table.unique_within_days < 0 or (table.unique_within_days and (table.whole_entity or not table.unique)):
        problems.append("unique_within_days is a number of days around a load of dates, of a table with unique columns")
    deleted = known.get(table.deleted_field)
    if deleted and (deleted.kind, deleted.mode, table.whole_entity) != ("TIMESTAMP", "NULLABLE", True):
        problems.append(f"{deleted.name} must be a nullable TIMESTAMP of a whole_entity table")
    problems += [
        f"column {column.name} is a name of our own SQL; name it more clearly"
        for column in columns
        if _OURS.fullmatch(column.name)
    ]
    problems += _unwelcome_of(table.model)
    if problems:
        raise ConfigurationError(f"table {table.name}: {'; '.join(problems)}", stage="load")
    return columns


@functools.lru_cache(maxsize=1_000)
def _unwelcome_of(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(_unwelcome(columns_of(model)))


def _unwelcome(columns: Sequence[Column], path: str = "") -> list[str]:
    """What BigQuery would refuse about names and descriptions, in RECORD fields too."""
    problems, lower = [], [column.name.lower() for column in columns]
    for column, name in zip(columns, lower, strict=True):
        where = f"column {path}{column.name[:_COLUMN_NAME_CHARS]}"
        if len(name) > _COLUMN_NAME_CHARS:
            problems.append(f"{where}... has a name of {len(name):,} characters, BigQuery takes {_COLUMN_NAME_CHARS}")
        elif name in RESERVED_WORDS:
            problems.append(f"{where} is a reserved word of GoogleSQL; name it {column.name}_ or more clearly")
        elif not _COLUMN_NAME.fullmatch(column.name) or name.startswith(_PREFIXES):
            problems.append(f"{where} is no name for a BigQuery column")
        if lower.count(name) > 1:
            problems.append(f"{where} differs from another only in case")
        if len(column.description) > _DESCRIPTION_CHARS:
            size = len(column.description)
            problems.append(f"{where} has a description of {size:,} characters, BigQuery takes {_DESCRIPTION_CHARS:,}")
        problems += _unwelcome(column.fields, f"{path}{column.name}.")
    return problems


def widened(table: str, declared: Sequence[Column], existing: Sequence[Column]) -> tuple[Column, ...] | None:
    """The columns the existing table must get, in its own order; None when it takes the declared rows as it is.

    New columns are added as NULLABLE, because a filled table can get no others. A REQUIRED column that the model
    made nullable is relaxed. Columns that only the table has stay.

    Raises ``LoadRejected`` when a type changed or the table requires a column that the rows do not have.
    """
    merged, changed = _merge(table, declared, existing, "")
    return merged if changed else None


def _merge(
    table: str, declared: Sequence[Column], existing: Sequence[Column], path: str
) -> tuple[tuple[Column, ...], bool]:
    wanted = {column.name.lower(): column for column in declared}
    merged: list[Column] = []
    for found in existing:
        mine = wanted.pop(found.name.lower(), None)
        if mine is None and found.mode == "REQUIRED":
            raise _drift(table, path + found.name, "REQUIRED in the table", "absent in the row model")
        merged.append(found if mine is None else _merged_column(table, mine, found, path))
    merged += [
        replace(column, mode="NULLABLE" if column.mode == "REQUIRED" else column.mode) for column in wanted.values()
    ]
    return tuple(merged), tuple(merged) != tuple(existing)


def _merged_column(table: str, mine: Column, found: Column, path: str) -> Column:
    if (mine.kind, mine.mode == "REPEATED") != (found.kind, found.mode == "REPEATED"):
        raise _drift(table, path + mine.name, f"{found.kind} {found.mode}", f"{mine.kind} {mine.mode}")
    mode = mine.mode if found.mode == "REQUIRED" else found.mode
    fields, _ = _merge(table, mine.fields, found.fields, f"{path}{mine.name}.")
    return replace(found, mode=mode, fields=fields)


def _drift(table: str, column: str, found: str, declared: str) -> LoadRejected:
    return LoadRejected(
        f"table {table}, column {column}: it is {found}, the row model says {declared}; the table is as it was",
        stage="load",
        hint="give the changed column another name, or migrate the table by hand",
    )
