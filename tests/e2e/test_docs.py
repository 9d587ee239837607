"""Every command of README and docs that needs the stack, executed as printed, in reading order, on the real stack.

Page by page: ``-k hemnet-runbook`` is that page alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scrapers.registry import sources

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
TIMEOUT_S = 600
# Pages of things that are not installed here: tests/e2e/test_new_source.py and test_downstream.py execute these.
ELSEWHERE = {"docs/add-a-source.md", "docs/downstream.md"}
# Not 0 on a healthy stack, and why.
EXIT_CODES = {
    "gapless coverage nba 2025-01-01 2025-01-07": (1, "the week is not filled"),
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


def _newest_run(bench, command):
    """Of the source that the command names, else of any; the example's own before the first one."""
    of_source = [word for word in shlex.split(command) if word in sources()]
    asked = ["gapless runs --last 1 --json", *(f"--source {one}" for one in of_source)]
    found = json.loads(_shell(bench, " ".join(asked), EXAMPLE_RUN).stdout)
    return found[0]["backfill_id"] if found else EXAMPLE_RUN


def _pages():
    found = [*PROJECT_DIR.glob("*.md"), *sorted((PROJECT_DIR / "docs").rglob("*.md"))]
    shown = re.compile(r"^```sh\n(?:(?!```).*\n)*?(?:" + "|".join(map(re.escape, NEEDS_STACK)) + ")", re.MULTILINE)
    names = [str(page.relative_to(PROJECT_DIR)) for page in found if shown.search(page.read_text())]
    return sorted(set(names) - ELSEWHERE, key=lambda name: ("/" in name, name))


@pytest.fixture(scope="module")
def done_already():
    """What stands on several pages is executed on the first of them, there as often as it stands."""
    return set()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", _pages())
def test_every_command_of_a_page_that_needs_the_stack_does_what_it_says(bench, documented_commands, done_already, page):
    failed, on_earlier_pages = [], set(done_already)
    for one in documented_commands:
        if one.page != page or not one.text.startswith(NEEDS_STACK) or one.text in on_earlier_pages:
            continue
        done_already.add(one.text)
        done = _shell(bench, one.text, _newest_run(bench, one.text) if EXAMPLE_RUN in one.text else EXAMPLE_RUN)
        expected, _ = next((code for begin, code in EXIT_CODES.items() if one.text.startswith(begin)), (0, ""))
        if done.returncode != expected:
            failed.append(f"{one.page}:{one.line}: {one.text}\n  exit {done.returncode}, not {expected}")
            failed.append((done.stdout + done.stderr)[-1500:])
    assert not failed, "\n".join(failed)
    stored = bench.api("/block_types/slug/secret/block_documents")
    assert "a-key-of-the-docs-test" not in json.dumps(stored)
