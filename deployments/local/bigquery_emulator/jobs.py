"""Job ids of the local BigQuery: honoured everywhere, and used once.

Mends in bqemulator 1.4.0: an upload forgets the id of its job, and refuses the media type that Google's client sends; a
repeated id runs again, which doubles rows exactly where a backfill relies on "already exists"; the id of a failed load
is free again; pages of other sites are let in. This module replaces the job functions of its REST layer. The replaced
names are private, hence the pin that `server` checks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import bqemulator.api.routes.jobs
import bqemulator.api.routes.upload
import bqemulator.server
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import AlreadyExistsError, DomainError
from fastapi import FastAPI

from deployments.local.bigquery_emulator.contracts import check_job
from deployments.local.bigquery_emulator.load import execute_load, is_emulated
from deployments.local.bigquery_emulator.quota import Quota, router
from deployments.local.bigquery_emulator.staging import LoadProblem
from deployments.local.bigquery_emulator.statements import limited_bytes
from deployments.local.browser_guard import GuardedApp

_MAX_BODY_BYTES = 64 * 1024 * 1024
_ENVELOPE_JOB_ID = "_gapless_job_id"
Run = Callable[[], Awaitable[JobMeta]]
Judge = Callable[[JobMeta], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """What a job does, and whether what came of it needs one: a query may be answered without."""

    run: Run
    is_kept: Judge = lambda _: True


class Jobs:
    """Runs every job of one emulator: one at a time per id, admitted by the quota, recorded whatever its end."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._running: dict[tuple[str, str], asyncio.Event] = {}

    async def run(
        self, kind: str, project: str, job_id: str, config: dict[str, Any], ctx: AppContext, work: Work
    ) -> JobMeta:
        """Runs a job under its id and records it.

        Raises:
            AlreadyExistsError: The id was used before, by a success or a failure; a running twin is waited for.
            Refused: Quota. The id stays free if the job did not run.
            ValidationError: The id or a label is none for BigQuery.
        """
        check_job(job_id, config)
        key = (project, job_id)
        while key in self._running:
            await self._running[key].wait()
        if ctx.catalog.get_job(project, job_id) is not None:
            raise AlreadyExistsError(f"Already Exists: Job {project}:US.{job_id}")
        tables = _tables_of(kind, config)
        self.quota.admit(kind, tables, ctx.clock.now())
        done = self._running[key] = asyncio.Event()
        try:
            job = await work.run()
        except DomainError as error:
            ctx.catalog.upsert_job(_failed(_Asked(kind, project, job_id, config, ctx), error.bq_reason, error.message))
            raise
        else:
            if work.is_kept(job):
                ctx.catalog.upsert_job(job)
            self.quota.lose_answer(kind, tables)
            return job
        finally:
            del self._running[key]
            done.set()

    async def query(
        self,
        project: str,
        job_id: str,
        config: dict[str, Any],
        ctx: AppContext,
        is_kept: Judge = lambda _: True,
        **rest: Any,
    ) -> JobMeta:
        """A query job; a failure of its statement is answered by a finished job with ``errorResult``."""

        async def go() -> Any:
            with limited_bytes(config):
                return await _released_query(project, job_id, config, dry_run=False, ctx=ctx, **rest)

        return await self.run("query", project, job_id, config, ctx, Work(go, is_kept))

    async def load(self, project: str, job_id: str, config: dict[str, Any], ctx: AppContext) -> JobMeta:
        """A load job; its failures are answered as BigQuery does, by a finished job with ``errorResult``."""

        asked = _Asked("load", project, job_id, config, ctx)

        async def go() -> JobMeta:
            try:
                if is_emulated(config):
                    return await execute_load(project, job_id, config, ctx, self.quota.limits.partitions_per_job)
                return cast("JobMeta", await _released_load(project, job_id, config, ctx))
            except LoadProblem as problem:
                return _failed(asked, problem.reason, problem.message, problem.location)
            except DomainError:
                raise
            except Exception as error:  # whatever DuckDB objects to is the fault of the data
                return _failed(asked, "invalid", f"Error while reading data: {error}")

        return await self.run("load", project, job_id, config, ctx, Work(go))

    def remember(self, ctx: AppContext) -> None:
        """Counts the loads and copies that the catalog remembers, so that a restart resets no quota."""
        for project in {dataset.project_id for dataset in ctx.catalog.list_all_datasets()}:
            for job in ctx.catalog.list_jobs(project, state_filter=None, max_results=1_000_000):
                if job.job_type in ("LOAD", "COPY"):
                    for table in _tables_of(job.job_type.lower(), job.configuration):
                        self.quota.remember(table, job.creation_time)


# Any: what follows takes and replaces names that these modules do not export.
jobs_api: Any = bqemulator.api.routes.jobs
upload_api: Any = bqemulator.api.routes.upload
server: Any = bqemulator.server
_released_load = jobs_api.execute_load_job
_released_query = jobs_api._handle_query_job
_released_copy = jobs_api.execute_copy_job
_released_extract = jobs_api.execute_extract_job
_released_envelope = upload_api._load_configuration_from_envelope
_released_app = server.create_app


def install(jobs: Jobs) -> None:
    """Patches bqemulator in this process, for good."""

    async def query(
        project_id: str, job_id: str, config: dict[str, Any], *, dry_run: bool, ctx: AppContext, **rest: Any
    ) -> JobMeta | dict[str, Any]:
        if not dry_run:
            return await jobs.query(project_id, job_id, config, ctx, **rest)
        with limited_bytes(config):
            return cast(
                "dict[str, Any]", await _released_query(project_id, job_id, config, dry_run=True, ctx=ctx, **rest)
            )

    def once(kind: str, released: Any) -> Any:
        async def run(project_id: str, job_id: str, config: dict[str, Any], ctx: AppContext) -> JobMeta:
            return await jobs.run(
                kind, project_id, job_id, config, ctx, Work(lambda: released(project_id, job_id, config, ctx))
            )

        return run

    async def upload(
        *, project_id: str, configuration: dict[str, Any], media_path: str, ctx: AppContext
    ) -> tuple[str, JobMeta]:
        job_id = configuration.get(_ENVELOPE_JOB_ID) or upload_api._new_job_id()
        config = {key: value for key, value in configuration.items() if key != _ENVELOPE_JOB_ID}
        config["load"] = {**config["load"], "sourceUris": [f"file://{media_path}"]}
        return job_id, await jobs.load(project_id, job_id, config, ctx)

    def app(context: AppContext) -> FastAPI:
        jobs.remember(context)
        made: FastAPI = _released_app(context)
        made.include_router(router(jobs.quota))
        # Our load path stages its rows in Cloud Storage; what is sent here are rows of tests.
        made.add_middleware(GuardedApp, max_body_bytes=_MAX_BODY_BYTES)
        return made

    jobs_api._handle_query_job = query
    jobs_api._handle_load_job_with_async_envelope = jobs.load
    jobs_api.execute_copy_job = once("copy", _released_copy)
    jobs_api.execute_extract_job = once("extract", _released_extract)
    upload_api._run_load = upload
    upload_api._load_configuration_from_envelope = _envelope
    # The official client sends the data part of load_table_from_json as `*/*`.
    upload_api._PERMITTED_MEDIA_CONTENT_TYPES = (*upload_api._PERMITTED_MEDIA_CONTENT_TYPES, "*/*")
    server.create_app = app


def _envelope(envelope: dict[str, Any]) -> dict[str, Any]:
    config = dict(_released_envelope(envelope))
    job_id = (envelope.get("jobReference") or {}).get("jobId")
    return {**config, _ENVELOPE_JOB_ID: job_id} if job_id else config


def _tables_of(kind: str, config: dict[str, Any]) -> set[str]:
    if kind == "query":
        return set(re.findall(r"[A-Za-z0-9_]+", str(config.get("query", {}).get("query", ""))))
    target = config.get(kind, {}).get("destinationTable") or {}
    return {f"{target.get('datasetId', '')}.{str(target.get('tableId', '')).partition('$')[0]}"} if target else set()


@dataclass(frozen=True)
class _Asked:
    """A job as it was asked for."""

    kind: str
    project: str
    job_id: str
    config: dict[str, Any]
    ctx: AppContext


def _failed(asked: _Asked, reason: str, message: str, location: str = "") -> JobMeta:
    error = {"reason": reason, "message": message, **({"location": location} if location else {})}
    now = asked.ctx.clock.now()
    return JobMeta(
        project_id=asked.project,
        job_id=asked.job_id,
        job_type=cast("Any", asked.kind.upper()),
        state="DONE",
        configuration=asked.config,
        statistics={asked.kind: {}},
        error_result=error,
        creation_time=now,
        start_time=now,
        end_time=now,
        etag=asked.job_id,
    )
