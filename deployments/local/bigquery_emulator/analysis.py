"""The local BigQuery lets Google's analyzer read every statement before it runs it.

Mends in bqemulator 1.4.0: what sqlglot and DuckDB take, runs, whether or not it is GoogleSQL.

Parsed is each shape of a statement once, whatever its tables are called (`shapes`); analysed is each shape once for the
schemas of its tables and the types of its parameters. A refusal is told of the text as sent. The analyzer keeps the
catalog of the same tables for the next statement: to read Google's functions into a new one is half of an analysis.
Statements over tables that do not exist here, over ``INFORMATION_SCHEMA``, and scripts with DECLARE, IF or LOOP, are
parsed only.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import wasmtime
from bqemulator.catalog.models import TableMeta
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public_options
from zetasql.wasi._pb2.zetasql.public import parse_resume_location_pb2, type_pb2

from deployments.local.bigquery_emulator.googlesql import GoogleSql, GoogleSqlError
from deployments.local.bigquery_emulator.shapes import Shape

_KEPT_STATEMENTS = 4_096
_KEPT_CATALOGS = 128
"""Of 0.6 MB each."""
_SYNONYMS = {
    "INTEGER": "INT64",
    "FLOAT": "DOUBLE",
    "FLOAT64": "DOUBLE",
    "BOOLEAN": "BOOL",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
_PROCEDURAL = re.compile(
    r"^\s*(DECLARE|BEGIN(?!\s+TRANSACTION\b|\s*;|\s*$)|IF|LOOP|WHILE|REPEAT|FOR|RAISE|CASE|RETURN)\b", re.IGNORECASE
)
_ALTERED = re.compile(
    r"^\s*(?:ALTER|TRUNCATE|DROP)\s+\w+(?:\s+VIEW)?\s+(?:IF\s+EXISTS\s+)?(`[^`]+`(?:\.`[^`]+`)*|[\w.-]+)", re.IGNORECASE
)
Path = tuple[str, ...]
Look = Callable[[Path], TableMeta | None]


@dataclass(frozen=True, slots=True)
class Analysed:
    """One statement that Google would take: its resolved tree, and its tables by the path that the text has."""

    statement: Any
    tables: Mapping[str, TableMeta]


class StatementCheck:
    """Asks one analyzer; safe to use from many threads."""

    def __init__(self, analyzer: GoogleSql) -> None:
        self._analyzer = analyzer
        self._lock = threading.Lock()
        self._parsed: OrderedDict[str, list[tuple[str, list[Path]]]] = OrderedDict()
        self._resolved: OrderedDict[object, Any] = OrderedDict()
        self._catalogs: OrderedDict[object, int] = OrderedDict()

    def check(self, sql: str, parameters: Sequence[Mapping[str, Any]], look: Look) -> list[Analysed]:
        """The statements of ``sql`` that could be analysed.

        Args:
            sql: As sent.
            parameters: ``queryParameters`` of the request.
            look: Finds a table by its path; None when it does not exist.

        Raises:
            GoogleSqlError: Google refuses it; the message is Google's.
        """
        if _PROCEDURAL.match(sql):
            return []
        shape = Shape.of(sql)
        with self._lock:
            if shape is not None:
                try:
                    return self._check(shape.text, parameters, lambda path: look(tuple(map(shape.named, path))))
                except GoogleSqlError:
                    pass  # told again below, of the text as sent
            return self._check(sql, parameters, look)

    def _check(self, sql: str, parameters: Sequence[Mapping[str, Any]], look: Look) -> list[Analysed]:
        parsed = _kept(self._parsed, sql, lambda: self._parse(sql))
        found = [self._analyse(text, paths, parameters, look) for text, paths in parsed]
        return [one for one in found if one is not None]

    def _parse(self, sql: str) -> list[tuple[str, list[Path]]]:
        statements, position, data = [], 0, sql.encode()
        while data[position:].strip():
            request = service.ExtractTableNamesFromNextStatementRequest(options=self._analyzer.language)
            request.parse_resume_location.CopyFrom(
                parse_resume_location_pb2.ParseResumeLocationProto(input=sql, byte_position=position)
            )
            try:
                answer = self._analyzer.call(
                    "ExtractTableNamesFromNextStatement", request, service.ExtractTableNamesFromNextStatementResponse
                )
            except GoogleSqlError as error:
                raise _as_google_says(error) from error
            end = answer.resume_byte_position
            text = data[position:end].decode().rstrip().removesuffix(";")
            before = re.sub(r"[^\n]", " ", data[:position].decode())  # so that messages name the place in the whole
            statements.append((before + text, [*map(_path, answer.table_name), *_altered(text)]))
            position = end
        if not statements:
            raise GoogleSqlError("Syntax error: Unexpected end of statement")
        return statements

    def _analyse(
        self, text: str, paths: list[Path], parameters: Sequence[Mapping[str, Any]], look: Look
    ) -> Analysed | None:
        tables = {path: look(path) for path in sorted(paths, key=lambda path: text.find(path[-1]))}
        if not all(tables.values()):
            return None
        present = {path: table for path, table in tables.items() if table}
        schemas = tuple((path, table.schema_.model_dump_json()) for path, table in present.items())
        types = tuple((one.get("name"), repr(one.get("parameterType"))) for one in parameters)
        try:
            resolved = _kept(
                self._resolved, (text, schemas, types), lambda: self._resolve(text, present, schemas, parameters)
            )
        except wasmtime.Trap:  # the analyzer's own fault; what it cannot read is not refused
            self._catalogs.clear()  # a new instance knows none
            return None
        return Analysed(resolved, {str(number): table for number, table in enumerate(present.values())})

    def _resolve(
        self,
        text: str,
        tables: Mapping[Path, TableMeta],
        schemas: tuple[tuple[Path, str], ...],
        parameters: Sequence[Mapping[str, Any]],
    ) -> Any:
        request = service.AnalyzeRequest(
            sql_statement=text, options=self._options(parameters), registered_catalog_id=self._catalog(tables, schemas)
        )
        try:
            answer = self._analyzer.call("Analyze", request, service.AnalyzeResponse)
        except GoogleSqlError as error:
            raise _as_google_says(error) from error
        return answer.resolved_statement

    def _catalog(self, tables: Mapping[Path, TableMeta], schemas: tuple[tuple[Path, str], ...]) -> int:
        """The number under which the analyzer knows a catalog of these tables."""
        if schemas in self._catalogs:
            self._catalogs.move_to_end(schemas)
            return self._catalogs[schemas]
        request = service.RegisterCatalogRequest()
        request.simple_catalog.builtin_function_options.language_options.CopyFrom(self._analyzer.language)
        for number, (path, table) in enumerate(tables.items()):
            _add_table(request.simple_catalog, path, table, number)
        made = self._analyzer.call("RegisterCatalog", request, service.RegisterResponse).registered_id
        self._catalogs[schemas] = made
        if len(self._catalogs) > _KEPT_CATALOGS:
            _, oldest = self._catalogs.popitem(last=False)
            forget = service.UnregisterRequest(registered_id=oldest)
            self._analyzer.call("UnregisterCatalog", forget, service.RegisterResponse)  # an empty answer
        return int(made)

    def _options(self, parameters: Sequence[Mapping[str, Any]]) -> Any:
        options = options_pb2.AnalyzerOptionsProto(
            language_options=self._analyzer.language,
            error_message_mode=public_options.ERROR_MESSAGE_ONE_LINE,
            default_timezone="UTC",
            prune_unused_columns=True,
        )
        for one in parameters:
            kind = _parameter_type(one.get("parameterType") or {})
            if one.get("name"):
                options.query_parameters.add(name=one["name"], type=kind)
            else:
                options.parameter_mode = public_options.PARAMETER_POSITIONAL
                options.positional_query_parameters.append(kind)
        return options


def _path(name: Any) -> Path:
    return tuple(name.table_name_segment)


def _altered(text: str) -> list[Path]:
    """The table of a DDL statement, which the analyzer does not list among those that are read."""
    found = _ALTERED.match(text)
    if not found:
        return []
    return [tuple(re.findall(r"`([^`]+)`", found[1])) or tuple(found[1].split("."))]


def _kept(known: OrderedDict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    if key not in known:
        known[key] = make()
        if len(known) > _KEPT_STATEMENTS:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]


def _as_google_says(error: GoogleSqlError) -> GoogleSqlError:
    """BigQuery writes ``at [1:13]`` where the reference implementation writes ``[at 1:13]``."""
    return GoogleSqlError(re.sub(r"\[at (\d+:\d+)\]", r"at [\1]", str(error)))


def _add_table(catalog: Any, path: Path, table: TableMeta, number: int) -> None:
    for segment in path[:-1]:
        inner = next((one for one in catalog.catalog if one.name.lower() == segment.lower()), None)
        catalog = inner if inner is not None else catalog.catalog.add(name=segment)
    made = catalog.table.add(name=path[-1], serialization_id=number + 1, full_name=str(number))
    for field in table.schema_.fields:
        made.column.add(name=field.name, type=_column_type(field), is_writable_column=True)


def _simple(kind: str) -> Any:
    name = _SYNONYMS.get(kind.upper(), kind.upper())
    return type_pb2.TypeProto(type_kind=type_pb2.TypeKind.Value(f"TYPE_{name}"))


def _array(element: Any) -> Any:
    return type_pb2.TypeProto(type_kind=type_pb2.TYPE_ARRAY, array_type=type_pb2.ArrayTypeProto(element_type=element))


def _struct(fields: Sequence[tuple[str, Any]]) -> Any:
    members = [type_pb2.StructFieldProto(field_name=name, field_type=kind) for name, kind in fields]
    return type_pb2.TypeProto(type_kind=type_pb2.TYPE_STRUCT, struct_type=type_pb2.StructTypeProto(field=members))


def _column_type(field: Any) -> Any:
    if field.type.upper() in ("RECORD", "STRUCT"):
        kind = _struct([(inner.name, _column_type(inner)) for inner in field.fields])
    elif field.type.upper() == "RANGE":
        element = type_pb2.RangeTypeProto(element_type=_column_type(field.range_element_type))
        kind = type_pb2.TypeProto(type_kind=type_pb2.TYPE_RANGE, range_type=element)
    else:
        kind = _simple(field.type.partition("(")[0])
    return _array(kind) if field.mode == "REPEATED" else kind


def _parameter_type(kind: Mapping[str, Any]) -> Any:
    """A ``QueryParameterType``."""
    name = str(kind.get("type", "")).upper()
    if name == "ARRAY":
        return _array(_parameter_type(kind["arrayType"]))
    if name in ("STRUCT", "RECORD"):
        return _struct([(one.get("name", ""), _parameter_type(one["type"])) for one in kind["structTypes"]])
    return _simple(name)
