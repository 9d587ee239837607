"""``jobs.query`` of the local BigQuery: a SELECT that is answered at once leaves no job, where its caller wants it so.

Mends in bqemulator 1.4.0: ``jobCreationMode`` is not read, so every query leaves a job; one that fails is answered as
one without rows, which Google's client takes for an empty table; ``requestId`` is not read, so a statement whose answer
was lost runs again; and limits, quota and bytes are those of other requests.

Google: https://docs.cloud.google.com/bigquery/docs/running-queries#optional-job-creation and
https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query. When it makes a job all the same is its own
choice; here it is for rows that do not fit into one answer, and for whatever is no single SELECT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast
from uuid import uuid4

import bqemulator.api.app
from bqemulator.api.dependencies import AppContext, get_caller, get_context
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import AlreadyExistsError, DomainError, InvalidQueryError
from bqemulator.jobs.executor import JOB_RESULTS, JOB_SCHEMAS
from bqemulator.row_access.identity import CallerIdentity
from bqemulator.storage.arrow_bridge import arrow_table_to_bq_rows
from fastapi import APIRouter, Depends, Request

from deployments.local.bigquery_emulator.jobs import Jobs, jobs_api

_ROWS_PER_ANSWER = 10_000
_OF_JOBS = ("labels", "jobTimeoutMs")
"""Beside ``query`` in the configuration of a job; what else a request has is inside of it."""
_STATUS = {"notFound": 404, "duplicate": 409, "accessDenied": 403}
_Ctx = Annotated[AppContext, Depends(get_context)]
_Caller = Annotated[CallerIdentity, Depends(get_caller)]


class QueryFailed(DomainError):
    """Told by the status of the answer, as there may be no job that could be asked."""

    def __init__(self, error: Mapping[str, str]) -> None:
        self.http_status = _STATUS.get(error["reason"], 400)  # type: ignore[misc]
        self.bq_reason = error["reason"]  # type: ignore[misc]
        super().__init__(error["message"], location=error.get("location"))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request says of its answer."""

    is_job_optional: bool
    rows: int

    @staticmethod
    def by(body: Mapping[str, Any]) -> _Asked:
        most = body.get("maxResults")
        return _Asked(
            body.get("jobCreationMode") == "JOB_CREATION_OPTIONAL", _ROWS_PER_ANSWER if most is None else int(most)
        )

    def needs_job(self, job: JobMeta) -> bool:
        is_read = job.statistics.get("query", {}).get("statementType") == "SELECT"
        return not (self.is_job_optional and is_read) or JOB_RESULTS[job.job_id].num_rows > self.rows

    def reason(self, job: JobMeta) -> str:
        """A ``JobCreationReason``."""
        if not self.is_job_optional:
            return "REQUESTED"
        return "LARGE_RESULTS" if JOB_RESULTS[job.job_id].num_rows > self.rows else "OTHER"


def router(jobs: Jobs) -> APIRouter:
    """The route, which goes before the one of the release."""
    routes = APIRouter(prefix="/bigquery/v2")

    @routes.post("/projects/{project_id}/queries")
    async def query(project_id: str, request: Request, ctx: _Ctx, caller: _Caller) -> dict[str, Any]:
        body = await request.json()
        if body.get("dryRun"):
            return cast("dict[str, Any]", await jobs_api.query(project_id, request, ctx, caller))
        sql, asked = str(body.get("query", "")), _Asked.by(body)
        if not sql.strip():
            raise InvalidQueryError("Empty query")
        # What only reads ignores a requestId: https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query
        is_read = jobs_api.classify_statement_type(sql) == "SELECT"
        job_id = f"job_{(not is_read and body.get('requestId')) or uuid4().hex}"
        config = {
            "query": {name: value for name, value in body.items() if name not in _OF_JOBS},
            **{name: body[name] for name in _OF_JOBS if name in body},
        }
        try:
            job = await jobs.query(
                project_id, job_id, config, ctx, is_kept=asked.needs_job, caller=caller, now=ctx.clock.now()
            )
        except AlreadyExistsError:
            done = ctx.catalog.get_job(project_id, job_id)
            if done is None:
                raise
            job = done
        if job.error_result:
            raise QueryFailed(job.error_result)
        return _answer(job, asked)

    return routes


def _answer(job: JobMeta, asked: _Asked) -> dict[str, Any]:
    counted, rows = job.statistics["query"], JOB_RESULTS[job.job_id]
    answer: dict[str, Any] = {
        "kind": "bigquery#queryResponse",
        "jobComplete": True,
        "queryId": job.job_id,
        "location": "US",
        "schema": {"fields": JOB_SCHEMAS.get(job.job_id, [])},
        "rows": arrow_table_to_bq_rows(rows, limit=asked.rows),
        "totalRows": str(rows.num_rows),
        **{name: counted.get(name, "0") for name in ("totalBytesProcessed", "totalBytesBilled")},
    }
    jobs_api._attach_query_metadata(answer, job)
    if rows.num_rows > asked.rows:
        answer["pageToken"] = str(asked.rows)
    if asked.needs_job(job):
        answer["jobReference"] = {"projectId": job.project_id, "jobId": job.job_id, "location": "US"}
        answer["jobCreationReason"] = {"code": asked.reason(job)}
    else:
        del JOB_RESULTS[job.job_id]
        JOB_SCHEMAS.pop(job.job_id, None)
    return answer


def install(jobs: Jobs) -> None:
    """Patches bqemulator in this process, for good."""
    app: Any = bqemulator.api.app
    both = APIRouter()
    both.include_router(router(jobs))
    both.include_router(app.jobs_router)
    app.jobs_router = both
