"""Tables and views of The Racing API against a made-up world that says itself what they must hold."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deployments.local.upstreams import racing_truth as truth
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER, RacingUpstream
from deployments.local.upstreams.racing_world import RacingWorld
from processors.admission import Admission
from processors.base import LandedPage
from processors.load_plan import pack
from processors.platforms.racing_api import money, seconds
from processors.registry import processor
from scrapers.base import SourceAccess
from scrapers.client import SourceClient
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

NOW = dt.datetime(2025, 10, 14, 21, 0, tzinfo=dt.UTC)
WORLD = RacingWorld(meetings=(1, 2), races=(2, 3), runners=(3, 6), bookmakers=2, horses=60, is_busy_boxing_day=False)
LOGIN = {"racing_api_user": RACING_USER, "racing_api_password": RACING_PASSWORD}
CARDS, RESULTS = "racing_cards", "racing_results"
FIRST = dt.date(2025, 9, 20)
WEEKS = [[FIRST + dt.timedelta(days=7 * week + day) for day in range(7)] for week in range(2)]
DATES = [day for week in WEEKS for day in week]
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "racing_api"

RENAMED = {"name": "race_name", "type": "race_type", "beaten": "beaten_lengths"}
RENAMED |= {"beaten_overall": "beaten_overall_lengths"}
MASTERS = {
    "ra_mst_horses": ("horse_id", "horse", truth.horses),
    "ra_mst_jockeys": ("jockey_id", "jockey", truth.jockeys),
    "ra_mst_trainers": ("trainer_id", "trainer", truth.trainers),
    "ra_mst_owners": ("owner_id", "owner", truth.owners),
    "ra_mst_sires": ("sire_id", "sire", truth.sires),
    "ra_mst_dams": ("dam_id", "dam", truth.dams),
    "ra_mst_damsires": ("damsire_id", "damsire", truth.damsires),
}
Load = Callable[..., None]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RacingUpstream]:
    with RacingUpstream(world=WORLD, per_second=0, now=NOW) as server:
        yield server


@pytest.fixture
def load(bench: Any, upstream: RacingUpstream) -> Load:
    """Fetches dates of a source, loads them in as few batches as can be, and recounts them."""

    def landed(name: str, dates: list[dt.date]) -> list[Manifest]:
        source = scraper(name)
        with SourceClient(source, SourceAccess(upstream.url, LOGIN), Budget(Rate())) as client:
            context = ScrapeContext(source, client, bench.landing, "b1", "0", now=lambda: NOW)
            return [scrape(Partition.day(date, source.zone), context) for date in dates]

    def load(name: str, dates: list[dt.date]) -> None:
        bench.processor = processor(name)
        for batch in pack(landed(name, dates)):
            receipt = bench.process(*batch, accept_shrink=False)
            assert receipt.failures == {}
            assert receipt.unknown_fields == {}
            assert receipt.absent_fields == {}
            assert all(one.is_ok for one in bench.verify(*batch, receipt=receipt).values())

    return load


def rows(bench: Any, table: str) -> list[dict[str, Any]]:
    found = bench.warehouse.query(f"SELECT * FROM {bench.warehouse.name_of(table)}")
    return [{**row} for row in found]


def in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: [str(row.get(name)) for name in ("race_id", "horse_id", "bookmaker", "id")])


def races_and_runners(bench: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """As they are, in the words of the truth."""
    names = {new: old for old, new in RENAMED.items()}
    races, runners = rows(bench, "ra_races"), rows(bench, "ra_runners")
    run = {race["race_id"] for race in races if race["has_result"]}
    for runner in runners:
        runner["did_run"] = runner["is_in_result"] if runner["race_id"] in run else None
    told = [[{names.get(name, name): value for name, value in row.items()} for row in one] for one in (races, runners)]
    return told[0], told[1]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Column by column of the truth, over all rows at once."""
    found, expected = in_order(found), in_order(expected)
    assert len(found) == len(expected) > 0
    for column in expected[0]:
        wanted = [row.get(column) for row in expected]
        if column == "number":
            wanted = [None if value is None else str(value) for value in wanted]
        assert [row[column] for row in found] == wanted, column


def check(bench: Any, dates: list[dt.date], *, cards: bool = True, results: bool = True) -> None:
    races, runners = races_and_runners(bench)
    same(races, truth.races(WORLD, dates, cards=cards, results=results))
    same(runners, truth.runners(WORLD, dates, cards=cards, results=results))
    if cards:
        same(rows(bench, "ra_runner_odds"), truth.prices(WORLD, dates))
        assert sorted(row["bookmaker"] for row in rows(bench, "ra_mst_bookmakers")) == truth.bookmakers(WORLD, dates)
    for view, (key, name, told) in MASTERS.items():
        found = [{**row, "id": row[key], "name": row[name]} for row in rows(bench, view)]
        expected = told(WORLD, dates, cards=cards)
        parents = {"sire_id", "dam_id", "damsire_id"}
        columns = list(dict.fromkeys(column for row in expected for column in row if column not in parents))
        same(found, [{column: row.get(column) for column in columns} for row in expected])
    pedigree = [{**row, "id": row["horse_id"]} for row in rows(bench, "ra_horse_pedigree")]
    wanted = ("id", "sire_id", "dam_id", "damsire_id")
    same(pedigree, [{name: row[name] for name in wanted} for row in truth.horses(WORLD, dates, cards=cards)])


def content(bench: Any) -> dict[str, list[str]]:
    return {view: sorted(map(repr, rows(bench, view))) for view in ("ra_races", "ra_runners", "ra_mst_horses")}


def without_master(bench: Any) -> dict[str, int]:
    """Runners by master view of which that view does not have the id."""
    name_of = bench.warehouse.name_of
    parts = [
        f"SELECT '{view}' AS master, COUNTIF(M.first_seen IS NULL) AS n FROM {name_of('ra_runners')} R "
        f"LEFT JOIN {name_of(view)} M ON R.{key} = M.{key} WHERE R.{key} IS NOT NULL"
        for view, (key, _, _) in MASTERS.items()
    ]
    return {row["master"]: row["n"] for row in bench.warehouse.query(" UNION ALL ".join(parts))}


def fill(bench: Any, load: Load, first: str, early: list[dt.date], late: list[dt.date]) -> None:
    """The late dates of the first source come before all others, and each source has a week that came too late."""
    second = RESULTS if first == CARDS else CARDS
    load(first, late)
    load(second, early)
    load(first, early)
    load(second, late)
    check(bench, early + late)


def test_results_before_cards_newer_dates_before_older_ones_and_a_kill_between_two_tables_equal_the_truth(
    bench: Any, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = WEEKS[0][:2], WEEKS[1][:2]
    load(RESULTS, late)
    load(CARDS, late)
    load(CARDS, early)
    replace, replaced = bench.warehouse.replace, []

    def killed(batch: Any, staged: Any, *rest: Any) -> Any:
        if replaced:
            raise KeyboardInterrupt
        replaced.append(batch.table.name)
        return replace(batch, staged, *rest)

    monkeypatch.setattr(bench.warehouse, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        load(RESULTS, early)
    assert replaced == ["ra_results"]
    monkeypatch.undo()
    load(RESULTS, early)
    check(bench, early + late)
    before = content(bench)
    load(CARDS, early)
    assert content(bench) == before

    assert without_master(bench) == dict.fromkeys(MASTERS, 0)
    races, runners = races_and_runners(bench)
    without = {(row["race_id"], row["horse_id"]) for row in runners if row["did_run"] is False}
    expected = [row for row in truth.runners(WORLD, early + late) if row["did_run"] is False]
    assert without == {(row["race_id"], row["horse_id"]) for row in expected} != set()
    assert {race["race_id"] for race in races if race["is_abandoned"]}.isdisjoint(race for race, _ in without)


@pytest.mark.long
@pytest.mark.parametrize("only", [CARDS, RESULTS])
def test_one_source_alone_equals_what_the_truth_says_that_it_knows(bench: Any, load: Load, only: str) -> None:
    load(only, WEEKS[0])
    check(bench, WEEKS[0], cards=only == CARDS, results=only == RESULTS)


@pytest.mark.long
@pytest.mark.parametrize("first", [CARDS, RESULTS])
def test_a_fortnight_equals_the_truth_whichever_source_and_week_comes_first_and_again(
    bench: Any, load: Load, first: str
) -> None:
    fill(bench, load, first, *WEEKS)
    before = content(bench)
    for name in (RESULTS, CARDS):
        load(name, DATES)
    assert content(bench) == before


@pytest.mark.long
@pytest.mark.parametrize("first", [CARDS, RESULTS])
def test_a_year_equals_the_truth_whichever_source_comes_first(bench: Any, load: Load, first: str) -> None:
    year = [dt.date(2024, 10, 14) + dt.timedelta(days=number) for number in range(360)]
    fill(bench, load, first, year[:180], year[180:])


# -- recorded answers of the real API ------------------------------------------------------------------------


def recorded(source: str, file: str, name: str) -> tuple[list[Any], dict[str, list[Any]]]:
    """The races of a recording that are of one date, and the rows that the processor makes of them."""
    if not FIXTURES.exists():
        pytest.skip("the recordings are not part of the repository")
    document = json.loads((FIXTURES / file).read_text())
    races = document.get(name, [document])
    date = races[0]["date"]
    of, admitted = processor(source), {table.name: [] for table in processor(source).tables}
    partition = Partition.day(dt.date.fromisoformat(date), "Europe/London")
    admission = Admission(partition, of.tables, lambda table: lambda line: admitted[table].append(json.loads(line)))
    body = json.dumps({name: [race for race in races if race["date"] == date]}).encode()
    for table, raw in of.rows(partition, LandedPage("/", (), 200, {}, NOW, body)):
        admission.take(table, raw)
    assert admission.rejects == []
    assert dict(admission.unknown_fields) == {}
    return [race for race in races if race["date"] == date], admitted


@pytest.mark.parametrize("file", ["racecards_pro_2025-10-13.json", "race_pro_rac_10975861.json"])
def test_recorded_cards_give_exactly_their_races_runners_and_prices(file: str) -> None:
    races, admitted = recorded(CARDS, file, "racecards")
    runners = [(race, runner) for race in races for runner in race["runners"]]
    assert [row["race_id"] for row in admitted["ra_cards"]] == [race["race_id"] for race in races]
    assert [row["horse_id"] for row in admitted["ra_card_runners"]] == [one["horse_id"] for _, one in runners]
    prices = {
        (race["race_id"], one["horse_id"], price["bookmaker"], price["updated"])
        for race, one in runners
        for price in one["odds"]
    }
    assert len(admitted["ra_runner_odds"]) == len(prices) > 0
    withdrawn = [one["horse_id"] for _, one in runners if one["number"] == "NR"]
    assert [row["horse_id"] for row in admitted["ra_card_runners"] if row["number"] is None] == withdrawn
    assert all(row["prize_currency"] == "GBP" and Decimal(row["prize"]) > 0 for row in admitted["ra_cards"])


@pytest.mark.parametrize(
    "file", ["results_2025-10-07_gb_ire_limit5.json", "results_2025-10-13_limit25.json", "horse_results.json"]
)
def test_recorded_results_give_exactly_their_races_and_runners(file: str) -> None:
    races, admitted = recorded(RESULTS, file, "results")
    runners = [runner for race in races for runner in race["runners"]]
    assert [row["race_id"] for row in admitted["ra_results"]] == [race["race_id"] for race in races]
    assert [row["horse_id"] for row in admitted["ra_result_runners"]] == [one["horse_id"] for one in runners]
    unrated = [one["horse_id"] for one in runners if one["or"] == "\u2013"]
    assert [row["horse_id"] for row in admitted["ra_result_runners"] if row["official_rating"] is None] == unrated
    assert not any("(" in row["horse"] for row in admitted["ra_result_runners"])


@pytest.mark.parametrize("text", ["€5,00", "1,2", "£", "12,34,567", "£٥"])
def test_a_sum_with_another_comma_is_refused_and_not_taken_for_a_hundred_times_as_much(text: str) -> None:
    with pytest.raises(ValueError, match="is no sum of money"):
        money(text)


@pytest.mark.parametrize("text", ["1:NaN", "1_0", "1:2:3", "-", ""])
def test_a_time_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time of minutes and seconds"):
        seconds(text)
