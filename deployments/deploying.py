"""Puts the deployments of a prefect.yaml on the server, as ``prefect deploy --all`` does it, with few calls.

That makes the schema of a form anew for each deployment, asks git for each, and reads server and work pool again and
again. Here each flow is looked at once, and a deployment that is there as it should be costs no call. One after the
other all the same: a server on SQLite answers 503 when eight come at once.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import VersionInfo
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from alerting.errors import ConfigurationError
from flows.settings import code_version

_PAGE = 100
_VERSION = "{{ $GAPLESS_CODE_VERSION }}"
_KEYS = frozenset(
    {"name", "version", "description", "entrypoint", "parameters", "tags", "schedules", "enforce_parameter_schema"}
    | {"work_pool"}
)
_POOL_KEYS = frozenset({"name", "work_queue_name", "job_variables"})
_SCHEDULE_KEYS = frozenset({"cron", "timezone", "slug"})


def described_deployments(path: Path) -> list[dict[str, Any]]:
    """The entries of the file, anchors and version filled in.

    Raises ``ConfigurationError`` for what `deploy_all` would leave out: a key that it does not know, steps of its own.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8").replace(_VERSION, code_version()))
    for steps in ("build", "push", "pull"):
        if document.get(steps):
            raise _unfit(path, f"has {steps} steps")
    found: list[dict[str, Any]] = document["deployments"]
    for entry in found:
        _refuse_others(path, entry, _KEYS)
        _refuse_others(path, entry["work_pool"], _POOL_KEYS)
        for schedule in entry.get("schedules", ()):
            _refuse_others(path, schedule, _SCHEDULE_KEYS)
    return found


def deploy_all(path: Path) -> int:
    """Creates or updates the deployments of a prefect.yaml, each by its flow and name; returns how many there are.

    A schedule that somebody paused stays paused. Raises ``ConfigurationError``.
    """
    entries = described_deployments(path)
    try:
        asyncio.run(_deployed(entries))
    except Exception as error:
        raise ConfigurationError(
            f"a deployment was not made: {error}", stage="provision", hint=f"look at {path}, then provision again"
        ) from error
    return len(entries)


async def _deployed(entries: Sequence[Mapping[str, Any]]) -> None:
    async with get_client() as client:
        flow_ids = {
            entrypoint: await client.create_flow_from_name(load_flow_from_entrypoint(entrypoint).name)
            for entrypoint in dict.fromkeys(entry["entrypoint"] for entry in entries)
        }
        known = {(one.flow_id, one.name): one for one in await _all_deployments(client)}
        for entry in entries:
            flow_id, wanted = flow_ids[entry["entrypoint"]], facts_of(entry)
            found = known.get((flow_id, entry["name"]))
            schedules = [_schedule(one) for one in entry.get("schedules", ())]
            if found is None:
                await client.create_deployment(
                    flow_id, entry["name"], schedules=schedules, pull_steps=[], **wanted, version_info=_version(wanted)
                )
            elif changed := _changed(found, wanted, schedules):
                update = DeploymentUpdate.model_validate({**changed, "version_info": _version(wanted)})
                await client.update_deployment(found.id, deployment=update)


async def _all_deployments(client: PrefectClient) -> list[DeploymentResponse]:
    found: list[DeploymentResponse] = []
    while len(page := await client.read_deployments(limit=_PAGE, offset=len(found))) == _PAGE:
        found += page
    return [*found, *page]


def facts_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry of `described_deployments` asks of the server, its schedules aside."""
    flow, schema = _of_flow(entry["entrypoint"])
    return {
        "entrypoint": entry["entrypoint"],
        "parameters": entry.get("parameters", {}),
        "description": entry.get("description") or flow.description,
        "tags": entry.get("tags", []),
        "version": entry.get("version") or code_version(),
        "enforce_parameter_schema": entry.get("enforce_parameter_schema", True),
        "parameter_openapi_schema": schema,
        "work_pool_name": entry["work_pool"]["name"],
        "work_queue_name": entry["work_pool"]["work_queue_name"],
        "job_variables": entry["work_pool"].get("job_variables", {}),
    }


@functools.cache
def _of_flow(entrypoint: str) -> tuple[Flow[..., Any], dict[str, Any]]:
    """The flow and the schema of its form, which takes 0.2 s to make.

    A parameter that the flow does not have is refused with its name when the run is asked for: the run itself would
    crash without a reason (measured with 3.8.8).
    """
    flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
    return flow, {**parameter_schema(flow).model_dump(exclude_unset=True), "additionalProperties": False}


def _schedule(one: Mapping[str, Any]) -> DeploymentScheduleCreate:
    """Without "active", so that what somebody paused is not begun again."""
    return DeploymentScheduleCreate(schedule=CronSchedule(cron=one["cron"], timezone=one["timezone"]), slug=one["slug"])


def _changed(
    found: DeploymentResponse, wanted: Mapping[str, Any], schedules: Sequence[DeploymentScheduleCreate]
) -> dict[str, Any]:
    """What a deployment that is there has to become; nothing where it is so already."""
    changed = {name: value for name, value in wanted.items() if getattr(found, name) != value}
    if {(one.slug, str(one.schedule)) for one in found.schedules} != {
        (one.slug, str(one.schedule)) for one in schedules
    }:
        changed["schedules"] = [one.model_dump(mode="json", exclude_unset=True) for one in schedules]
    # The server keeps a queue by pool and name together.
    return {**wanted, **changed} if changed else {}


def _version(wanted: Mapping[str, Any]) -> VersionInfo:
    """Said here, because Prefect would ask git for each of them."""
    return VersionInfo(type="prefect:simple", version=wanted["version"])


def _refuse_others(path: Path, entry: Mapping[str, Any], known: frozenset[str]) -> None:
    if others := sorted(set(entry) - known):
        raise _unfit(path, f"has {', '.join(others)} in {entry.get('name', entry)}")


def _unfit(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} {what}, which provisioning would leave out. Nothing was deployed",
        stage="provision",
        hint=f"deploy it with: prefect --no-prompt deploy --all --prefect-file {path}",
    )
