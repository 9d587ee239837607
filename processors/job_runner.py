"""Runs a BigQuery job under an id of our own, so that a repeat finds it instead of doing it twice.

A 409 has two meanings. The client repeats a request whose answer was lost and then collides with its own, successful
job: a random writer label, set per call, proves that. Otherwise an earlier call (perhaps of a killed process) used the
id: that job is waited for, and reused only if its effect still stands; if not, the id is burnt and the next attempt
number is tried.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.api_core import exceptions as api
from google.api_core.retry import Retry

from alerting.errors import CriticalError, PipelineError, WarehouseBusy
from processors.load_plan import TableBatch
from processors.warehouse_errors import translated
from scrapers.scrape import nothing

Job = Any
"""LoadJob or QueryJob. The client types a found job as a union of six kinds, which no caller can use."""

Submit = Callable[[str, dict[str, str]], Job]

MAX_ATTEMPTS = 200
_WRITER = "gapless_writer"
_VISIBLE_AFTER_S = 10.0


class JobRunner:
    """See the module.

    Args:
        find: Gets a job by its id; raises ``NotFound``.
        dataset: ``project.dataset``, part of the ids.
        retry: For single calls.
        timeout_s: For waiting on one job.
        delays_s: Waits before a job that failed for a passing reason runs again under the next id.
    """

    def __init__(
        self, find: Callable[[str], Job], dataset: str, retry: Retry, *, timeout_s: float, delays_s: Sequence[float]
    ) -> None:
        self._find = find
        self._dataset = dataset
        self._retry = retry
        self._timeout_s = timeout_s
        self._delays_s = tuple(delays_s)

    def run(
        self,
        batch: TableBatch,
        step: str,
        submit: Submit,
        *,
        reusable: Callable[[], bool],
        may_begin: Callable[[], None] = nothing,
    ) -> Job:
        """The finished, successful job of ``step``.

        Args:
            batch: Names the ids.
            step: ``load`` or ``replace``.
            submit: Starts the job under an id with labels, by one request; raises what the client raises.
            reusable: Whether the effect of a successful job of an earlier call still stands.
            may_begin: Called right before each request that starts a job, also after a wait; raises where it must not
                be sent.

        Raises ``WarehouseBusy`` when passing failures outlast the delays, or the job runs longer than ``timeout_s``:
        it goes on, and the next call waits for it. Otherwise as in `processors.warehouse_errors`.
        """
        writer = uuid.uuid4().hex
        job_labels = labels({"source_table": batch.table.name, "backfill": batch.backfill_id, _WRITER: writer})
        delays_s = iter(self._delays_s)
        for attempt in itertools.count(1):
            if attempt > MAX_ATTEMPTS:
                raise CriticalError(
                    f"{step} of {batch.table.name}: {MAX_ATTEMPTS} job ids are used up; the table is as it was",
                    stage="load",
                    hint="start a new backfill: its id gives new job ids",
                )
            job_id = batch.job_id(self._dataset, step, attempt)
            job, is_mine = self._submitted(submit, job_id, job_labels, may_begin)
            failure = self._failure(job, f"{step} of {batch.table.name}")
            if failure is None and (is_mine or reusable()):
                return job
            if failure is None or not is_mine:
                continue
            delay_s = next(delays_s, None) if isinstance(failure, WarehouseBusy) else None
            if delay_s is None:
                raise failure
            time.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        raise AssertionError

    def _submitted(
        self, submit: Submit, job_id: str, job_labels: dict[str, str], may_begin: Callable[[], None]
    ) -> tuple[Job, bool]:
        """The job under that id, and whether this call started it."""

        def begun() -> Job:
            may_begin()
            return submit(job_id, job_labels)

        try:
            # Not the client's own repeats, which ask nobody: they go on for two minutes, and a lease is shorter.
            return self._retry(begun)(), True
        except PipelineError:
            raise
        except api.Conflict:
            job = self._existing(job_id)
            return job, (job.labels or {}).get(_WRITER) == job_labels[_WRITER]
        except Exception as error:
            raise self._translated(error, f"start of job {job_id}") from error

    def _existing(self, job_id: str) -> Job:
        # A job that was just refused as existing may be invisible for a moment (python-bigquery issue 2134).
        deadline = time.monotonic() + _VISIBLE_AFTER_S
        while True:
            try:
                return self._find(job_id)
            except api.NotFound as error:
                if time.monotonic() > deadline:
                    raise WarehouseBusy(f"job {job_id} exists, but cannot be found", stage="load") from error
                time.sleep(0.2)
            except Exception as error:
                raise self._translated(error, f"look at job {job_id}") from error

    def _failure(self, job: Job, action: str) -> PipelineError | None:
        """Waits for the end; None is success. Raises when the job's end is not known."""
        if job.state == "DONE" and not job.error_result:
            # The answer to its start says so: nothing is asked again.
            return None
        try:
            options: dict[str, Any] = {"job_retry": None} if job.job_type == "query" else {}
            job.result(retry=self._retry, timeout=self._timeout_s, **options)
        except concurrent.futures.TimeoutError as error:
            raise WarehouseBusy(
                f"{action}: job {job.job_id} still runs after {self._timeout_s:.0f} s; the next try waits for it",
                stage="load",
            ) from error
        except Exception as error:
            failure = self._translated(error, action).located(hint=f"bq show -j {job.job_id}")
            if not job.error_result:
                raise failure from error
            failure.facts.setdefault("job_id", job.job_id)
            return failure
        return None

    def _translated(self, error: Exception, action: str) -> PipelineError:
        return translated(error, action, dataset=self._dataset)


def labels(values: Mapping[str, str]) -> dict[str, str]:
    """BigQuery job labels: lower case letters, digits, ``_`` and ``-``, at most 63 characters.

    >>> labels({"backfill": "NBA 2025/01"})
    {'backfill': 'nba-2025-01'}
    """
    return {name: re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63] for name, value in values.items()}
