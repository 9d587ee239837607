"""What every source has of what it must have, side by side, and where they disagree. On emulators."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from toy_family import PROCESSORS, TOYS, ToyServices

from alerting.instant import utc_now
from flows.cli.side_by_side import coverage_document, coverage_lines
from flows.ledger.ledger import Verdict
from flows.truth.deficits import Deficit
from flows.truth.kept_look import keep_look_at
from flows.truth.side_by_side import SideBySide, read_side_by_side

from ..test_oracles import DAYS, PLAYED, deficits, game, put_calendar, ran

FIRST, LAST = dt.date.fromisoformat(DAYS[0]), dt.date.fromisoformat(DAYS[-1])


@pytest.fixture
def services(provisioned: Any) -> ToyServices:
    toys = ToyServices(provisioned("bdl_box_scores", "http://127.0.0.1:9", {}).settings)
    for name in TOYS:
        for table in PROCESSORS[name].tables:
            toys.warehouse.ensure_table(table)
    for day, games in PLAYED.items():
        toys.upstream.rows["games", day] = [game(day, teams) for teams in games]
        toys.upstream.rows["scores", day] = [
            {"game_date": day, "home": one["home"], "guest": one["visitor"]} for one in toys.upstream.rows["games", day]
        ]
    put_calendar(toys)
    ran(toys, "calendar")
    return toys


def looked(services: ToyServices) -> SideBySide:
    return read_side_by_side(services, ["games", "scores"], FIRST, LAST, utc_now())


def counts(found: SideBySide) -> dict[str, tuple[int, ...]]:
    return {one.source: (one.expected, one.landed, one.loaded, one.verified, one.more) for one in found.standings}


def test_before_anything_is_fetched_all_of_it_is_expected_and_nothing_is_a_disagreement(services: ToyServices) -> None:
    found = looked(services)
    assert counts(found)["games"] == (6, 0, 0, 0, 0)
    assert found.disagreements == ()
    assert not found.is_whole
    # Nobody has verified what the scores are held to.
    assert found.standings[1].unjudged == {"games is not verified there": DAYS}


def test_a_range_of_which_nothing_is_expected_is_not_called_there_and_verified(services: ToyServices) -> None:
    found = read_side_by_side(
        services, ["games", "scores"], FIRST.replace(year=1995), LAST.replace(year=1995), utc_now()
    )
    assert coverage_lines("toys", found)[0].endswith("nothing is expected here")


def test_a_whole_range_says_so(services: ToyServices) -> None:
    ran(services, "games")
    ran(services, "scores")
    found = looked(services)
    assert counts(found) == {"games": (6, 6, 6, 6, 0), "scores": (6, 6, 6, 6, 0)}
    assert found.is_whole
    assert coverage_lines("toys", found)[0].endswith("everything that is expected is there and verified")


def test_a_dropped_and_a_moved_game_are_named_in_one_table_with_what_each_source_has(services: ToyServices) -> None:
    ran(services, "games")
    ran(services, "scores")
    put_calendar(services, {**PLAYED, "2025-01-01": ["A-B"], "2025-01-03": ["C-D"], "2025-01-02": ["B-A", "C-B"]})
    ran(services, "calendar", mode="full")
    found = looked(services)
    told = {(one.date, one.item): (dict(one.states), one.note) for one in found.disagreements}
    assert told == {
        ("2025-01-01", "CD"): ({"games": "more"}, "expected on 2025-01-03"),
        ("2025-01-02", "CB"): ({"games": "missing"}, ""),
        ("2025-01-03", "CD"): ({"games": "missing"}, ""),
    }
    assert {(one.date, one.item): dict(one.kinds) for one in found.disagreements} == {
        ("2025-01-01", "CD"): {"games": "moved"},
        ("2025-01-02", "CB"): {"games": "missing"},
        ("2025-01-03", "CD"): {"games": "moved"},
    }
    assert counts(found)["games"] == (7, 5, 5, 5, 1)
    assert deficits(services) == {
        "2025-01-01": (Deficit.MOVED, "calendar has CD on 2025-01-03"),
        "2025-01-02": (Deficit.MISSING_ITEMS, "1 of 2 games in calendar not there: CB"),
        "2025-01-03": (Deficit.MISSING_ITEMS, "1 of 1 game in calendar not there: CD"),
    }
    lines = "\n".join(coverage_lines("toys", found))
    assert "3 disagreements" in lines
    assert "2025-01-01  CD    more     expected on 2025-01-03" in lines
    document = coverage_document("toys", found)
    assert [one["item"] for one in document["disagreements"]] == ["CD", "CB", "CD"]


def test_what_is_landed_and_not_loaded_and_what_is_loaded_and_not_verified_are_told_apart(
    services: ToyServices,
) -> None:
    ran(services, "games")
    ledger = services.source_kit("games").ledger
    ledger.refresh()
    services.warehouse.query(
        f"DELETE FROM {services.warehouse.name_of('toy_games')} WHERE game_date = DATE '2025-01-01'"
    )
    ledger.advance("2025-01-01", Verdict.LANDED, "bf-1", utc_now())
    ledger.advance("2025-01-02", Verdict.PARTIAL, "bf-1", utc_now())
    ledger.advance("2025-01-05", Verdict.BLOCKED, "bf-1", utc_now())
    assert counts(looked(services))["games"] == (6, 6, 4, 2, 0)


def rows_of(services: ToyServices, table: str, columns: str) -> list[tuple[Any, ...]]:
    sql = f"SELECT {columns} FROM {services.warehouse.name_of(table)} ORDER BY {columns}"
    return [tuple(row.values()) for row in services.warehouse.query(sql)]


def test_a_kept_look_is_two_tables_which_a_later_look_at_the_same_dates_takes_the_place_of(
    services: ToyServices,
) -> None:
    counted, told = "date, source, expected, loaded, verified, verdict", "date, item, source, kind, other_dates"
    ran(services, "games")
    services.upstream.rows["games", DAYS[3]] += [game(DAYS[3], "Z-Y")]
    put_calendar(services, {**PLAYED, "2025-01-01": ["A-B"], "2025-01-03": ["C-D"], "2025-01-02": ["B-A", "C-B"]})
    ran(services, "calendar", mode="full")
    ran(services, "games", DAYS[3], DAYS[3], mode="full")
    keep_look_at(services, ["calendar", "games", "scores"], FIRST, LAST, utc_now())
    first, second, third, fourth = (dt.date.fromisoformat(day) for day in DAYS[:4])
    disagreements = rows_of(services, "gapless_disagreements", told)
    assert (first, "CD", "games", "moved", str(third)) in disagreements
    assert (second, "CB", "games", "missing", None) in disagreements
    assert [row[0] for row in disagreements if row[3] == "extra"] == [fourth]
    coverage = {row[:2]: row[2:] for row in rows_of(services, "gapless_coverage", counted)}
    assert coverage[second, "games"] == (2, 1, 1, "verified")

    # What is mended is gone, and what is of other dates stays.
    for day, teams in ((DAYS[0], ["A-B"]), (DAYS[1], ["B-A", "C-B"]), (DAYS[2], ["C-D"])):
        services.upstream.rows["games", day] = [game(day, one) for one in teams]
    ran(services, "games", DAYS[0], DAYS[2], mode="full")
    keep_look_at(services, ["games", "scores"], first, third, utc_now())
    left = rows_of(services, "gapless_disagreements", told)
    assert left == [row for row in disagreements if row[0] > third]
    coverage = {row[:2]: row[2:] for row in rows_of(services, "gapless_coverage", counted)}
    assert coverage[second, "games"] == (2, 2, 2, "verified")
    assert not list(services.store.list("staging/"))

    for source in ("games", "scores"):
        ledger = services.source_kit(source).ledger
        ledger.refresh()
        ledger.advance(DAYS[0], Verdict.PARTIAL, "bf-1", utc_now(), error="1 of 1 game not there: A-B")
    keep_look_at(services, ["games", "scores"], first, first, utc_now())
    told_of = "source, expected, verdict, error, doubt"
    assert [row[1:] for row in rows_of(services, "gapless_coverage", f"date, {told_of}") if row[0] == first] == [
        ("games", 1, "partial", "1 of 1 game not there: A-B", None),
        ("scores", None, "partial", "1 of 1 game not there: A-B", "games is not verified there"),
    ]
