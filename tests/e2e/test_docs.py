"""Every command of README and docs that needs the stack, executed as printed, in reading order, on the real stack."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

PROJECT_DIR = Path(__file__).parents[2]
NEEDS_STACK = (
    "gapless ",
    "prefect ",
    "python -m deployments.provision",
    "python -m deployments.local.trouble",
    "source .gapless/env",
    "printf ",
)
EXAMPLE_RUN = "bf-0123456789ab"
TIMEOUT_S = 300
# Pages of things that are not installed here: tests/e2e/test_new_source.py and test_downstream.py execute these.
ELSEWHERE = {"docs/add-a-source.md", "docs/downstream.md"}
# Not 0 on a healthy stack, and why.
EXIT_CODES = {
    "gapless coverage": (1, "the season is not filled"),
    "gapless release-lease": (1, "nobody holds the lease"),
    "gapless lift-cooldown": (1, "no source blocked a run"),
}


def _shell(bench, command, run_id):
    """In a shell of its own that has sourced the stack's environment, and has nothing else from ours."""
    folder = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in bench.env["PATH"].split(os.pathsep) if part != folder)
    kept = {name: value for name, value in bench.env.items() if name.startswith("GAPLESS_") or name == "HOME"}
    environment = shlex.quote(f"{bench.stack.state_dir.resolve()}/env")
    text = command.replace(EXAMPLE_RUN, run_id).replace(".gapless/env", environment)
    return subprocess.run(
        ["bash", "-c", f"source {environment}\n{text}"],
        cwd=PROJECT_DIR,
        env={**kept, "PATH": path, "PYTHONPATH": str(PROJECT_DIR), "KEY": "a-key-of-the-docs-test"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.timeout(1800)
def test_every_command_of_the_docs_that_needs_the_stack_does_what_it_says(bench, documented_commands):
    run_id, failed, done_already = EXAMPLE_RUN, [], set()
    commands = [one for one in documented_commands if one.page not in ELSEWHERE and one.text.startswith(NEEDS_STACK)]
    assert len(commands) > 20
    for one in commands:
        if one.text in done_already:
            continue
        done_already.add(one.text)
        done = _shell(bench, one.text, run_id)
        expected, _ = EXIT_CODES.get(" ".join(one.text.split()[:2]), (0, ""))
        if done.returncode != expected:
            failed.append(f"{one.page}:{one.line}: {one.text}\n  exit {done.returncode}, not {expected}")
            failed.append((done.stdout + done.stderr)[-1500:])
        if run_id == EXAMPLE_RUN and one.text.startswith("prefect deployment run"):
            found = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout)
            assert found, done.stdout + done.stderr
            run_id = f"bf-{found[0].replace('-', '')[:12]}"
    assert not failed, "\n".join(failed)
    stored = bench.api("/block_types/slug/secret/block_documents/name/gapless-bdl-api-key")
    assert "a-key-of-the-docs-test" not in json.dumps(stored)
