"""The example of docs/add-a-source.md, executed as it is printed."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import processors.sources
import scrapers.sources
from alerting.errors import PipelineError
from processors import registry as processor_registry
from processors.process import LoadContext, process
from processors.verification import verify
from processors.warehouse import BigQueryWarehouse, Dataset
from scrapers import registry as scraper_registry
from scrapers.base import Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.object_store import GcsObjectStore
from scrapers.pace.budget import Budget
from scrapers.partition import partitions_between
from scrapers.scrape import ScrapeContext, scrape

if TYPE_CHECKING:
    from conftest import NewSource

PROJECT_DIR = Path(__file__).parents[2]
NAME = "ecb_rates"
CURRENCIES = 3


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_source: NewSource) -> Iterator[None]:
    """The page's two files in a folder that both registries look into."""
    for name, text in new_source.files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    registries = {scrapers.sources: scraper_registry.scraper, processors.sources: processor_registry.processor}
    for package, lookup in registries.items():
        folder = tmp_path / package.__name__.replace(".", "/")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        lookup.cache_clear()
    yield
    for package, lookup in registries.items():
        sys.modules.pop(f"{package.__name__}.{NAME}", None)
        vars(package).pop(NAME, None)
        lookup.cache_clear()


def test_the_page_holds_one_scraper_one_processor_and_one_entry(new_source):
    assert sorted(new_source.files) == [f"processors/sources/{NAME}.py", f"scrapers/sources/{NAME}.py"]
    (entry,) = yaml.safe_load(f"backfill: &backfill {{}}\nlist:\n{new_source.entry}")["list"]
    assert entry["name"] == NAME == entry["parameters"]["source"]


def test_files_and_entry_together_stay_under_eighty_lines_of_code(new_source):
    lines = [
        line for text in [*new_source.files.values(), new_source.entry] for line in text.splitlines() if line.strip()
    ]
    code = [line for line in lines if not line.lstrip().startswith(("import ", "from ", '"""'))]
    assert len(code) < 80


@pytest.mark.usefixtures("registered")
def test_its_rows_arrive_and_holidays_are_proven_empty(frankfurter, gcs_root, gcs_endpoint, bigquery_endpoint):
    assert NAME in scraper_registry.sources()
    source, processor = scraper_registry.scraper(NAME), processor_registry.processor(NAME)
    bucket = f"t{uuid.uuid4().hex[:12]}"
    (gcs_root / bucket).mkdir()
    store = GcsObjectStore(bucket, project="p", endpoint=gcs_endpoint)
    warehouse = BigQueryWarehouse(Dataset("p", bucket, "US"), endpoint=bigquery_endpoint)
    warehouse.ensure_dataset()
    client = SourceClient(source, SourceAccess(frankfurter), Budget(source.rate))
    landing = Landing(store)
    week = partitions_between(dt.date(2025, 1, 2), dt.date(2025, 1, 8), source.zone)
    manifests = [
        scrape(one, ScrapeContext(scraper=source, client=client, landing=landing, backfill_id="bf-1", code_version="0"))
        for one in week
    ]
    client.close()
    assert {one.partition for one in manifests if one.empty_evidence} == {"2025-01-04", "2025-01-05"}
    receipt = process(manifests, LoadContext(processor, landing, warehouse, "bf-1"))
    assert not receipt.refused()
    assert all(one.is_ok for one in verify(manifests, processor=processor, warehouse=warehouse).values())
    rows = warehouse.query(f"SELECT COUNT(*) AS n FROM {warehouse.name_of(NAME)}")
    assert rows[0]["n"] == 5 * CURRENCIES


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    "body",
    [
        b'{"date": "2024-12-20", "rates": {"USD": 1.0}}',
        b'{"date": "2025-01-03", "rates": {"USD": 1.0}}',
        b'{"date": "2025-01-02", "rates": {}}',
        b"{}",
        b"null",
    ],
)
def test_an_answer_of_another_day_or_shape_is_refused(body):
    from scrapers.base import Page, Request

    source = scraper_registry.scraper(NAME)
    (day,) = partitions_between(dt.date(2025, 1, 2), dt.date(2025, 1, 2), source.zone)
    with pytest.raises(PipelineError):
        source.inspect(day, Page(Request("/"), 1, 200, {}, body, dt.datetime(2025, 2, 1, tzinfo=dt.UTC), 0.1))


def test_it_keeps_the_contract_of_every_source_and_the_linter_has_nothing_to_say(tmp_path, new_source):
    for package in ("gapless", "alerting", "scrapers", "processors", "flows", "deployments", "tests/contracts"):
        shutil.copytree(PROJECT_DIR / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_DIR / "pyproject.toml", tmp_path / "pyproject.toml")
    good = tmp_path / "tests/contracts/payloads" / NAME / "2025-01-02.json"
    good.parent.mkdir()
    # One good answer, and the contract tries its wrong ones on the new source too.
    good.write_text(json.dumps({"base": "EUR", "date": "2025-01-02", "rates": {"USD": 1.03, "SEK": 11.4}}))
    for name, text in new_source.files.items():
        (tmp_path / name).write_text(text)
    commands = [
        [
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/contracts",
            "-k",
            NAME,
            "--ignore=tests/contracts/test_rooms.py",
        ],
        ["ruff", "check", "--no-cache", *new_source.files],
        ["ruff", "format", "--no-cache", "--check", *new_source.files],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_attribute_that_a_scraper_may_declare_is_explained_where_it_is_declared() -> None:
    explained = set(re.findall(r"^ {4}(\w+(?:, \w+)*): ", cleandoc(Scraper.__doc__ or ""), re.MULTILINE))
    told = {name for names in explained for name in names.split(", ")}
    assert {name for name in Scraper.__annotations__ if name != "source"} <= told
