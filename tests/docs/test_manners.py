"""What a repository that people contribute to has, kept in step with what it speaks of."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

PROJECT_DIR = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())
WORKFLOW: dict[str, Any] = yaml.safe_load((PROJECT_DIR / ".github" / "workflows" / "test.yaml").read_text())


def _commands(target: str) -> list[str]:
    """Recipe of a make target, without the folder of its programs."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    return [line.strip().removeprefix("$(BIN)/") for line in recipe[1].splitlines()]


def test_pre_commit_runs_what_make_check_runs() -> None:
    config = yaml.safe_load((PROJECT_DIR / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"].removeprefix(".venv/bin/") for repo in config["repos"] for hook in repo["hooks"]]
    assert hooks == _commands("check")


def test_the_workflow_calls_make_test_on_every_supported_python_and_keeps_a_wheel() -> None:
    supported = [
        one.rpartition(" ")[2]
        for one in PROJECT["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", one)
    ]
    test = WORKFLOW["jobs"]["test"]
    assert test["strategy"]["matrix"]["python"] == supported == ["3.11", "3.12", "3.13", "3.14"]
    assert any(step.get("run", "").startswith("make test") for step in test["steps"])
    assert any(
        step.get("uses", "").startswith("actions/upload-artifact@") for step in WORKFLOW["jobs"]["wheel"]["steps"]
    )


def test_the_workflow_may_only_read_and_every_make_target_of_it_exists() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE))
    for job in WORKFLOW["jobs"].values():
        for step in job["steps"]:
            words = [word for word in step.get("run", "make").split()[1:] if "=" not in word]
            assert set(words) <= targets, words


def test_every_package_says_that_it_is_typed_and_the_license_is_the_one_that_is_declared() -> None:
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (PROJECT_DIR / package / "py.typed").exists(), package
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (PROJECT_DIR / "LICENSE").read_text()


def test_the_changelog_keeps_to_its_form() -> None:
    text = (PROJECT_DIR / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one) for one in releases[1:])
    assert releases[1].startswith(f"[{PROJECT['project']['version']}]")
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_contributing_names_make_targets_and_files_that_exist() -> None:
    text = (PROJECT_DIR / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= targets
    named = re.findall(r"\b(?:tests|scrapers|processors|alerting|flows)/[\w/]+\.py", text)
    assert named
    assert [name for name in named if not (PROJECT_DIR / name).exists()] == []
