"""The reader's test of docs/design.md names files that are there."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"## Where does a change go\?\n(.*?)\n## ", re.S)
ROW = re.compile(r"^\| (?!Change \|)(.+?) \| `([^`]+)` \|$", re.M)


def test_twenty_changes_are_given_and_each_has_one_file_that_exists() -> None:
    found = SECTION.search((ROOT / "docs/design.md").read_text())
    assert found, "the section is gone"
    answers = dict(ROW.findall(found[1]))
    assert len(answers) == 20
    assert [path for path in answers.values() if not (ROOT / path).is_file()] == []
    assert len(set(answers.values())) == 20, "each file is asked for once"


@pytest.mark.parametrize("package", ["flows", "scrapers", "alerting"])
def test_the_table_of_rooms_names_every_room_of_the_layers_and_no_other(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == [package] and one["type"] == "layers")
    rooms = set(re.findall(r"\w+", " ".join(layers)))
    table = re.search(rf"Inside `{package}`.*?\n\|---\|---\|\n(.*?)\n\n", (ROOT / "docs/design.md").read_text(), re.S)
    assert table, "the table is gone"
    named = {name for line in table[1].splitlines() for name in re.findall(r"`([\w*]+)`", line.split("|")[1])}
    assert [room for room in sorted(rooms) if not any(fnmatch.fnmatch(room, name) for name in named)] == []
    assert [name for name in sorted(named) if not fnmatch.filter(rooms, name)] == []
