"""The page of promises: every row once, every test it names is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "requirements.md").read_text()
ROWS = re.findall(r"^\|([HKNVDT]\d\d)\|(.+)\|$", PAGE, re.MULTILINE)


def test_every_row_stands_there_once_and_in_order():
    numbers = {"H": range(1, 31), "K": range(1, 34), "N": range(1, 43), "V": range(1, 26), "D": range(1, 25)}
    promises = [f"{letter}{number:02d}" for letter, found in numbers.items() for number in found]
    faults = [f"T{number:02d}" for number in range(1, 53)]
    assert promises + faults == [row for row, _ in ROWS]


def test_every_test_that_is_named_exists():
    defined = set(re.findall(r"^ *(?:async )?def (test_\w+)", "".join(_sources()), re.MULTILINE))
    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= defined


def test_every_row_names_one_or_two_tests_behind_its_promise():
    tests = r"`test_\w+`(?:<br>`test_\w+`)?"
    assert [row for row, text in ROWS if not re.fullmatch(rf"[^|]+\|{tests}", text)] == []
    assert [row for row, text in ROWS if text.count("`test_") > 2] == []


def _sources() -> list[str]:
    return [path.read_text() for path in TESTS.rglob("test_*.py")]
