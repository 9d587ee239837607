"""Provisioning puts on the server what `prefect deploy --all` would, and that it takes no unknown parameter."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
_OF_THE_MOMENT = ("updated", "last_polled", "status", "version_id", "version_info")


def _deployments(bench: Bench) -> dict[str, Any]:
    """Ours; other tests of this server make some of their own."""
    tagged = {"deployments": {"tags": {"all_": ["gapless"]}}, "limit": 200}
    found = bench.api("/deployments/filter", tagged)
    assert found
    for one in found:
        one["refuses_unknown"] = one["parameter_openapi_schema"].pop("additionalProperties", True) is False
        for schedule in one["schedules"]:
            for name in ("id", "created", "updated"):
                schedule.pop(name)
        one["pull_steps"] = one["pull_steps"] or []
        for name in _OF_THE_MOMENT:
            one.pop(name, None)
    return {f"{one['flow_id']}/{one['name']}": one for one in found}


def test_provisioned_deployments_are_those_of_prefect_deploy(bench: Bench) -> None:
    from deployments.provision import prefect_file
    from flows.settings import code_version

    provisioned = _deployments(bench)
    deploy = ["--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file())]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *deploy],
        cwd=prefect_file().parent,
        env={**os.environ, "GAPLESS_CODE_VERSION": code_version()},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {one.pop("refuses_unknown") for one in provisioned.values()} == {True}
    deployed = _deployments(bench)
    # Prefect lets a name through that the flow does not have, and the run ends at once.
    assert {one.pop("refuses_unknown") for one in deployed.values()} == {False}
    assert deployed == provisioned
