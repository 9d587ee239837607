"""Sources of every kind can be simulated: those that keep no history, and those that others have to go before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.errors import ConfigurationError
from deployments.local.simulate_samples import SAMPLES
from deployments.local.stack_environment import settings_of_sources
from deployments.local.upstreams.odds_upstream import ODDS_KEY, OddsUpstream
from deployments.local.upstreams.racing_upstream import RacingUpstream
from deployments.local.upstreams.racing_world import RacingWorld
from deployments.local.upstreams.shops_upstream import ShopsUpstream
from flows.asked import Asked
from flows.settings import Settings
from flows.simulate.explore import explore
from flows.simulate.schedule import prepared, run_schedule, truth_of
from flows.simulate.subject import Subject, subject_of
from scrapers.registry import sources

RACES = RacingWorld(meetings=(1, 2), races=(2, 4), runners=(3, 8), bookmakers=3, horses=400)


def of_sample(world: str, port: int, source: str, **asked: Any) -> Subject:
    of_sources = settings_of_sources({world: port})
    settings = Settings(
        google_project="p",
        console_only=True,
        **{name.removeprefix("GAPLESS_").lower(): told for name, told in of_sources.items()},
    )
    given = {"source": source, "max_concurrency": 2, "ignore_requires": True, **asked}
    return subject_of(settings, Asked.model_validate(given))


@pytest.fixture(scope="module")
def shops() -> Iterator[Subject]:
    with ShopsUpstream() as upstream:
        day = "2025-01-10"
        yield of_sample("shops", port_of(upstream.url), "coffee_shops", start_date=day, end_date=day)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_a_source_that_keeps_no_history_is_asked_on_its_day_and_a_run_of_it_ends_in_every_order_of_its_tasks(
    shops: Subject,
) -> None:
    """In the orders of seeds 103 and 105, windows once held all places while each waited for one that had none."""
    found = explore(shops, seed=103, schedules=3, faults=True)
    assert found.truth is not None
    assert set(found.truth.verdicts.values()) == {"verified"}
    assert len(found.truth.verdicts) == 6
    assert found.broken == []


def test_a_column_that_says_when_the_source_was_asked_is_no_part_of_the_truth(shops: Subject) -> None:
    passing = truth_of(shops).passing
    assert passing["product_sightings"] == {"scraped_at"}
    assert "product_id" not in passing["scrape_artifacts"]
    assert {"object_name", "fetched_at"} <= passing["scrape_artifacts"]


def test_what_has_to_be_done_first_is_done_before_every_schedule_and_its_answers_are_asked_for_once() -> None:
    with RacingUpstream(world=RACES, per_second=0) as upstream:
        subject = of_sample(
            "racing", port_of(upstream.url), "racing_cards", start_date="2025-01-10", end_date="2025-01-11"
        )
        ready = prepared(subject)
        assert len(ready.before.tables["ra_mst_courses"].rows) > 10
        asked = len(subject.answers.known)
        found = explore(subject, seed=0, schedules=2, faults=True)
    assert found.broken == []
    assert found.truth is not None
    assert set(found.truth.verdicts) == {"2025-01-10", "2025-01-11"}
    assert found.truth.tables["ra_mst_courses"] == ready.before.tables["ra_mst_courses"]
    assert len(subject.answers.known) > asked > 0


def test_a_run_that_has_to_go_before_and_is_refused_says_why() -> None:
    subject = of_sample("racing", 1, "racing_cards", start_date="2025-01-10", end_date="2025-01-11")
    refused = subject.settings.model_copy(update={"source_rate_per_minute": {"racing_reference": 2}})
    with pytest.raises(ConfigurationError, match=r"without any fault: .* a limit is set for racing_reference"):
        prepared(dataclasses.replace(subject, settings=refused))


def test_a_key_that_travels_in_the_query_is_neither_in_a_trace_nor_in_a_remembered_question() -> None:
    with OddsUpstream(per_second=0) as upstream:
        subject = of_sample(
            "odds", port_of(upstream.url), "odds_events", start_date="2025-06-05", end_date="2025-06-05"
        )
        truth = run_schedule(subject, 0)
    asked = [*subject.answers.known, *truth.operations]
    assert any(what.startswith("call ") for what in truth.operations)
    assert set(truth.verdicts.values()) == {"verified"}
    assert not [what for what in asked if ODDS_KEY in what]


def test_every_source_has_a_sample_that_is_simulated() -> None:
    assert set(SAMPLES) == set(sources())
