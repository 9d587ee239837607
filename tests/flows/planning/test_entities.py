"""Sources that are asked by entity: what was asked for, what is due, and whose error concerns whom."""

from __future__ import annotations

import datetime as dt

import pytest

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    SourceContractError,
)
from flows.asked import Asked
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.verdicts import concerns_one_partition, reached
from flows.parameters import NO_DATE, Mode
from flows.planning.plan import Path, PlanRules, make_plan
from flows.planning.requested import Selection, requested_entities, requested_partitions
from flows.settings import Settings
from scrapers.partition import Partition, windows
from scrapers.registry import scraper

NOW = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)
CIVIC, DATED = scraper("civic_band"), scraper("bdl_box_scores")


def keys(entities: str, exclude: str = "") -> list[str]:
    return [partition.key for partition in requested_entities(CIVIC, entities, exclude)]


def test_v08_v09_a_name_is_all_its_documents_and_all_is_every_declared_one():
    assert keys("b.ca, a.ca") == ["a.ca~agendas", "a.ca~minutes", "b.ca~agendas", "b.ca~minutes"]
    assert keys("a.ca~minutes") == ["a.ca~minutes"]
    assert keys("all") == sorted(f"{town}~{kind}" for town in CIVIC.entities for kind in ("agendas", "minutes"))
    assert keys("all~minutes", exclude=", ".join(CIVIC.entities[1:])) == [f"{CIVIC.entities[0]}~minutes"]


@pytest.mark.parametrize("entities", ["", " , ", "a/b", "-a.ca", "a.ca~videos", "a.ca@2025-01-01", "a.ca~agendas~x"])
def test_what_cannot_be_an_entity_is_refused_before_any_effect(entities):
    with pytest.raises(ConfigurationError, match="Nothing was done"):
        keys(entities)


@pytest.mark.parametrize("text", ["2025-01-05..2025-01-03", "2025-01..2025-02-03", "%FF", "a%C3.ca"])
def test_text_that_no_list_of_names_can_be_is_refused_and_never_an_unknown_error(text):
    shops, day = scraper("coffee_shops"), dt.date(2026, 1, 1)
    for source, selected in (
        (CIVIC, Selection(entities=text)),
        (CIVIC, Selection(entities="all", exclude=text)),
        (shops, Selection(day, day, entities=text)),
        (shops, Selection(day, day, dates=text)),
        (shops, Selection(day, day, dates=text, entities="a.example")),
    ):
        with pytest.raises(ConfigurationError, match="Nothing was done"):
            requested_partitions(source, selected, NOW)


@pytest.mark.parametrize("left_empty", [",", " , ", "(a.ca)"])
def test_an_exclusion_that_names_no_entity_is_refused_and_not_passed_over(left_empty):
    with pytest.raises(ConfigurationError, match=r"exclude: no entity in .* Nothing was done"):
        keys("all", exclude=left_empty)


def test_an_exclusion_of_a_date_of_an_entity_is_refused_by_a_source_without_entities():
    day = dt.date(2026, 1, 1)
    with pytest.raises(ConfigurationError, match=r"exclude: a\.example@2026-01-01 is no day of bdl_box_scores"):
        requested_partitions(DATED, Selection(day, day, exclude="a.example@2026-01-01"), NOW)


def test_v23_dates_and_entities_are_never_mixed():
    day = dt.date(2026, 1, 1)
    for source, start, end, entities in (
        (CIVIC, day, day, "all"),
        (DATED, day, day, "all"),
        (DATED, NO_DATE, day, ""),
        (CIVIC, NO_DATE, NO_DATE, ""),
    ):
        with pytest.raises(ConfigurationError):
            requested_partitions(source, Selection(start, end, entities=entities), NOW)


def test_a_verified_snapshot_is_skipped_while_it_is_fresh_and_fetched_again_later():
    partitions = requested_entities(CIVIC, "a.ca")

    def path(age: dt.timedelta, mode: Mode = Mode.INCREMENTAL) -> Path:
        entry = LedgerEntry("civic_band", "a.ca~agendas", Verdict.VERIFIED, "b", NOW - age)
        plan = make_plan(CIVIC, partitions, {"a.ca~agendas": entry}, PlanRules(mode=mode, since=NOW))
        assert plan.date_echo() == "2 entities"
        assert (plan.start_date, plan.end_date) == (NO_DATE, NO_DATE)
        return plan.items[0].path

    assert path(CIVIC.fresh_for / 2) is Path.SKIP
    assert path(CIVIC.fresh_for * 1.1) is Path.FETCH
    assert path(CIVIC.fresh_for / 2, Mode.FULL) is Path.FETCH


def test_hundreds_of_entities_share_subflows():
    many = [Partition.whole(f"t{number:03}.ca", "UTC") for number in range(100)]
    assert [len(window) for window in windows(many)] == [31, 31, 31, 7]


def test_an_error_of_one_entity_stops_that_one_and_an_error_of_the_source_stops_all():
    town, day = Partition.whole("a.ca~agendas", "UTC"), Partition.day(dt.date(2026, 1, 1), "UTC")
    for error, alone in (
        (SourceContractError("404"), (True, True)),
        (ConfigurationError("the source answered 422", status=422), (True, True)),
        (ConfigurationError("no bucket"), (False, False)),
        (BlockedBySource("challenge"), (False, False)),
        (AuthenticationError("401"), (False, False)),
        (BudgetExhausted("spent"), (False, False)),
        (CriticalError("unknown"), (False, False)),
    ):
        found = tuple(concerns_one_partition(error, one, has_sites=False) for one in (town, day))
        assert found == alone


def test_a_block_concerns_one_entity_only_where_each_has_a_site_of_its_own():
    town, listed = Partition.whole("a.ca~agendas", "UTC"), Partition.whole("courses", "UTC")
    assert (scraper("civic_band").has_sites, scraper("racing_reference").has_sites) == (True, False)
    for one, source in ((town, CIVIC), (listed, scraper("racing_reference"))):
        alone = concerns_one_partition(BlockedBySource("challenge"), one, has_sites=source.has_sites)
        assert alone == source.has_sites


def test_v21_an_error_says_how_far_a_paginated_partition_came():
    assert reached(SourceContractError("x", rows_kept=3000, last_cursor="00b2")) == {
        "pages_fetched": 3000,
        "last_cursor": "00b2",
    }
    assert reached(ValueError("x")) == {}


def test_a_run_that_goes_on_after_a_pause_asks_for_the_same_entities():
    asked = Asked.model_validate({"source": "civic_band", "start_date": None, "end_date": None, "entities": "all"})
    again = Asked.model_validate(asked.resumed("bf-1"))
    assert (again.entities, again.start_date, again.range_text) == ("all", NO_DATE, "all")


def test_an_entity_from_the_settings_or_the_scraper_passes_the_same_check_as_one_that_is_asked_for() -> None:
    class Declared(scraper("civic_band").__class__):  # type: ignore[misc]
        entities = ("alameda.ca", "../../ledger")

    for entities in (("alameda.ca", "../../ledger"), ("alameda.ca", "a\nb"), ("x" * 201,), ("a@b",), ("all/x",)):
        Declared.entities = entities
        with pytest.raises(ConfigurationError, match="Nothing was done"):
            requested_entities(Declared(), "all")
    Declared.entities = ("alameda.ca", "x" * 200)
    assert requested_entities(Declared(), "all")


def test_a_name_that_is_too_long_for_an_object_is_refused_with_its_length() -> None:
    with pytest.raises(ConfigurationError, match="has 1,025 characters, 200 are possible"):
        requested_entities(scraper("civic_band"), "x" * 1025)


@pytest.mark.parametrize(
    "wrong",
    [{"bucket": "b" * 223}, {"bucket": "UPPER"}, {"dataset": "d" * 1025}, {"dataset": "a-b"}, {"bucket": "a/b"}],
)
def test_a_bucket_or_dataset_that_google_refuses_is_refused_before_any_effect(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=f"GAPLESS_{next(iter(wrong)).upper()}.*Nothing was done"):
        Settings(**wrong)
