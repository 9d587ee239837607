"""Every source has a page that names its tables and secrets, and says which of it is an assumption."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local.upstreams.drive_key import key_file
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


def test_the_line_that_makes_a_secret_of_a_key_file_keeps_it_byte_for_byte(tmp_path: Path) -> None:
    page = next(text for path, text in PAGES.items() if path.name == "bigdataball.md")
    (line,) = re.findall(r"^ *(export GAPLESS_SOURCE_SECRETS=.*)$", page, re.MULTILINE)
    key = key_file("https://oauth2.googleapis.com/token") + "\n"
    (tmp_path / "key.json").write_text(key)
    script = f'{line}\nprintf %s "$GAPLESS_SOURCE_SECRETS"'
    folder = str(Path(sys.executable).parent)
    told = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.pathsep.join([folder, os.environ["PATH"]])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(told.stdout) == {"drive_service_account": key}
