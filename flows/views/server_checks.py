"""The part of preflight that asks the Prefect server: API, work pool, deployment, deployed version, shared rate."""

from __future__ import annotations

import asyncio
import datetime as dt
import math

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from alerting.wording import plural
from flows.child_runs.shared_rate import bucket, calls_per_second, limit_name
from flows.settings import code_version
from flows.views.preflight import Checked
from scrapers.pace.rate_limits import described
from scrapers.rate import Rate
from scrapers.registry import account_of
from scrapers.transport import socks_remedy

_ANSWER_TIMEOUT_S = 15.0
PROVISION = "python -m deployments.provision"


def server_checks(source: str, rate: Rate) -> list[Checked]:
    """API reachable, the source's limit there, its deployment of this version, its work pool with a living worker."""
    return asyncio.run(_server_checks(source, rate))


async def missing_server() -> Checked | None:
    """What is wrong with the Prefect server of this environment before anything is asked of it; None where it answers.

    Without an address Prefect would start a server of its own, in which nobody looks.
    """
    address = get_current_settings().api.url
    if not address:
        return Checked(
            "prefect api", "fail", "PREFECT_API_URL is not set", "source .gapless/env, or export PREFECT_API_URL=..."
        )
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S), get_client() as client:
            problem = await client.api_healthcheck()
    except Exception as error:  # Prefect passes on what its HTTP library raises, which is not imported here
        return _unreachable(address, error)
    return None if problem is None else _unreachable(address, problem)


async def _server_checks(source: str, rate: Rate) -> list[Checked]:
    deployment = f"backfill/{source}"
    missing, address = await missing_server(), get_current_settings().api.url or ""
    if missing is not None:
        return [missing]
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S), get_client() as client:
            checks = [
                Checked("prefect api", "pass", f"{address} answers"),
                await _shared_rate(client, source, rate),
            ]
            found = await _deployment(client, deployment)
            if found is None:
                return [*checks, Checked("deployment", "fail", f"there is no {deployment}", PROVISION)]
            return [*checks, *_deployed(found), await _work_pool(client, found.work_pool_name or "")]
    except Exception as error:  # Prefect passes on what its HTTP library raises, which is not imported here
        return [_unreachable(address, error)]


def _unreachable(address: str, error: Exception) -> Checked:
    if getattr(getattr(error, "response", None), "status_code", 0) == 401:
        detail = f"{address} answers 401: PREFECT_API_AUTH_STRING is not the server's PREFECT_SERVER_API_AUTH_STRING"
        return Checked("prefect api", "fail", detail, "source .gapless/env, or export PREFECT_API_AUTH_STRING=...")
    if isinstance(error, ImportError) and (remedy := socks_remedy()):
        return Checked("prefect api", "fail", f"{address} cannot be asked: {str(error)[:200]}", remedy)
    detail = f"{address} does not answer: {type(error).__name__} {str(error)[:200]}"
    return Checked("prefect api", "fail", detail, "make up, or start the server that PREFECT_API_URL names")


async def _deployment(client: PrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _deployed(found: DeploymentResponse) -> list[Checked]:
    here = code_version()
    checks = [Checked("deployment", "pass", "there, not paused")]
    if found.paused:
        # What is started by hand begins all the same (seen with 3.8.8).
        checks = [
            Checked("deployment", "warn", "paused: its schedules begin no run", "resume it in the UI: Deployments")
        ]
    if found.version == here:
        return [*checks, Checked("code version", "pass", f"{here}, here and deployed")]
    detail = f"deployed {found.version or 'without a version'}, here {here}"
    return [*checks, Checked("code version", "warn", detail, f"deploy this one: {PROVISION}")]


async def _shared_rate(client: PrefectClient, source: str, rate: Rate) -> Checked:
    """What keeps the windows of a distributed run below the rate together; a run in one process does without."""
    account = account_of(source)
    if account != source:
        return Checked("shared rate", "pass", f"kept in the bucket, for all sources of the account {account}")
    wanted, name = bucket(rate), limit_name(source)
    if wanted is None:
        return Checked("shared rate", "pass", "the source declares no rate")
    try:
        found = await client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        return Checked("shared rate", "warn", f"there is no limit {name}: distributed windows would stop", PROVISION)
    if found.limit != wanted[0] or not math.isclose(found.slot_decay_per_second, wanted[1], rel_tol=1e-6):
        return Checked(
            "shared rate", "warn", f"{name} was provisioned for another rate than {described(rate)}", PROVISION
        )
    return Checked("shared rate", "pass", f"{calls_per_second(rate):.3g} calls a second for all windows together")


async def _work_pool(client: PrefectClient, name: str) -> Checked:
    try:
        pool = await client.read_work_pool(name)
        workers = await client.read_workers_for_work_pool(name)
    except ObjectNotFound:
        return Checked("work pool", "fail", f"there is no work pool {name!r}", PROVISION)
    online = [worker for worker in workers if worker.status is WorkerStatus.ONLINE]
    remedy = f"prefect worker start --pool {name}"
    if pool.is_paused:
        return Checked("work pool", "fail", f"{name} is paused", f"prefect work-pool resume {name}")
    if not online:
        seen = max((worker.last_heartbeat_time for worker in workers if worker.last_heartbeat_time), default=None)
        return Checked("work pool", "fail", f"no worker of {name} is online, last seen {_at(seen)}", remedy)
    return Checked("work pool", "pass", f"{name}: {plural(len(online), 'worker')} online")


def _at(instant: dt.datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant else "never"
