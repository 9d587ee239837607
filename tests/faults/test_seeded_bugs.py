"""Bugs seeded on purpose in our own code: the simulator finds every one of them, and nothing in the code as it is.

Each is a patch of ``mutants/``. Above the diff it says which promise it breaks (``Promise``), what the simulator has
to say of it (``Found``, or any of several, with bars between them), what is simulated (``Simulate``, the command's
arguments), and settings other than the usual (``Settings``, as JSON).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from run_mutants import PROMISES, ROOT

from deployments.local.simulate_samples import samples

PATCHES = sorted((Path(__file__).parent / "mutants").glob("*.patch"))
PACKAGES = ("alerting", "scrapers", "processors", "flows", "deployments", "gapless")


@dataclass(frozen=True)
class Bug:
    """One patch, and what it says of itself."""

    path: Path
    promise: str
    found: tuple[str, ...]
    arguments: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def way(self) -> str:
        """What is simulated, and how: the same for several bugs."""
        return json.dumps([self.arguments, self.settings])

    def refused_by(self, tree: Path, *options: str) -> str:
        """What git says against the patch in ``tree``, which it changes unless ``options`` say otherwise; else ""."""
        command = ["git", "apply", *options, str(self.path)]
        # A folder inside of a repository would be taken for a part of it.
        alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
        return subprocess.run(
            command, cwd=tree, env=alone, capture_output=True, text=True, check=False, timeout=60
        ).stderr  # fmt: skip


def read_bug(path: Path) -> Bug:
    """``ValueError`` for a patch that does not say what it is."""
    head = path.read_text().partition("\n--- ")[0]
    told = dict(re.findall(r"^(\w+): (.+)$", head, re.MULTILINE))
    if missing := {"Promise", "Found", "Simulate"} - set(told):
        raise ValueError(f"{path.name} does not say {', '.join(sorted(missing))}")
    settings = json.loads(told.get("Settings", "{}"))
    return Bug(path, told["Promise"], tuple(told["Found"].split(" | ")), tuple(told["Simulate"].split()), settings)


BUGS = [read_bug(path) for path in PATCHES]


@pytest.fixture(scope="module")
def sampled() -> Iterator[Mapping[str, str]]:
    """Variables that lead every source to its sample."""
    with samples() as environment:
        yield environment


def copied(target: Path) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def simulated(tree: Path, sampled: Mapping[str, str], bug: Bug) -> tuple[int, Sequence[str]]:
    """Exit code of `gapless simulate` with the code of ``tree``, and every broken invariant that it tells."""
    environment = {
        **os.environ,
        # Without bytecode: a changed file of the same size in the same second would be taken for the one before.
        "PYTHONDONTWRITEBYTECODE": "1",
        **sampled,
        **{name: json.dumps(value) for name, value in bug.settings.items()},
    }
    command = [sys.executable, "-m", "gapless", "simulate", *bug.arguments, "--faults", "--broken", "1", "--json"]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=280
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
    return done.returncode, [told for one in json.loads(done.stdout)["broken"] for told in one["told"]]


def test_there_is_a_bug_for_every_promise_and_at_least_twenty_of_them() -> None:
    assert len(BUGS) >= 20
    assert {bug.promise for bug in BUGS} == PROMISES


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.path.stem)
def test_a_patch_fits_the_code_as_it_is(bug: Bug) -> None:
    refused = bug.refused_by(ROOT, "--check")
    assert not refused, f"{bug.path.name} no longer fits: make it anew from the code as it is. {refused}"


@pytest.mark.faults
@pytest.mark.parametrize("bug", {bug.way: bug for bug in BUGS}.values(), ids=lambda bug: " ".join(bug.arguments))
def test_nothing_is_found_in_the_code_as_it_is(bug: Bug, sampled: Mapping[str, str]) -> None:
    assert simulated(ROOT, sampled, bug) == (0, [])


@pytest.mark.faults
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.path.stem)
def test_the_simulator_finds_a_seeded_bug(bug: Bug, sampled: Mapping[str, str], tmp_path: Path) -> None:
    refused = bug.refused_by(tree := copied(tmp_path))
    assert not refused, f"{bug.path.name} no longer fits: make it anew from the code as it is. {refused}"
    code, told = simulated(tree, sampled, bug)
    assert code == 1
    assert any(words in text for text in told for words in bug.found), told
