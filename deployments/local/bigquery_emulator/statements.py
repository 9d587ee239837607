"""Before the local BigQuery runs a statement, Google's analyzer reads it, and its bytes are counted.

Mends in bqemulator 1.4.0: ``maximumBytesBilled`` stops nothing, and ``MERGE ... ON FALSE``, the statement that replaces
the days of a batch, takes time by the square of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, cast

import bqemulator.api.routes.jobs
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import JobMeta, TableMeta
from bqemulator.domain.errors import InvalidQueryError, ValidationError

from deployments.local.bigquery_emulator.analysis import StatementCheck
from deployments.local.bigquery_emulator.byte_counts import bytes_billed, bytes_read, reads_of
from deployments.local.bigquery_emulator.googlesql import GoogleSql, GoogleSqlError

_max_bytes_billed: ContextVar[int | None] = ContextVar("max_bytes_billed", default=None)
Parameters = Sequence[Mapping[str, Any]]


class BytesBilledLimitExceeded(InvalidQueryError):
    """The query would be billed for more than its ``maximumBytesBilled``."""

    bq_reason: ClassVar[str] = "bytesBilledLimitExceeded"


class Statements:
    """Checks and counts; used from the event loop of one emulator only."""

    def __init__(self, analyzer: GoogleSql) -> None:
        self._check = StatementCheck(analyzer)

    def admit(self, project: str, sql: str, parameters: Parameters, ctx: AppContext) -> dict[str, str]:
        """The statistics that BigQuery would report, which are also those of its dry run.

        Raises:
            InvalidQueryError: Google's analyzer refuses the statement.
            BytesBilledLimitExceeded: See the class.
        """

        def look(path: tuple[str, ...]) -> TableMeta | None:
            names = [name for segment in path for name in segment.split(".")]
            if len(names) == 2:
                names = [project, *names]
            return ctx.catalog.get_table(*names) if len(names) == 3 else None

        try:
            analysed = self._check.check(sql, parameters, look)
        except GoogleSqlError as error:
            raise InvalidQueryError(str(error), location="query") from error
        reads = [read for one in analysed for read in reads_of(one, parameters)]
        size_bytes = bytes_read(reads, ctx)
        billed, limit = bytes_billed(reads, size_bytes), _max_bytes_billed.get()
        if limit is not None and billed > limit:
            raise BytesBilledLimitExceeded(
                f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required."
            )
        return {"totalBytesProcessed": str(size_bytes), "totalBytesBilled": str(billed)}


@contextmanager
def limited_bytes(config: Mapping[str, Any]) -> Iterator[None]:
    """Holds the statements of this task to the ``maximumBytesBilled`` of a query job's configuration."""
    limit = config.get("query", {}).get("maximumBytesBilled")
    if limit is not None and not str(limit).isdecimal():
        raise ValidationError(
            f"Invalid value at 'job.configuration.query.maximum_bytes_billed.value' (TYPE_INT64), \"{limit}\""
        )
    token = _max_bytes_billed.set(None if limit is None or config.get("dryRun") else int(limit))
    try:
        yield
    finally:
        _max_bytes_billed.reset(token)


def install(statements: Statements) -> None:
    """Patches bqemulator in this process, for good."""
    jobs_api: Any = bqemulator.api.routes.jobs
    released_execute = jobs_api.execute_query_job
    released_preview = jobs_api._dry_run_response
    released_dry_run = jobs_api._build_dry_run_query_response

    async def execute(
        project_id: str, job_id: str, bq_sql: str, query_params: Any, ctx: AppContext, **rest: Any
    ) -> JobMeta:
        counted = statements.admit(project_id, bq_sql, query_params or (), ctx)
        job: JobMeta = await released_execute(project_id, job_id, _joinable(bq_sql), query_params, ctx, **rest)
        job.statistics.setdefault("query", {}).update(counted)
        job.statistics["totalBytesProcessed"] = counted["totalBytesProcessed"]
        return job

    async def preview(**given: Any) -> dict[str, Any]:
        if given["wire_shape"] == "insert":  # admitted by dry_run below
            return cast("dict[str, Any]", await released_preview(**given))
        counted = statements.admit(given["project_id"], given["bq_sql"], given["query_params"] or (), given["ctx"])
        return {**await released_preview(**given), "totalBytesProcessed": counted["totalBytesProcessed"]}

    async def dry_run(**given: Any) -> dict[str, Any]:
        counted = statements.admit(given["project_id"], given["bq_sql"], given["query_params"] or (), given["ctx"])
        answer: dict[str, Any] = await released_dry_run(**given)
        answer["statistics"]["query"].update(counted, totalBytesBilled="0")
        answer["statistics"]["totalBytesProcessed"] = counted["totalBytesProcessed"]
        return answer

    jobs_api.execute_query_job = execute
    jobs_api._dry_run_response = preview
    jobs_api._build_dry_run_query_response = dry_run


def _joinable(sql: str) -> str:
    """BigQuery runs ``MERGE ... ON FALSE`` as DELETE and INSERT; DuckDB compares every row with every row (20,000 with
    20,000: 11 s, four times that for twice the rows). Another condition that is never true can be hashed: 0.2 s.

    Rows from a SELECT in brackets have no number of their own, and take that of their table along."""
    sql = re.sub(
        r"^(\s*MERGE\b.*?\b\w+\s+USING\s+\(SELECT \*)( FROM .*?\)\s+\w+\s+ON\s+FALSE\b)",
        r"\1, rowid\2",
        sql,
        flags=re.IGNORECASE | re.DOTALL,
    )
    return re.sub(
        r"^(\s*MERGE\b.*?\b)(\w+)(\s+USING\s+(?:\(.*?\)|\S+)\s+)(\w+)\s+ON\s+FALSE\b",
        r"\1\2\3\4 ON \2.rowid = \4.rowid AND \2.rowid IS NULL",
        sql,
        flags=re.IGNORECASE | re.DOTALL,
    )
