"""The promises about alerting at the end of docs/requirements.md: each names tests, and every one is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "requirements.md").read_text().partition("## Alerting, promise by promise")[2]
SECTIONS = (
    "The class that users know",
    "Severities",
    "Causes",
    "Journal and outbox",
    "Mail budget",
    "The summary",
    "Channels",
    "Security",
    "The whole of it, deployed",
)


def test_every_promise_names_a_test_and_every_test_exists() -> None:
    defined = set(re.findall(r"^ *(?:async )?def (test_\w+)", "".join(_sources()), re.MULTILINE))
    promises = re.findall(r"^\|(?!-|Promise)(.+)\|$", PAGE, re.MULTILINE)
    assert len(promises) > 45
    for promise in promises:
        named = re.findall(r"`(test_\w+)`", promise)
        assert named, f"no test for: {promise}"
        assert set(named) <= defined, promise


def test_no_section_of_the_contract_is_left_out() -> None:
    assert re.findall(r"^### (.+)$", PAGE, re.MULTILINE) == list(SECTIONS)


def _sources() -> list[str]:
    return [path.read_text() for path in TESTS.rglob("test_*.py")]
