"""CONTRIBUTING.md names files that are there, and each layer lists its modules."""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"## Where a change goes\n(.*?)\n## ", re.S)
ROW = re.compile(r"^\* `([^`]+)`: (.+)$", re.M)


def test_twenty_changes_are_given_and_each_has_one_file_that_exists() -> None:
    found = SECTION.search((ROOT / "CONTRIBUTING.md").read_text())
    assert found, "the section is gone"
    files = [path for path, _ in ROW.findall(found[1])]
    assert len(files) == 20
    assert [path for path in files if not (ROOT / path).is_file()] == []
    assert len(set(files)) == 20, "each file is asked for once"


@pytest.mark.parametrize("package", ["flows", "scrapers", "alerting"])
def test_a_layer_lists_each_of_its_modules_and_no_other(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == [package] and one["type"] == "layers")
    modules = set(re.findall(r"\w+", " ".join(layers)))
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    lines = re.sub(r"\n +", " ", text.partition("what is below it:\n\n")[2]).splitlines()
    named = {name for line in lines for name in re.findall(r"[\w*]+", line.split(":")[0])}
    assert [one for one in sorted(modules) if not any(fnmatch.fnmatch(one, name) for name in named)] == [], (
        f"{package}/__init__.py"
    )
    assert [name for name in sorted(named) if not fnmatch.filter(modules, name)] == []
