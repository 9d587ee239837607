"""The local BigQuery parses a statement once per dialect, however often bqemulator asks.

Mends in bqemulator 1.4.0: a ``SELECT`` is parsed seventeen times by sqlglot, to classify it, to look for every kind of
DDL, and before each rewriting. That is 46 % of its CPU in a backfill of a year, on the path that a batch waits for. Six
of the looks are for DDL; a statement that begins as a query or as DML is none, and is not read for them at all. Two are
for the tables that DML writes; one that begins as a query writes none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from typing import Any

import bqemulator.catalog.ddl_sync
import bqemulator.jobs.executor
import bqemulator.sql.translator
from sqlglot.dialects.dialect import Dialect

_KEPT_STATEMENTS = 64
_QUERY = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)
_NO_DDL = re.compile(r"\s*(?:SELECT|WITH|MERGE|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)

Parse = Callable[..., list[Any]]


def install() -> None:
    """Patches sqlglot and bqemulator in this process, for good."""
    dialect: Any = Dialect
    dialect.parse = remembering(dialect.parse)
    # Any: these names are private, or only imported by their modules.
    sync: Any = bqemulator.catalog.ddl_sync
    executor: Any = bqemulator.jobs.executor
    translator: Any = bqemulator.sql.translator
    for look in ("_detect_catalog_drop", "_detect_create_schema", "_detect_plain_create_table"):
        setattr(sync, look, of_ddl(getattr(sync, look), lambda _sql: None))
    sync._detect_plain_create_view = of_ddl(sync._detect_plain_create_view, lambda _sql: (None, None))
    executor.detect_drop_routine = of_ddl(executor.detect_drop_routine, lambda _sql: None)
    executor._reject_dml_on_immutable = of_dml(executor._reject_dml_on_immutable)
    executor._capture_dml_snapshots = of_dml_later(executor._capture_dml_snapshots)
    translator.rewrite_create_table_schema_ctas = of_ddl(translator.rewrite_create_table_schema_ctas, lambda sql: sql)


def of_ddl(look: Callable[..., Any], otherwise: Callable[[str], Any]) -> Callable[..., Any]:
    """``look``, which has nothing to say of a statement that is no DDL: it is answered by ``otherwise``, unread."""

    def looking(sql: str, *rest: Any) -> Any:
        return otherwise(sql) if _NO_DDL.match(sql) else look(sql, *rest)

    return looking


def of_dml(look: Callable[..., None]) -> Callable[..., None]:
    """``look`` at the tables that a statement writes, given its project and text; not done for a query."""

    def looking(project: str, sql: str, *rest: Any) -> None:
        if not _QUERY.match(sql):
            look(project, sql, *rest)

    return looking


def of_dml_later(look: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """`of_dml` for a coroutine."""

    async def looking(project: str, sql: str, *rest: Any) -> None:
        if not _QUERY.match(sql):
            await look(project, sql, *rest)

    return looking


def remembering(parse: Parse) -> Parse:
    """``parse`` for a dialect, a text and options, that reads a text again only when 64 others came since.

    Every caller gets trees of its own, because some change theirs; a copy costs 0.4 of a parse.
    """

    @functools.lru_cache(_KEPT_STATEMENTS)
    def kept(dialect: Any, _version: object, _normalization: object, sql: str) -> list[Any]:
        return parse(dialect, sql)

    def remembered(dialect: Any, sql: str, **options: Any) -> list[Any]:
        if options or dialect.settings:
            return parse(dialect, sql, **options)
        # Dialects are equal by type, whatever their version.
        trees = kept(dialect, dialect.version, dialect.normalization_strategy, sql)
        return [tree if tree is None else tree.copy() for tree in trees]

    return remembered
