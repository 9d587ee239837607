"""`gapless preflight --deep` on a real (local) BigQuery: all that a source sends, and nothing left of it."""

from __future__ import annotations

from typing import Any

import pytest

from flows.views.deep_preflight import YEAR, deep_preflight
from processors.registry import views_filled_by
from processors.warehouse import BigQueryWarehouse

SOURCES = ("bdl_box_scores", "civic_band", pytest.param("racing_results", marks=pytest.mark.long))


def _left(place: Any) -> tuple[set[str], list[str]]:
    datasets = {one.dataset_id for one in place.services.warehouse._open().list_datasets()}
    return datasets, [one.name for one in place.services.store.list("probe/")]


@pytest.mark.parametrize("source", SOURCES)
def test_a_deep_preflight_tries_every_load_and_statement_and_leaves_no_trace(place: Any, source: str) -> None:
    before = _left(place)

    checks = deep_preflight(place.services, source)

    assert [one for one in checks if one.result != "pass"] == []
    names = [one.name for one in checks]
    for table in place.services.source_kit(source).processor.tables:
        assert f"load 4 of {table.name}" in names
        if not table.whole_entity:
            assert f"one date: replace of {table.name}" in names
            assert f"one date: recount of {table.name}" in names
            (year,) = (one for one in checks if one.name == f"a year of {table.name}")
            assert year.detail == f"{3 * YEAR:,} rows"
    for view in views_filled_by(place.services.source_kit(source).processor.tables):
        (viewed,) = (one for one in checks if one.name == f"view {view.name}")
        assert viewed.detail.startswith("3 rows; ")
    (recounted,) = (one for one in checks if one.name == "recount")
    assert recounted.detail.startswith("OK: ")
    assert sum(name.startswith("statement ") for name in names) >= 8
    assert _left(place) == before


@pytest.mark.long
def test_a_deep_preflight_lists_what_google_refuses_and_goes_on(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def misspelt(table: Any, warehouse: BigQueryWarehouse) -> str:
        return f"SELECT 1 AS nulls FROM {warehouse.name_of(table.name)}"

    monkeypatch.setattr("processors.verification.count_sql", misspelt)
    before = _left(place)

    checks = deep_preflight(place.services, "bdl_box_scores")

    refused = [one for one in checks if one.result == "fail"]
    assert len(refused) >= 2
    assert all("Syntax error: Unexpected keyword NULLS at [1:13]" in one.detail for one in refused)
    assert all(one.remedy for one in refused)
    assert checks[-1].name == "clean"
    assert checks[-1].result == "pass"
    assert _left(place) == before


@pytest.mark.long
def test_a_statement_that_reads_the_whole_year_fails_the_deep_preflight(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpruned(table: Any, warehouse: BigQueryWarehouse) -> str:
        column = table.partition_field
        return f"SELECT * FROM {warehouse.name_of(table.name)} WHERE `{column}` IN (SELECT D FROM UNNEST(@days) AS D)"

    monkeypatch.setattr("flows.views.deep_preflight.count_sql", unpruned)

    checks = deep_preflight(place.services, "bdl_box_scores")

    failed = [one for one in checks if one.result == "fail"]
    assert [one.name.partition(" of ")[0] for one in failed] == ["one date: recount"] * 2
    assert all("more than one partition is read" in one.detail for one in failed)


def test_a_deep_preflight_without_a_bucket_says_so_and_makes_nothing(
    place: Any, gapless: Any, monkeypatch: Any
) -> None:
    before = _left(place)[0]
    monkeypatch.setenv("GAPLESS_BUCKET", "no-such-bucket")

    answered = gapless("preflight", "bdl_box_scores", "--deep", "--json")

    assert answered.code == 1
    assert [one["name"] for one in answered.data["checks"]] == ["bucket"]
    assert "gcloud storage buckets create gs://no-such-bucket" in answered.data["checks"][0]["remedy"]
    assert _left(place)[0] == before


def test_a_fault_of_ours_is_one_line_of_a_deep_preflight_which_still_takes_everything_away(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("flows.views.deep_preflight._load_twice", faulty)
    monkeypatch.setattr("flows.views.deep_preflight._year", faulty)
    before = _left(place)

    checks = {one.name: one for one in deep_preflight(place.services, "bdl_box_scores")}

    for name in ("loads of nba_bdl_games", "one date of nba_bdl_games"):
        assert (checks[name].result, checks[name].detail) == ("fail", "ZeroDivisionError: a fault of ours")
    assert checks["clean"].result == "pass"
    assert _left(place) == before
