"""Idempotent provisioning: work pool, queues, global limits, bucket, dataset, deployments.

``python -m deployments.provision`` may run any number of times; what is there already is left as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from alerting.errors import ConfigurationError
from flows.wiring import Services, build_services
from scrapers.registry import sources

WORK_POOL = "gapless"
# Smaller is served first: a live run never waits behind a backfill of years.
QUEUE_PRIORITIES = {"live": 1, "backfill": 10}
DEPLOY_TIMEOUT_S = 180.0


async def provision_prefect(services: Services) -> None:
    """Work pool of type process, its queues, and one global limit per source with a declared rate."""
    async with get_client() as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        for name, priority in QUEUE_PRIORITIES.items():
            await _ensure_queue(client, name, priority)
        for source in sources():
            rate = services.access(source).rate
            per_second = rate.per_second or (rate.per_minute / 60 if rate.per_minute else None)
            if per_second:
                # limit=1 with decay=rate: a larger bucket bursts beyond a per-minute quota.
                await client.upsert_global_concurrency_limit_by_name(
                    f"gapless-{source}", limit=1, slot_decay_per_second=per_second * 0.95
                )


async def _ensure_queue(client: PrefectClient, name: str, priority: int) -> None:
    try:
        await client.read_work_queue_by_name(name, work_pool_name=WORK_POOL)
    except ObjectNotFound:
        await client.create_work_queue(name, work_pool_name=WORK_POOL, priority=priority)


def provision_storage(services: Services) -> None:
    """Bucket, dataset and the tables of every source."""
    services.store.ensure_bucket(services.settings.location)
    services.warehouse.ensure_dataset()
    for source in sources():
        for table in services.processor(source).tables:
            services.warehouse.ensure_table(table)


def deploy_all(project_dir: Path) -> None:
    """``prefect deploy --all`` of the project's prefect.yaml; raises ``ConfigurationError`` with its output."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        command,
        cwd=project_dir,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=DEPLOY_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise ConfigurationError(
            f"prefect deploy ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}",
            stage="provision",
            hint="look at prefect.yaml",
        )


def provision(project_dir: Path) -> None:
    """Everything, in the order of need."""
    services = build_services()
    provision_storage(services)
    asyncio.run(provision_prefect(services))
    deploy_all(project_dir)


if __name__ == "__main__":
    provision(Path(__file__).parent.parent)
    print("provisioned: work pool, queues, limits, bucket, dataset, tables, deployments")
