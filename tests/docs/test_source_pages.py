"""Every source has a page that names its tables and secrets, and says which of it is an assumption."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.registry import processor, views_filled_by
from scrapers.registry import scraper, sources

PAGES = {path: path.read_text() for path in (Path(__file__).parents[2] / "docs" / "sources").glob("*.md")}


@pytest.mark.parametrize("source", sources())
def test_every_source_has_a_page_with_its_tables_its_secrets_and_its_assumptions(source: str) -> None:
    tables = processor(source).tables
    names = {source, *(table.name for table in tables), *(view.name for view in views_filled_by(tables))}
    about = [text for text in PAGES.values() if all(f"`{name}`" in text for name in names)]
    assert about, f"no page of docs/sources names all of {sorted(names)}"
    assert "\n## Table" in about[0]
    assert "\n## Assumptions" in about[0]
    auth = scraper(source).auth
    assert [name for name in (auth.secrets if auth else ()) if name not in about[0]] == []
