"""The part of preflight that asks the Prefect server: API, work pool, deployment, deployed version."""

from __future__ import annotations

import asyncio
import datetime as dt

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from flows.settings import code_version
from flows.views.preflight import Checked

_ANSWER_TIMEOUT_S = 15.0
PROVISION = "python -m deployments.provision"


def server_checks(deployment: str) -> list[Checked]:
    """API reachable, deployment there, its version this one, its work pool with a living worker."""
    return asyncio.run(_server_checks(deployment))


async def _server_checks(deployment: str) -> list[Checked]:
    address = get_current_settings().api.url
    if not address:
        return [
            Checked(
                "prefect api",
                "fail",
                "PREFECT_API_URL is not set",
                "source .gapless/env, or export PREFECT_API_URL=...",
            )
        ]
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S), get_client() as client:
            problem = await client.api_healthcheck()
            if problem is not None:
                return [_unreachable(address, problem)]
            checks = [Checked("prefect api", "pass", f"{address} answers")]
            found = await _deployment(client, deployment)
            if found is None:
                return [*checks, Checked("deployment", "fail", f"there is no {deployment}", PROVISION)]
            return [*checks, *_deployed(found), await _work_pool(client, found.work_pool_name or "")]
    except Exception as error:  # Prefect passes on what its HTTP library raises, which is not imported here
        return [_unreachable(address, error)]


def _unreachable(address: str, error: Exception) -> Checked:
    detail = f"{address} does not answer: {type(error).__name__} {str(error)[:200]}"
    return Checked("prefect api", "fail", detail, "make up, or start the server that PREFECT_API_URL names")


async def _deployment(client: PrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _deployed(found: DeploymentResponse) -> list[Checked]:
    here = code_version()
    checks = [
        Checked("deployment", "fail" if found.paused else "pass", "paused" if found.paused else "there, not paused")
    ]
    if found.version == here:
        return [*checks, Checked("code version", "pass", f"{here}, here and deployed")]
    detail = f"deployed {found.version or 'without a version'}, here {here}"
    return [*checks, Checked("code version", "warn", detail, f"deploy this one: {PROVISION}")]


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
    return Checked("work pool", "pass", f"{name}: {len(online)} workers online")


def _at(instant: dt.datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant else "never"
