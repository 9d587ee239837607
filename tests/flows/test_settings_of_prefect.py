"""What a user's own settings of Prefect do not change."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_FLOW_DEFAULT_RETRIES, temporary_settings

PROJECT = Path(__file__).parents[2]
DEPLOYED = {entry["entrypoint"] for entry in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]}
INNER = {"flows.process:process_landed", "flows.process:validate_loaded"}


@pytest.mark.parametrize("entrypoint", sorted(DEPLOYED | INNER))
def test_no_flow_is_run_again_because_a_profile_says_so(entrypoint: str) -> None:
    module, name = entrypoint.split(":")
    with temporary_settings({PREFECT_FLOW_DEFAULT_RETRIES: 3}):
        found = runpy.run_path(str(PROJECT / f"{module.replace('.', '/')}.py"))
    assert found[name].retries == 0
