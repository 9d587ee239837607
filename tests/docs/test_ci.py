"""The run of continuous integration: no suite is left out of it by being forgotten."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT_DIR = Path(__file__).parents[2]
# Tries releases beyond our bounds, with the internet: `make pins`, four times a year.
QUARTERLY = {"pins"}


def test_every_suite_of_whole_stacks_and_of_faults_has_its_place_in_the_continuous_run() -> None:
    text = (PROJECT_DIR / ".ci/run").read_text()
    listed = [name for line in re.findall(r"^e2e \d+ (.+)$", text, re.M) for name in line.split()]
    suites = {file.stem.removeprefix("test_") for file in (PROJECT_DIR / "tests/e2e").glob("test_*.py")}
    assert sorted(listed) == sorted(suites - QUARTERLY)
    faults = {f"tests/faults/{file.name}" for file in (PROJECT_DIR / "tests/faults").glob("test_*.py")}
    assert faults == set(re.findall(r"tests/faults/test_\w+\.py", text))
