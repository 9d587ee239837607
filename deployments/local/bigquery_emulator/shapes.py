"""The local BigQuery translates each shape of a statement once: its text with the tables' names taken out.

Mends in bqemulator 1.4.0: every statement is translated to DuckDB's SQL from its text, which takes longer than to run
it, and is read twice more for the tables that it names. Ours come in some fifty shapes a source, under names that
differ by dataset and by batch.

Only names in backticks and lower case are taken out, and only where a table's name stands nowhere else in the text but
in a description; whatever is not so simple, or is refused, goes the released way.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import bqemulator.api.routes.jobs
import bqemulator.jobs.executor
import bqemulator.sql.catalog_schema
import bqemulator.sql.inner_query
import sqlglot
from bqemulator.domain.result import Ok
from bqemulator.sql.translator import SQLTranslator
from sqlglot import exp

_KEPT_SHAPES = 4_096
_PATH = re.compile(r"`([a-z][a-z0-9-]*)\.([a-z][a-z0-9_]*)\.([a-z][a-z0-9_]*)`")
_DESCRIPTION = re.compile(r"OPTIONS\(description='(?:[^'\\]|\\.)*'\)")
_STAND_IN = re.compile(r"gapless_[pdt]\d+")
Released = Callable[..., Any]
Path = tuple[str, str, str]
"""Project, dataset and table."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The text of a statement with stand-ins for its names, and the names by their stand-ins."""

    text: str
    names: Mapping[str, str]

    @classmethod
    @functools.lru_cache(_KEPT_SHAPES)
    def of(cls, sql: str) -> Shape | None:
        """The shape of a statement; None where its names cannot be told from the rest of it."""
        stand_ins: dict[tuple[str, str], str] = {}

        def replaced(path: re.Match[str]) -> str:
            parts = (
                stand_ins.setdefault((kind, name), f"gapless_{kind}{len(stand_ins)}")
                for kind, name in zip("pdt", path.groups(), strict=True)
            )
            return f"`{'.'.join(parts)}`"

        text, rest = _PATH.sub(replaced, sql), _DESCRIPTION.sub("", _PATH.sub("", sql))
        tables = [name for kind, name in stand_ins if kind == "t"]
        if not tables or _STAND_IN.search(sql):
            return None
        if any(re.search(rf"\b{name}\b", rest, re.IGNORECASE) for name in tables):
            return None
        return cls(text, {stand_in: name for (_, name), stand_in in stand_ins.items()})

    def stand_in(self, table: str) -> str:
        """What stands for a table's name; the name itself if it is not in the text."""
        return next((one for one, name in self.names.items() if name == table and one.startswith("gapless_t")), table)

    def named(self, sql: str) -> str:
        """A text with stand-ins, under the names again."""
        return _STAND_IN.sub(lambda found: self.names[found[0]], sql)


class Translations:
    """What the released functions said of each shape; used from the event loop of one emulator only."""

    def __init__(self) -> None:
        self._translated: dict[object, str] = {}
        self._shapes: dict[str, Shape] = {}

    def translate(self, released: Released) -> Released:
        """``SQLTranslator.translate``, once for each shape and the types of its columns."""

        def translate(this: SQLTranslator, sql: str, *, schema: Any = None, caller: Any = None, **rest: Any) -> Any:
            shape = None if rest else Shape.of(sql)
            if shape is None:
                return released(this, sql, schema=schema, caller=caller, **rest)
            known = {shape.stand_in(table): columns for table, columns in (schema or {}).items()}
            key = (shape.text, repr(known), repr(caller))
            if key not in self._translated:
                answer = released(this, shape.text, schema=known or None, caller=caller)
                if not isinstance(answer, Ok):
                    return released(this, sql, schema=schema, caller=caller)
                _keep(self._translated, key, answer.value)
            named = shape.named(self._translated[key])
            _keep(self._shapes, named, Shape(self._translated[key], shape.names))
            return Ok(named)

        return translate

    def qualify(self, released: Released) -> Released:
        """``rewrite_table_refs``, once for each text that `translate` gave for a shape."""
        kept = functools.lru_cache(_KEPT_SHAPES)(released)

        def qualify(sql: str, project: str) -> str:
            shape = self._shapes.get(sql)
            return str(released(sql, project)) if shape is None else shape.named(kept(shape.text, project))

        return qualify


def classified_once(released: Released) -> Released:
    """``classify_statement_type``, once for each shape."""
    kept = functools.lru_cache(_KEPT_SHAPES)(released)

    def classify(sql: str) -> str:
        shape = Shape.of(sql)
        return str(released(sql) if shape is None else kept(shape.text))

    return classify


def tables_of(sql: str) -> list[Path] | None:
    """The tables that a statement names; None where it has no shape, or names one in another way."""
    shape = Shape.of(sql)
    paths = None if shape is None else _tables_in(shape.text)
    if shape is None or paths is None:
        return None
    names = shape.names
    return [(names[project], names[dataset], names[table]) for project, dataset, table in paths]


@functools.lru_cache(_KEPT_SHAPES)
def _tables_in(text: str) -> tuple[Path, ...] | None:
    paths: dict[Path, None] = {}
    try:
        tree = sqlglot.parse_one(text, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return None
    for table in tree.find_all(exp.Table):
        path = (table.catalog, table.db, table.name)
        if all(_STAND_IN.fullmatch(part) for part in path):
            paths[path] = None
        elif table.db:  # without one it is that of a WITH
            return None
    return tuple(paths)


def unguarded(released: Released) -> Released:
    """``rewrite_for_row_access``, only for statements that name a view or a table with a policy."""

    def rewrite(sql: str, *, catalog: Any, **rest: Any) -> str:
        tables = tables_of(sql)
        if tables is None or any(_is_guarded(catalog, path) for path in tables):
            return str(released(sql, catalog=catalog, **rest))
        return sql

    return rewrite


def _is_guarded(catalog: Any, path: Path) -> bool:
    table = catalog.get_table(*path)
    return (table is not None and table.table_type != "TABLE") or bool(catalog.list_row_access_policies(*path))


def columns_by_shape(released: Released) -> Released:
    """``build_catalog_schema``, from the tables of the shape."""
    kind_of: Released = bqemulator.sql.catalog_schema._safe_bq_to_duckdb

    def columns(sql: str, *, catalog: Any, **rest: Any) -> dict[str, dict[str, str]]:
        tables = tables_of(sql)
        if tables is None:
            return dict(released(sql, catalog=catalog, **rest))
        found = {}
        for path in tables:
            table = catalog.get_table(*path)
            kinds = {} if table is None else {one.name: kind_of(one.type) for one in table.schema_.fields}
            if known := {name: kind for name, kind in kinds.items() if kind is not None}:
                found[path[2]] = known
        return found

    return columns


def install() -> None:
    """Patches bqemulator in this process, for good."""
    # Any: mypy does not let a method be replaced, nor a name that is only imported by its module.
    translator: Any = SQLTranslator
    executor: Any = bqemulator.jobs.executor
    translations = Translations()
    translator.translate = translations.translate(translator.translate)
    executor.rewrite_table_refs = translations.qualify(executor.rewrite_table_refs)
    executor.classify_statement_type = classified_once(executor.classify_statement_type)
    jobs: Any = bqemulator.api.routes.jobs
    jobs.classify_statement_type = executor.classify_statement_type
    inner: Any = bqemulator.sql.inner_query
    inner.rewrite_for_row_access = unguarded(inner.rewrite_for_row_access)
    inner.build_catalog_schema = columns_by_shape(inner.build_catalog_schema)


def _keep(kept: dict[Any, Any], key: object, value: object) -> None:
    if len(kept) >= _KEPT_SHAPES:
        kept.pop(next(iter(kept)))
    kept[key] = value
