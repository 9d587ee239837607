"""Idempotent provisioning: work pool, queues, global limits, bucket, dataset, deployments, automations.

``python -m deployments.provision`` may run any number of times; what is there already is left as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from alerting.errors import ConfigurationError, PipelineError
from alerting.redaction import one_line
from deployments.deploying import deploy_all
from flows.child_runs.shared_rate import bucket, limit_name
from flows.views.server_checks import missing_server
from flows.wiring import Services, build_services
from processors import coverage_tables
from processors.registry import views
from scrapers.registry import sources

WORK_POOL = "gapless"
# Smaller is served first: a live run never waits behind a backfill of years.
QUEUE_PRIORITIES = {"live": 1, "windows": 5, "backfill": 10}
TABLES_AT_ONCE = 8
T = TypeVar("T")


async def provision_prefect(services: Services) -> None:
    """Work pool of type process, its queues, and one global limit per source with a declared rate of its own."""
    async with get_client() as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        for name, priority in QUEUE_PRIORITIES.items():
            await _ensure_queue(client, name, priority)
        for source in sources():
            kit = services.source_kit(source)
            # The rate of an account is kept in the bucket, by whatever calls it.
            if not kit.scraper.account and (wanted := bucket(kit.access.rate)):
                limit, decay = wanted
                await client.upsert_global_concurrency_limit_by_name(
                    limit_name(source), limit=limit, slot_decay_per_second=decay
                )


async def _ensure_queue(client: PrefectClient, name: str, priority: int) -> None:
    try:
        await client.read_work_queue_by_name(name, work_pool_name=WORK_POOL)
    except ObjectNotFound:
        await client.create_work_queue(name, work_pool_name=WORK_POOL, priority=priority)


def provision_storage(services: Services) -> None:
    """Bucket, dataset, the tables of every source and our own, and the views over those of sources."""
    services.store.ensure_bucket(services.settings.location)
    services.warehouse.ensure_dataset()
    tables = [table for source in sources() for table in services.source_kit(source).processor.tables]
    _at_once(services.warehouse.ensure_table, [*tables, *coverage_tables.TABLES])
    _at_once(services.warehouse.ensure_view, views())


def _at_once(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Several at a time: each is a wait for BigQuery. Raises what the first failure raised."""
    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        list(pool.map(work, items))


def prefect_file() -> Path:
    """prefect.yaml of the checkout, or the one that an installed wheel carries beside this module."""
    here = Path(__file__).resolve().parent
    checkout = here.parent / "prefect.yaml"
    return checkout if checkout.exists() else here / "prefect.yaml"


async def provision_automations(path: Path) -> list[str]:
    """Creates or replaces the automations of a YAML file by their names; returns the names.

    An action names its deployment as ``flow/deployment``; its id is looked up here. Automations of the same name that
    an earlier, not idempotent ``prefect automation create`` left twice are reduced to one.

    Raises ``ConfigurationError`` before any effect for a file that cannot be read as such, and for a deployment that
    is not there.
    """
    async with get_client() as client:
        all_wanted = await _described_automations(client, path)
        for wanted in all_wanted:
            known = await client.read_automations_by_name(wanted.name)
            for surplus in known[1:]:
                await client.delete_automation(surplus.id)
            if known:
                await client.update_automation(known[0].id, wanted)
            else:
                await client.create_automation(wanted)
    return [wanted.name for wanted in all_wanted]


async def _described_automations(client: PrefectClient, path: Path) -> list[AutomationCore]:
    found, deployment = list[AutomationCore](), ""
    try:
        for described in yaml.safe_load(path.read_text(encoding="utf-8"))["automations"]:
            for action in described["actions"]:
                if deployment := action.pop("deployment", ""):
                    action["deployment_id"] = str((await client.read_deployment_by_name(deployment)).id)
            found.append(AutomationCore.model_validate(described))
    except ObjectNotFound as error:
        raise _unfit(f"{path}: there is no deployment {deployment!r}", "write it as flow/deployment") from error
    except (OSError, yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        told = one_line(f"{type(error).__name__}: {error}")[:300]
        raise _unfit(
            f"{path} has no automations as docs/downstream.md shows them: {told}", f"look at {path}"
        ) from error
    return found


def _unfit(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"{what}. Nothing was provisioned", stage="provision", hint=hint)


def refuse_without_server() -> None:
    """Raises ``ConfigurationError`` where no Prefect server of this environment answers."""
    missing = asyncio.run(missing_server())
    if missing is not None:
        raise ConfigurationError(f"{missing.detail}; nothing was provisioned", stage="provision", hint=missing.remedy)


def provision() -> None:
    """Everything, in the order of need; from the files of this installation, whatever the folder it runs in.

    Raises ``ConfigurationError`` before any effect where no Prefect server answers.
    """
    refuse_without_server()
    services = build_services()
    provision_storage(services)
    asyncio.run(provision_prefect(services))
    deploy_all(prefect_file())
    asyncio.run(provision_automations(Path(__file__).with_name("automations.yaml")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; ``--automations FILE`` provisions the automations of one more file and nothing else."""
    parser = argparse.ArgumentParser(prog="python -m deployments.provision", description="Idempotent provisioning.")
    parser.add_argument("--automations", type=Path, metavar="FILE", help="only those of FILE, created or replaced")
    given = parser.parse_args(arguments)
    try:
        if given.automations:
            refuse_without_server()
            names = asyncio.run(provision_automations(given.automations))
            print(f"provisioned: {', '.join(names)}")
            return
        provision()
    except PipelineError as error:
        sys.exit(f"error: {error}")
    print("provisioned: work pool, queues, limits, bucket, dataset, tables, deployments, automations")


if __name__ == "__main__":
    main()
