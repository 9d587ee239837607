"""Views of the local BigQuery tell how they are defined, word by word, and what they are: as BigQuery does."""

from __future__ import annotations

import re
from typing import Any

import bqemulator.api.routes.tables
import bqemulator.jobs.executor
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import TableMeta

_CREATED = re.compile(
    r"^\s*CREATE\s+(?:OR\s+REPLACE\s+)?VIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?`(?P<name>[^`]+)`\s*"
    r"(?:OPTIONS\s*\(\s*description\s*=\s*'(?P<description>[^'\\]*)'\s*\)\s*)?AS\s+(?P<query>.+?)\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)


def install() -> None:
    """Patches bqemulator in this process, for good."""
    tables_api: Any = bqemulator.api.routes.tables
    executor: Any = bqemulator.jobs.executor
    released_rest, released_sync = tables_api._table_to_rest, executor.sync_created_view

    def to_rest(table: TableMeta) -> dict[str, Any]:
        body: dict[str, Any] = released_rest(table)
        if table.table_type == "VIEW" and table.view_query:
            body["view"] = {"query": table.view_query, "useLegacySql": False}
        return body

    def sync(sql: str, project: str, ctx: AppContext) -> None:
        released_sync(sql, project, ctx)
        found = _CREATED.match(sql)
        names = found["name"].split(".") if found else []
        if found is None or not 2 <= len(names) <= 3:
            return
        made = ctx.catalog.get_table(*([project, *names] if len(names) == 2 else names))
        if made is not None:
            told = {"view_query": found["query"], "description": found["description"]}
            ctx.catalog.update_table(made.model_copy(update=told))

    tables_api._table_to_rest = to_rest
    executor.sync_created_view = sync
