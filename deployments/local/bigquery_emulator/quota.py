"""BigQuery's limits, as the local BigQuery keeps them and as a test can order them.

Mends in bqemulator 1.4.0: it has no limits, so that nothing here would meet a refusal before production does.

Counted for real: 1,500 load and copy jobs per table and day, failed ones too
(https://docs.cloud.google.com/bigquery/quotas#load_jobs); the day ends at midnight Pacific time. Ordered over HTTP::

    POST   /gapless/quota   {"table": "games", "reason": "quotaExceeded", "after_jobs": 2, "times": 1}
    POST   /gapless/quota   {"loads_per_table_per_day": 3}
    GET    /gapless/quota   limits, counts, rules and how often each one answered
    DELETE /gapless/quota   forgets rules and counts, restores the limits
    GET    /gapless/ready   200 once the self-check passed

A rule lets ``after_jobs`` matching jobs pass, then refuses ``times`` of them (null = all). ``table`` is a table id or
``*``; ``kind`` is ``load``, ``query``, ``copy`` or ``any``. With ``"when": "after"`` the job is done and recorded and
only then refused: the answer that got lost. Keys: see `Rule`.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, datetime
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from bqemulator.domain.errors import DomainError
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

LOADS_PER_TABLE_PER_DAY = 1_500
PARTITIONS_PER_JOB = 4_000
_RESET_ZONE = ZoneInfo("America/Los_Angeles")
_STATUS = {"quotaExceeded": 403, "rateLimitExceeded": 403, "backendError": 503, "internalError": 500}
_TEXT = {
    "quotaExceeded": "Quota exceeded: Your table exceeded quota for imports or query appends per table. For more "
    "information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
    "rateLimitExceeded": "Exceeded rate limits: too many table update operations for this table. For more "
    "information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
    "backendError": "Error encountered during execution. Retrying may solve the problem.",
    "internalError": "An internal error occurred and the request could not be completed.",
}
Reason = Literal["quotaExceeded", "rateLimitExceeded", "backendError", "internalError"]


class Refused(DomainError):
    """A job refused with a reason that BigQuery's error table lists, under the HTTP status it has there."""

    grpc_status_name: ClassVar[str] = "RESOURCE_EXHAUSTED"

    def __init__(self, reason: str, message: str = "") -> None:
        self.http_status = _STATUS[reason]  # type: ignore[misc]
        self.bq_reason = reason  # type: ignore[misc]
        super().__init__(message or _TEXT[reason])


class Rule(BaseModel):
    """One ordered refusal."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = "quotaExceeded"
    table: str = "*"
    kind: Literal["load", "query", "copy", "any"] = "any"
    when: Literal["before", "after"] = "before"
    after_jobs: int = Field(default=0, ge=0)
    times: int | None = Field(default=1, ge=1)
    seen: int = 0
    answered: int = 0

    def strikes(self, kind: str, tables: set[str], when: str) -> bool:
        """Counts a matching job; True if it is to be refused."""
        if self.when != when or self.kind not in ("any", kind):
            return False
        if self.table != "*" and not any(
            table in (self.table, table.partition(".")[0] + "." + self.table) for table in tables
        ):
            return False
        self.seen += 1
        if self.seen <= self.after_jobs or (self.times is not None and self.answered >= self.times):
            return False
        self.answered += 1
        return True


class Limits(BaseModel):
    """The limits in force."""

    model_config = ConfigDict(extra="forbid")

    loads_per_table_per_day: int = Field(default=LOADS_PER_TABLE_PER_DAY, ge=0)
    partitions_per_job: int = Field(default=PARTITIONS_PER_JOB, ge=0)


class Quota:
    """Counts and rules of one running emulator. Used from its event loop only."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.rules: list[Rule] = []
        self.loads: Counter[tuple[date, str]] = Counter()
        self.ready = False

    def reset(self) -> None:
        """Forgets rules and counts, restores the limits."""
        self.limits = Limits()
        self.rules.clear()
        self.loads.clear()

    def admit(self, kind: str, tables: set[str], now: datetime) -> None:
        """Lets a job in and counts it, or refuses it.

        Args:
            kind: ``load``, ``query`` or ``copy``.
            tables: ``dataset.table`` of those it writes, decorator removed; for a query every word of its text.
            now: Aware moment of the job.

        Raises:
            Refused: A rule strikes, or the day's loads of the table are used up.
        """
        self._strike(kind, tables, "before")
        if kind == "query":
            return
        for table in tables:
            key = (_pacific_day(now), table)
            if self.loads[key] >= self.limits.loads_per_table_per_day:
                raise Refused("quotaExceeded")
            self.loads[key] += 1

    def lose_answer(self, kind: str, tables: set[str]) -> None:
        """Raises `Refused` after a job was done, if a rule with ``when: after`` asks for it."""
        self._strike(kind, tables, "after")

    def _strike(self, kind: str, tables: set[str], when: str) -> None:
        for rule in self.rules:
            if rule.strikes(kind, tables, when):
                raise Refused(rule.reason)

    def remember(self, table: str, created: datetime) -> None:
        """Counts a load that an earlier run of the emulator recorded."""
        self.loads[_pacific_day(created), table] += 1

    def state(self) -> dict[str, Any]:
        """Everything, as JSON."""
        loads = [{"day": str(day), "table": table, "loads": n} for (day, table), n in sorted(self.loads.items())]
        return {"limits": self.limits.model_dump(), "loads": loads, "rules": [rule.model_dump() for rule in self.rules]}


def _pacific_day(moment: datetime) -> date:
    return moment.astimezone(_RESET_ZONE).date()


def router(quota: Quota) -> APIRouter:
    """The control endpoint described above."""
    routes = APIRouter(prefix="/gapless")

    @routes.get("/ready")
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": quota.ready}, status_code=200 if quota.ready else 503)

    @routes.get("/quota")
    async def show() -> dict[str, Any]:
        return quota.state()

    @routes.post("/quota")
    async def order(request: Request) -> JSONResponse:
        try:
            wish = json.loads(await request.body())
            if {*wish} & {*Limits.model_fields}:
                quota.limits = Limits.model_validate({**quota.limits.model_dump(), **wish})
            else:
                quota.rules.append(Rule.model_validate(wish))
        except (ValidationError, ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse(quota.state())

    @routes.delete("/quota")
    async def forget() -> dict[str, Any]:
        quota.reset()
        return quota.state()

    return routes
