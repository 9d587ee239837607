"""A table of the local BigQuery says how many partitions it has.

Mends in bqemulator 1.4.0: ``numPartitions`` is missing. Google's is late by up to some minutes; here it is exact:
https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table.FIELDS.num_partitions
"""

# Column names come through bqemulator's whitelist of identifiers.
# ruff: noqa: S608

from __future__ import annotations

from typing import Annotated, Any

import bqemulator.api.app
import bqemulator.api.routes.tables
from bqemulator.api.dependencies import AppContext, get_context
from bqemulator.storage.sql_identifiers import quoted_table_ref
from fastapi import APIRouter, Depends

_Ctx = Annotated[AppContext, Depends(get_context)]
_FIRST_YEAR, _LAST_YEAR = 1960, 2159
"""Dates outside share one partition, and so do rows without one:
https://docs.cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables"""


def router() -> APIRouter:
    """The route, which goes before the one of the release."""
    routes, tables_api = APIRouter(prefix="/bigquery/v2"), bqemulator.api.routes.tables

    # No coroutine: what worker threads ask sees what is committed (`engine`).
    @routes.get("/projects/{project_id}/datasets/{dataset_id}/tables/{table_id}")
    def get_table(project_id: str, dataset_id: str, table_id: str, ctx: _Ctx) -> dict[str, Any]:
        body: dict[str, Any] = tables_api.get_table(project_id, dataset_id, table_id, ctx)
        by = body.get("timePartitioning", {})
        if body["type"] == "TABLE" and by.get("field"):
            name = quoted_table_ref(project_id, dataset_id, table_id)
            body["numPartitions"] = str(_count(name, by["field"], by["type"], ctx))
        return body

    return routes


def _count(table: str, column: str, unit: str, ctx: AppContext) -> int:
    within = f'year("{column}") BETWEEN {_FIRST_YEAR} AND {_LAST_YEAR}'
    cut = f"date_trunc('{unit.lower()}', \"{column}\")"
    cell = f"CASE WHEN \"{column}\" IS NULL THEN 'none' WHEN {within} THEN CAST({cut} AS VARCHAR) ELSE 'outside' END"
    found = ctx.engine.execute(f"SELECT COUNT(DISTINCT {cell}) FROM {table}").fetchone()
    return int(found[0]) if found else 0


def install() -> None:
    """Patches bqemulator in this process, for good."""
    app: Any = bqemulator.api.app
    both = APIRouter()
    both.include_router(router())
    both.include_router(app.tables_router)
    app.tables_router = both
