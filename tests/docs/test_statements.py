"""The SQL of the documentation is GoogleSQL, by Google's own analyzer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT_DIR = Path(__file__).parents[2]
PAGES = (PROJECT_DIR / "README.md", *sorted((PROJECT_DIR / "docs").rglob("*.md")))
STATEMENTS = [
    pytest.param(block, id=f"{page.name}:{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```sql\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_the_statements_that_the_documentation_shows_are_taken_by_google(sql: str) -> None:
    pytest.importorskip("zetasql")
    from deployments.local.bigquery_emulator.analysis import StatementCheck
    from deployments.local.bigquery_emulator.googlesql import GoogleSql

    StatementCheck(GoogleSql()).check(sql, (), lambda _path: None)
