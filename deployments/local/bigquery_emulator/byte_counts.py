"""The bytes a statement reads, as BigQuery counts them: columns that are read, rows of partitions that are not pruned.

Mends in bqemulator 1.4.0: every query reports 0 bytes, and so does its dry run.
https://docs.cloud.google.com/bigquery/docs/estimate-costs has the sizes of the types and the rules for DML. A partition
is pruned by a comparison of the partition column with constants or parameters, directly over the table or in a WHEN of
a MERGE; blocks of a clustered table by a list of constants for the first clustering column. BigQuery reads such blocks
whole, and its dry run does not leave them out; here their rows count one by one. It also folds constant expressions,
and may prune by other forms; here these read the whole table.
"""

# Column names come through bqemulator's whitelist of identifiers; values are dates that were parsed.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import TableMeta
from bqemulator.storage.sql_identifiers import quoted_table_ref
from zetasql.wasi._pb2.zetasql.resolved_ast.resolved_ast_enums_pb2 import ResolvedJoinScanEnums as Join
from zetasql.wasi._pb2.zetasql.resolved_ast.resolved_ast_enums_pb2 import ResolvedMergeWhenEnums as When

from deployments.local.bigquery_emulator.analysis import Analysed
from deployments.local.bigquery_emulator.engine import changes

MINIMUM_BILLED_BYTES = 10 * 2**20
"""Billed for each table a query names."""

_SIZES = {"BOOL": 1, "BOOLEAN": 1, "NUMERIC": 16, "DECIMAL": 16, "BIGNUMERIC": 32, "INTERVAL": 16}
_COMPARED = {
    "$equal": "=",
    "$greater_or_equal": ">=",
    "$greater": ">=",
    "$less_or_equal": "<=",
    "$less": "<=",
}
_FLIPPED = {"=": "=", ">=": "<=", "<=": ">="}
_EPOCH = dt.date(1970, 1, 1)
_COUNTS = "_gapless_byte_counts"
Parameters = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Read:
    """Columns of a table, and conditions of which every one prunes; None reads all columns."""

    table: TableMeta
    columns: tuple[str, ...] | None
    conditions: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reads:
    """Collects the reads of one statement while its tree is walked."""

    tables: Mapping[str, TableMeta]
    parameters: Parameters
    found: list[Read] = field(default_factory=list)

    def walk(self, node: Any, filters: tuple[Any, ...] = ()) -> None:
        """Filters are those above that no row of this node can escape."""
        name = node.DESCRIPTOR.name
        if name == "ResolvedTableScanProto":
            self.scan(node, filters)
        elif name == "ResolvedFilterScanProto":
            self.walk(node.filter_expr)
            self.walk(node.input_scan, (*filters, node.filter_expr))
        elif name in ("ResolvedDeleteStmtProto", "ResolvedUpdateStmtProto"):
            self.change(node, node.table_scan, self.conditions(node.table_scan, (node.where_expr,)))
        elif name == "ResolvedMergeStmtProto":
            self.merge(node)
        elif name == "ResolvedJoinScanProto":
            kept = {Join.INNER: (True, True), Join.LEFT: (True, False), Join.RIGHT: (False, True)}
            left, right = kept.get(node.join_type, (False, False))
            self.walk(node.left_scan, filters if left else ())
            self.walk(node.right_scan, filters if right else ())
        elif name.startswith("Any") or name == "ResolvedProjectScanProto":
            for child in _children(node):  # a union of node types is no node of its own
                self.walk(child, filters)
        else:
            for child in _children(node):
                self.walk(child)

    def scan(self, scan: Any, filters: tuple[Any, ...] = ()) -> None:
        table = self.tables[scan.table.full_name]
        columns = tuple(table.schema_.fields[number].name for number in scan.column_index_list)
        self.found.append(Read(table, columns, self.conditions(scan, filters)))

    def change(self, node: Any, target: Any, conditions: tuple[str, ...]) -> None:
        """The target's partitions whole, and whatever else the statement reads."""
        self.found.append(Read(self.tables[target.table.full_name], None, conditions))
        for child in _children(node):
            if child != target:
                self.walk(child)

    def merge(self, node: Any) -> None:
        if all(when.action_type == When.INSERT for when in node.when_clause_list):
            self.scan(node.table_scan)
            self.walk(node.from_scan)
            return
        needed = [] if _is_false(node.merge_expr) else [self.conditions(node.table_scan, (node.merge_expr,))]
        by_source = [when for when in node.when_clause_list if when.match_type == When.NOT_MATCHED_BY_SOURCE]
        needed += [self.conditions(node.table_scan, (when.match_expr,)) for when in by_source]
        whole = any(not one for one in needed)
        either = () if whole else (" OR ".join(f"({' AND '.join(one)})" for one in needed) or "FALSE",)
        self.change(node, node.table_scan, either)

    def conditions(self, scan: Any, filters: tuple[Any, ...]) -> tuple[str, ...]:
        """SQL over the partition column and the first clustering column; empty where nothing prunes."""
        table = self.tables[scan.table.full_name]
        by_name = {one.name: one.column_id for one in scan.parent.column_list}
        parts = [_one(part) for part in filters]
        found: list[str] = []
        partitioning = table.time_partitioning
        if partitioning and partitioning.field in by_name:
            cut = f"date_trunc('{partitioning.type}', CAST(\"{partitioning.field}\" AS DATE))"
            for part in parts:
                found += self._condition(part, by_name[partitioning.field], cut, partitioning.type)
        first = table.clustering.fields[0] if table.clustering else ""
        for part in parts if first in by_name else ():
            found += self._cluster(part, by_name[first], f'"{first}"')
        return tuple(found)

    def _cluster(self, node: Any, column_id: int, column: str) -> list[str]:
        if node is None or node.DESCRIPTOR.name != "ResolvedFunctionCallProto":
            return []
        name = node.parent.function.name.rpartition(":")[2]
        arguments = [_one(one) for one in node.parent.argument_list]
        if name == "$and":
            return [one for argument in arguments for one in self._cluster(argument, column_id, column)]
        if name == "$in_array" and _is_column(arguments[0], column_id):
            values = self._values(arguments[1])
            if values is not None:
                texts = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
                return [f"CAST({column} AS VARCHAR) IN ({texts})" if values else "FALSE"]
        return []

    def _values(self, node: Any) -> list[str] | None:
        """The values of an array parameter, as texts."""
        if node.DESCRIPTOR.name != "ResolvedParameterProto":
            return None
        given = next((one for one in self.parameters if str(one.get("name", "")).lower() == node.name), {})
        listed = (given.get("parameterValue") or {}).get("arrayValues")
        return None if listed is None else [str(one["value"]) for one in listed if one.get("value") is not None]

    def _condition(self, node: Any, column_id: int, cut: str, unit: str) -> list[str]:
        if node is None or node.DESCRIPTOR.name != "ResolvedFunctionCallProto":
            return []
        name = node.parent.function.name.rpartition(":")[2]
        arguments = [_one(one) for one in node.parent.argument_list]
        if name == "$and":
            return [one for argument in arguments for one in self._condition(argument, column_id, cut, unit)]
        is_column = [_is_column(argument, column_id) for argument in arguments]
        values = [self._dates(argument) for argument in arguments]
        if name in ("$in", "$in_array") and is_column[0] and None not in values[1:]:
            days = [day for one in values[1:] for day in one or ()]
            return [f"{cut} IN ({', '.join(_cut(day, unit) for day in days)})" if days else "FALSE"]
        if name == "$between" and is_column[0] and values[1] and values[2]:
            return [f"{cut} BETWEEN {_cut(values[1][0], unit)} AND {_cut(values[2][0], unit)}"]
        if name in _COMPARED:
            if is_column[0] and values[1]:
                return [f"{cut} {_COMPARED[name]} {_cut(values[1][0], unit)}"]
            if is_column[1] and values[0]:
                return [f"{cut} {_FLIPPED[_COMPARED[name]]} {_cut(values[0][0], unit)}"]
        return []

    def _dates(self, node: Any) -> list[dt.date] | None:
        """The dates of a literal or a parameter; None when it is something else."""
        if node.DESCRIPTOR.name == "ResolvedLiteralProto":
            value = node.value.value
            listed = value.array_value.element if value.HasField("array_value") else [value]
            if all(one.HasField("date_value") for one in listed):
                return [_EPOCH + dt.timedelta(days=one.date_value) for one in listed]
        if node.DESCRIPTOR.name == "ResolvedParameterProto":
            given = next((one for one in self.parameters if str(one.get("name", "")).lower() == node.name), None)
            if given is not None and "DATE" in repr(given.get("parameterType")):
                value = given.get("parameterValue") or {}
                listed = value.get("arrayValues") or [value]
                return [dt.date.fromisoformat(one["value"]) for one in listed if one.get("value")]
        return None


def reads_of(analysed: Analysed, parameters: Parameters) -> list[Read]:
    """What the statement reads."""
    reads = _Reads(analysed.tables, parameters)
    reads.walk(analysed.statement)
    return reads.found


def bytes_read(reads: Sequence[Read], ctx: AppContext) -> int:
    """Their logical bytes in the rows that are there."""
    return sum(_bytes(read, ctx) for read in reads)


def bytes_billed(reads: Sequence[Read], size_bytes: int) -> int:
    """Rounded up to a mebibyte, and at least ten of them a table."""
    tables = {(read.table.project_id, read.table.dataset_id, read.table.table_id) for read in reads}
    return max(-(-size_bytes // 2**20) * 2**20, len(tables) * MINIMUM_BILLED_BYTES)


def _bytes(read: Read, ctx: AppContext) -> int:
    fields = [one for one in read.table.schema_.fields if read.columns is None or one.name in read.columns]
    if not fields or read.table.table_type != "TABLE":
        return 0
    row = " + ".join(_size(one) for one in fields)
    name = quoted_table_ref(read.table.project_id, read.table.dataset_id, read.table.table_id)
    where = f" WHERE {' AND '.join(f'({one})' for one in read.conditions)}" if read.conditions else ""
    return _counted(f"SELECT COALESCE(SUM({row}), 0) FROM {name}{where}", ctx.engine)


def _counted(sql: str, engine: Any) -> int:
    """What is asked again before anything was written is known: a dry run comes before most statements."""
    counts: dict[str, int]
    now = changes(engine)
    then, counts = getattr(engine, _COUNTS, (now, {}))
    if then != now:
        counts = {}
    setattr(engine, _COUNTS, (now, counts))
    if sql not in counts:
        found = engine.execute(sql).fetchone()
        counts[sql] = int(found[0]) if found else 0
    return counts[sql]


def _size(column: Any) -> str:
    name, kind = f'"{column.name}"', column.type.upper()
    if column.mode == "REPEATED" or kind in ("RECORD", "STRUCT"):
        size = f"strlen(CAST(to_json({name}) AS VARCHAR))"
    elif kind == "BYTES":
        size = f"2 + octet_length({name})"
    elif kind in ("STRING", "JSON", "GEOGRAPHY"):
        size = f"2 + strlen(CAST({name} AS VARCHAR))"
    else:
        size = str(_SIZES.get(kind, 8))
    return size if column.mode == "REQUIRED" else f"CASE WHEN {name} IS NULL THEN 0 ELSE {size} END"


def _children(node: Any) -> Iterator[Any]:
    for described, value in node.ListFields():
        if described.message_type is not None and described.name != "parent":
            yield from value if described.is_repeated else (value,)
        elif described.name == "parent":
            yield value


def _one(node: Any) -> Any:
    """The node inside a union of node types."""
    while node is not None and node.DESCRIPTOR.name.startswith("Any"):
        node = next(iter(_children(node)), None)
    return node


def _is_column(node: Any, column_id: int) -> bool:
    return bool(node.DESCRIPTOR.name == "ResolvedColumnRefProto" and node.column.column_id == column_id)


def _is_false(node: Any) -> bool:
    inner = _one(node)
    if inner is None or inner.DESCRIPTOR.name != "ResolvedLiteralProto":
        return False
    value = inner.value.value
    return bool(value.HasField("bool_value") and not value.bool_value)


def _cut(day: dt.date, unit: str) -> str:
    return f"date_trunc('{unit}', DATE '{day.isoformat()}')"
