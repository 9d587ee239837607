"""docs/add-a-source.md from its first to its last line, on the real stack: files, deployment, run, rows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from flows.ledger.ledger import Ledger
from flows.wiring import build_services

pytestmark = pytest.mark.e2e

PROJECT_DIR = Path(__file__).parents[2]
PAGE = "docs/add-a-source.md"
NAME = "ecb_rates"


@pytest.mark.timeout(900)
def test_the_commands_of_the_page_bring_the_new_source_into_the_table(
    bench, tmp_path, new_source, frankfurter, documented_commands
):
    env = _checkout_with(new_source, tmp_path, bench, frankfurter)
    commands = [one.text for one in documented_commands if one.page == PAGE]
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    store = build_services().store
    entries = Ledger(store, NAME).refresh()
    assert Counter(entry.verdict.value for entry in entries.values()) == {"verified": 5, "empty_ok": 2}
    # Preflight calls what no source of an installation reads a mistake; other tests share this storage.
    for landed in store.list(f"landing/source={NAME}/"):
        store.delete(landed.name)


def _checkout_with(new_source, folder, bench, upstream):
    """A copy of the code with the page's files in it; its worker processes import from there."""
    for package in ("gapless", "alerting", "scrapers", "processors", "flows", "deployments", "tests/contracts"):
        # The walk of one date through the rooms needs the fixtures of the flows, and is about no source.
        without = shutil.ignore_patterns("__pycache__", "test_rooms.py")
        shutil.copytree(PROJECT_DIR / package, folder / package, ignore=without)
    shutil.copy(PROJECT_DIR / "pyproject.toml", folder)
    for name, text in new_source.files.items():
        (folder / name).write_text(text)
    ours = {
        "PYTHONPATH": str(folder),
        "GAPLESS_SOURCE_URLS": json.dumps({**json.loads(bench.env["GAPLESS_SOURCE_URLS"]), NAME: upstream}),
    }
    # Only the new entry, so that the deployments of the other tests stay as they are.
    head = (PROJECT_DIR / "prefect.yaml").read_text().split("\ndeployments:\n")[0]
    document = yaml.safe_load(f"{head}\ndeployments:\n{new_source.entry}")
    document["deployments"][0]["work_pool"]["job_variables"] = {"env": ours}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(document))
    path = f"{Path(sys.executable).parent}{os.pathsep}{bench.env['PATH']}"
    return {**bench.env, **ours, "PATH": path}
