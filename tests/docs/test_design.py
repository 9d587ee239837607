"""The reader's test of docs/design.md names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

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
