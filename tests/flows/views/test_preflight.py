"""What preflight tells a person to type next, for every source there is."""

from __future__ import annotations

import datetime as dt
import shlex
from copy import copy
from types import SimpleNamespace
from typing import Any

import pytest

from flows.planning.requested import Selection, requested_partitions
from flows.settings import code_version
from flows.views import server_checks
from flows.views.preflight import first_try, preflight
from scrapers.registry import scraper, sources

NOW = dt.datetime(2026, 11, 29, 17, tzinfo=dt.UTC)


@pytest.mark.parametrize("name", sources())
def test_the_first_try_of_every_source_is_a_command_that_asks_for_a_little_of_it(name: str) -> None:
    source = copy(scraper(name))
    if source.has_series and not source.entities:
        source.entities = ("one.example", "two.example")
    words = shlex.split(first_try(source, NOW))
    assert words[:3] == ["gapless", "run", name]
    assert words[-2:] == ["--reason", "test"]
    if source.step == "whole":
        option, entities = words[3:-2]
        assert option == "--entities"
        selected = Selection(entities=entities)
    else:
        selected = Selection(*map(dt.date.fromisoformat, words[3:-2]))
    found = requested_partitions(source, selected, NOW)
    assert 1 <= len(found) <= max(3, len(source.names_of_entities))


def test_a_fault_in_the_code_of_a_source_is_one_line_of_the_report(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any) -> Any:
        raise KeyError("data")

    monkeypatch.setattr(type(scraper("bdl_box_scores")), "inspect", faulty)
    checks = {one.name: one for one in preflight(place.services, "bdl_box_scores", NOW, test_mail=False, canary=True)}
    assert (checks["source"].result, checks["source"].detail) == ("fail", "KeyError: 'data'")
    assert checks["source"].remedy.startswith("probably ours: look at ")
    assert [name for name, one in checks.items() if one.result == "fail"] == ["source"]
    assert "memory" in checks


def test_a_paused_deployment_is_a_warning_because_a_run_by_hand_begins_all_the_same() -> None:
    paused = SimpleNamespace(paused=True, version=code_version())
    first, *_ = server_checks._deployed(paused)  # type: ignore[arg-type]
    assert (first.name, first.result, first.detail) == ("deployment", "warn", "paused: its schedules begin no run")
