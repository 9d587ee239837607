from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from alerting.errors import ConfigurationError
from scrapers import registry
from scrapers.base import Findings, Scraper
from scrapers.platforms.datasette import DatasetteScraper


def _module(*scrapers: type[Scraper], name: str = "scrapers.sources.sample") -> types.ModuleType:
    module = types.ModuleType(name)
    for kind in scrapers:
        kind.__module__ = name
        setattr(module, kind.__name__, kind)
    return module


def _kind(name: str = "Sample", **facts) -> type[Scraper]:
    body = {
        "zone": "UTC",
        "base_url": "https://api.test",
        "tables": ("t",),
        "first_request": lambda self, partition: None,
        "inspect": lambda self, partition, page: Findings({}),
    }
    return type(name, (Scraper,), {key: value for key, value in {**body, **facts}.items() if value is not None})


def test_the_name_of_a_source_is_the_name_of_its_module():
    found = registry.from_module(_module(_kind()))
    assert found.source == "sample"
    assert registry.scraper("bdl_box_scores").source == "bdl_box_scores"
    assert "bdl_box_scores" in registry.sources()


@pytest.mark.parametrize("kinds", [(), (_kind("A"), _kind("B"))], ids=["none", "two"])
def test_a_module_without_exactly_one_scraper_is_refused(kinds):
    with pytest.raises(ConfigurationError, match="expected exactly 1"):
        registry.from_module(_module(*kinds))


@pytest.mark.parametrize("fact", ["zone", "base_url", "tables", "inspect"])
def test_a_scraper_that_lacks_a_fact_is_refused_by_the_name_of_the_fact(fact):
    with pytest.raises(ConfigurationError, match=f"lacks {fact}"):
        registry.from_module(_module(_kind(**{fact: None})))


def test_a_datasette_source_that_does_not_say_where_its_table_is_is_refused():
    unfinished = type("Unfinished", (DatasetteScraper,), {"zone": "UTC", "base_url": "https://x", "tables": ("t",)})
    with pytest.raises(ConfigurationError, match="lacks table_request"):
        registry.from_module(_module(unfinished))


def test_a_name_that_object_paths_cannot_hold_is_refused():
    with pytest.raises(ConfigurationError, match="object paths"):
        registry.from_module(_module(_kind(), name="scrapers.sources.Odd-Name"))


def test_an_unknown_source_is_answered_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="bdl_box_scores"):
        registry.scraper("no_such_source")


def test_a_module_that_comes_while_a_process_lives_is_listed(tmp_path):
    package = types.ModuleType("late")
    package.__path__ = [str(tmp_path)]
    (tmp_path / "one.py").touch()
    (tmp_path / "_private.py").touch()
    assert registry.names_in(package) == ["one"]
    (tmp_path / "other.py").touch()
    changed_ns = tmp_path.stat().st_mtime_ns + 1_000_000_000
    os.utime(tmp_path, ns=(changed_ns, changed_ns))
    assert registry.names_in(package) == ["one", "other"]


def test_listing_the_sources_imports_neither_google_nor_prefect_nor_httpx():
    code = (
        "import sys; from scrapers.registry import scraper, sources; [scraper(name) for name in sources()];"
        "print([name for name in ('google.cloud', 'prefect', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_source_whose_file_cannot_be_read_is_told_by_its_own_run_and_stops_no_other(tmp_path, monkeypatch):
    (tmp_path / "half_written.py").write_text("import nothing_of_that_name")
    (tmp_path / "Odd-Name.py").touch()
    monkeypatch.setattr("scrapers.sources.__path__", [*registry._package.__path__, str(tmp_path)])
    assert registry.sources_of("balldontlie")[0] == "bdl_box_scores"
    assert {"nba", "racing"} <= set(registry.families())
    assert "bdl_games" in registry.sources_of_family("nba")
    with pytest.raises(ConfigurationError, match="cannot be imported: ModuleNotFoundError"):
        registry.scraper("half_written")
    with pytest.raises(ConfigurationError, match="expected exactly 1"):
        registry.scraper("Odd-Name")
