from __future__ import annotations

import base64
import datetime as dt
import http.client
import json
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.local.upstreams import racing_truth
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER, RacingUpstream
from deployments.local.upstreams.racing_world import FIRST_DATE, RacingWorld

FIXTURES = Path(__file__).resolve().parents[5] / "shared" / "fixtures" / "racing_api"
LOGIN = "Basic " + base64.b64encode(f"{RACING_USER}:{RACING_PASSWORD}".encode()).decode()
SOMETIMES_EMPTY = re.compile(r"\.(quotes|stable_tour|medical|prev_trainers|prev_owners|past_results_flags)\[\]")
NOW = dt.datetime(2025, 10, 14, 21, 0, tzinfo=dt.UTC)
DAY = dt.date(2025, 10, 11)
BOXING_DAY = dt.date(2024, 12, 26)
SMALL = RacingWorld(meetings=(1, 2), races=(2, 4), runners=(3, 8), bookmakers=3, horses=400)
MONTH = [dt.date(2025, 9, 14) + dt.timedelta(days=offset) for offset in range(30)]


@pytest.fixture(scope="module")
def shared() -> Iterator[RacingUpstream]:
    with RacingUpstream(world=SMALL, per_second=0, now=NOW) as server:
        yield server


@pytest.fixture
def upstream(shared: RacingUpstream) -> RacingUpstream:
    shared.now, shared.too_old = NOW, "empty"
    shared.trouble()
    shared.calls.clear()
    return shared


def _ask(server: RacingUpstream, path: str, login: str = LOGIN, method: str = "GET", body: Any = None, **params: Any):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    target = f"{path}?{urllib.parse.urlencode(params, doseq=True)}" if params else path
    data = None if body is None else json.dumps(body)
    connection.request(method, target, data, {"Authorization": login} if login else {})
    answer = connection.getresponse()
    read = json.loads(answer.read())
    connection.close()
    return answer.status, read


def _good(server: RacingUpstream, path: str, **params: Any) -> Any:
    status, read = _ask(server, path, **params)
    assert status == 200, read
    return read


def _names(value: Any, under: str = "") -> set[tuple[str, str]]:
    """Every name in a document with its type, elements of lists under one name."""
    if isinstance(value, dict):
        return set().union(*(_names(part, f"{under}.{name}") for name, part in value.items()))
    if isinstance(value, list):
        return set().union({(under, "list")}, *(_names(part, f"{under}[]") for part in value))
    return {(under, type(value).__name__)}


def _fixture(name: str) -> Any:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip("recorded payloads are not beside this checkout")
    return json.loads(path.read_text())


def test_two_worlds_of_one_seed_are_one_and_those_of_two_seeds_are_not():
    assert RacingWorld().races_on(DAY) == RacingWorld().races_on(DAY)
    assert RacingWorld(seed=2).races_on(DAY) != RacingWorld().races_on(DAY)


def test_a_year_of_races_has_its_holes_its_withdrawals_and_no_horse_twice_a_day():
    days = {FIRST_DATE + dt.timedelta(days=offset): () for offset in range(365)}
    days = {date: SMALL.races_on(date) for date in days}
    assert [date for date, races in days.items() if not races] == [dt.date(2023, 12, 24), dt.date(2023, 12, 25)]
    assert len(days[dt.date(2023, 12, 26)]) > 50
    races = [race for day in days.values() for race in day]
    assert len({race.id for race in races}) == len(races)
    assert 5 < sum(race.is_abandoned for race in races) < len(races) / 20
    for day in days.values():
        horses = [runner.horse.id for race in day for runner in race.runners]
        assert len(set(horses)) == len(horses)
    runners = [runner for race in races for runner in race.runners]
    withdrawn = [runner for runner in runners if runner.withdrawn]
    assert {runner.number is None for runner in withdrawn} == {True, False}
    assert max(Counter(runner.horse.id for runner in runners).values()) > 3
    assert all(race.date == race.off.date() for race in races)


def test_positions_close_up_and_prizes_fall():
    for date in MONTH:
        for race in SMALL.races_on(date):
            placed = [outcome for _, outcome in race.finishers if outcome.beaten is not None]
            assert [outcome.position for outcome in placed] == [str(n) for n in range(1, len(placed) + 1)]
            times = [outcome.time_s for outcome in placed]
            assert times == sorted(times)
            assert bool(race.finishers) is not race.is_abandoned


def test_people_and_horses_change_and_the_newest_sighting_tells():
    early, late = ([dt.date(2024, month, day) for day in range(1, 29)] for month in (1, 12))
    first, last = ({row["id"]: row for row in racing_truth.horses(SMALL, dates)} for dates in (early, early + late))
    assert any(first[key]["sex_code"] == "C" and last[key]["sex_code"] == "G" for key in first)
    assert any(first[key]["name"] != last[key]["name"] for key in first)
    assert all(last[key]["first_seen"] == first[key]["first_seen"] for key in first)
    yards, moved = (
        {row["id"]: row["location"] for row in racing_truth.trainers(SMALL, dates)} for dates in (early, early + late)
    )
    assert any(moved[key] != yards[key] for key in yards)


@pytest.mark.parametrize("login", ["", "Basic d3Jvbmc6d3Jvbmc=", "Bearer x"])
def test_without_the_login_there_is_a_401(upstream, login):
    status, read = _ask(upstream, "/v1/courses", login=login)
    assert status == 401
    assert list(read) == ["detail"]


def test_regions_are_a_bare_array_and_courses_can_be_narrowed(upstream):
    regions = _good(upstream, "/v1/courses/regions")
    assert {"region": "Great Britain", "region_code": "gb"} in regions
    every = _good(upstream, "/v1/courses")
    british = _good(upstream, "/v1/courses", region_codes=["gb"])
    assert every["total"] == len(every["courses"]) > british["total"] == len(british["courses"]) > 0
    assert {course["region_code"] for course in british["courses"]} == {"gb"}


def test_cards_come_in_pages_and_echo_what_they_understood(upstream):
    whole = _good(upstream, "/v1/racecards/pro", date=DAY, region="gb")
    assert whole["query"] == [["date", str(DAY)]]
    assert whole["total"] == len(whole["racecards"]) == len(SMALL.races_on(DAY))
    paged = [_good(upstream, "/v1/racecards/pro", date=DAY, limit=1, skip=skip) for skip in range(whole["total"])]
    assert [page["racecards"][0] for page in paged] == whole["racecards"]


def test_results_come_newest_first_and_lack_what_is_abandoned_or_not_over(upstream):
    read = _good(upstream, "/v1/results", start_date=BOXING_DAY, end_date=BOXING_DAY, limit=50)
    ran = [race for race in SMALL.races_on(BOXING_DAY) if not race.is_abandoned]
    assert read["total"] == len(ran) > 50 == len(read["results"])
    rest = _good(upstream, "/v1/results", start_date=BOXING_DAY, end_date=BOXING_DAY, limit=50, skip=50)
    got = [*read["results"], *rest["results"]]
    assert [race["race_id"] for race in got] == [race.id for race in reversed(ran)]
    assert [race["off_dt"] for race in got] == sorted((race["off_dt"] for race in got), reverse=True)
    upstream.now = SMALL.races_on(DAY)[0].off + dt.timedelta(minutes=10)
    assert _good(upstream, "/v1/results", start_date=DAY, end_date=DAY)["total"] == 0
    assert _good(upstream, "/v1/racecards/pro", date=DAY)["total"] > 0


def test_both_lists_take_regions_under_their_own_names_only(upstream):
    day = next(date for date in MONTH if {race.region_code for race in SMALL.races_on(date)} > {"gb"})
    for path, name, wrong in (
        ("/v1/racecards/pro", "region_codes", "region"),
        ("/v1/results", "region", "region_codes"),
    ):
        when = {"date": day} if "cards" in path else {"start_date": day, "end_date": day}
        narrowed = _good(upstream, path, **when, **{name: "gb"})
        assert 0 < narrowed["total"] < _good(upstream, path, **when, **{wrong: "gb"})["total"]
        assert [name, "gb"] in narrowed["query"]


@pytest.mark.parametrize(
    ("path", "params", "name"),
    [
        ("/v1/results", {"limit": 51}, "limit"),
        ("/v1/results", {"skip": 20_001}, "skip"),
        ("/v1/results", {"start_date": "11.10.2025"}, "start_date"),
        ("/v1/racecards/pro", {"limit": 501}, "limit"),
        ("/v1/racecards/pro", {"skip": 501}, "skip"),
        ("/v1/racecards/pro", {"skip": "x"}, "skip"),
        ("/v1/racecards/pro", {"limit": 0}, "limit"),
    ],
)
def test_values_out_of_bounds_are_refused_as_fastapi_does(upstream, path, params, name):
    status, read = _ask(upstream, path, **params)
    assert status == 422
    assert read["detail"][0]["loc"] == ["query", name]
    assert set(read["detail"][0]) == {"loc", "msg", "type"}


def test_a_day_without_racing_is_an_empty_list_with_a_total_of_0(upstream):
    read = _good(upstream, "/v1/racecards/pro", date="2024-12-25")
    assert read == {"racecards": [], "total": 0, "limit": 500, "skip": 0, "query": [["date", "2024-12-25"]]}
    assert _good(upstream, "/v1/results", start_date="2024-12-25", end_date="2024-12-25")["total"] == 0


def test_before_the_floors_there_is_what_was_chosen(upstream):
    old = {"start_date": "2024-10-13", "end_date": "2024-10-13"}
    assert _good(upstream, "/v1/results", **old)["total"] == 0
    assert _good(upstream, "/v1/racecards/pro", date="2023-01-22")["total"] == 0
    assert _good(upstream, "/v1/racecards/pro", date="2023-01-23")["total"] > 0
    assert _ask(upstream, "/gapless/too_old", method="POST", body={"answer": "422"})[0] == 200
    assert _ask(upstream, "/v1/results", **old)[0] == 422
    assert _ask(upstream, "/v1/racecards/pro", date="2023-01-22")[0] == 422
    assert _good(upstream, "/v1/results", start_date="2024-10-14", end_date="2024-10-14")["total"] > 0


def test_a_single_race_has_a_card_for_ever_and_a_result_once_it_is_over(upstream):
    races = [race for date in MONTH for race in SMALL.races_on(date)]
    ran = next(race for race in races if not race.is_abandoned)
    assert _good(upstream, f"/v1/results/{ran.id}")["race_id"] == ran.id
    assert _good(upstream, f"/v1/racecards/{ran.id}/pro")["is_abandoned"] is False
    year = [dt.date(2025, 1, 1) + dt.timedelta(days=offset) for offset in range(250)]
    gone = next(race for date in year for race in SMALL.races_on(date) if race.is_abandoned)
    assert _ask(upstream, f"/v1/results/{gone.id}") == (404, {"detail": "Not Found"})
    card = next(
        one for one in _good(upstream, "/v1/racecards/pro", date=gone.date)["racecards"] if one["race_id"] == gone.id
    )
    assert card["is_abandoned"] is True
    for unknown in ("rac_1", "rac_99999999999999999999", "x"):
        assert _ask(upstream, f"/v1/results/{unknown}")[0] == 404


def test_cards_of_days_to_come_have_neither_jockeys_nor_prices_and_end_a_week_ahead(upstream):
    card = _good(upstream, "/v1/racecards/pro", date="2025-10-21")["racecards"][0]
    assert {runner["jockey"] for runner in card["runners"]} == {""}
    assert all(runner["odds"] == [] for runner in card["runners"])
    assert _good(upstream, "/v1/racecards/pro", date="2025-10-22")["total"] == 0


def test_all_values_of_runners_are_strings_with_the_oddities_of_the_api(upstream):
    cards = [card for date in MONTH for card in _good(upstream, "/v1/racecards/pro", date=date)["racecards"]]
    results = [
        race
        for date in MONTH
        for race in _good(upstream, "/v1/results", start_date=date, end_date=date, limit=50)["results"]
    ]
    in_cards = [runner for card in cards for runner in card["runners"]]
    in_results = [runner for race in results for runner in race["runners"]]
    assert {type(value) for runner in in_results for value in runner.values()} == {str}
    assert {"-"} < {runner["ofr"] for runner in in_cards}
    assert {"–"} < {runner["or"] for runner in in_results}
    assert {"NR"} < {runner["number"] for runner in in_cards}
    assert {"NON-RUNNER", "NON-RUNNER(3)"} & {runner["jockey"] for runner in in_cards}
    assert any(runner["jockey"].endswith("(5)") for runner in in_cards)
    assert {"PU", "UR", "1"} < {runner["position"] for runner in in_results}
    assert all(runner["horse"].endswith(")") for runner in in_results)
    assert not any(runner["horse"].endswith(")") for runner in in_cards)
    assert any(runner["sp"].endswith("F") for runner in in_results)
    assert any(runner["prize"].startswith("€") for runner in in_results)
    assert any(card["prize"].startswith("£") and "," in card["prize"] for card in cards)
    assert {"SP"} < {price["fractional"] for runner in in_cards for price in runner["odds"]}
    assert {race["off_dt"][-6:] for race in results} == {"+01:00"}
    assert any(race["dist_m"].endswith(".0") for race in results)
    assert all(1 <= int(race["off"].split(":")[0]) <= 12 for race in results)
    assert {race["class"] for race in results if race["region"] != "GB"} == {""}
    ids = {runner["horse_id"] for race in results for runner in race["runners"]}
    assert {runner["horse_id"] for card in cards for runner in card["runners"] if not card["is_abandoned"]} > ids


def test_answers_have_the_names_and_types_of_the_recorded_ones(upstream):
    upstream.world = RacingWorld(meetings=(6, 6))
    try:
        for recorded, path, params in (
            ("courses_all.json", "/v1/courses", {}),
            ("courses_regions.json", "/v1/courses/regions", {}),
            ("racecards_pro_2025-10-13.json", "/v1/racecards/pro", {"date": DAY}),
            ("results_2025-10-13_limit25.json", "/v1/results", {"start_date": DAY, "end_date": DAY}),
            ("race_pro_rac_10975861.json", f"/v1/racecards/{upstream.world.races_on(DAY)[0].id}/pro", {}),
        ):
            ours, theirs = _names(_good(upstream, path, **params)), _names(_fixture(recorded))
            assert {one for one in ours ^ theirs if not SOMETIMES_EMPTY.search(one[0])} == set(), recorded
        assert _ask(upstream, "/v1/jockeys") == (404, _fixture("error_404.json")["body"])
    finally:
        upstream.world = SMALL


def test_the_truth_agrees_with_the_answers_where_both_say_the_same(upstream):
    rows = {(row["race_id"], row["horse_id"]): row for row in racing_truth.runners(SMALL, [DAY])}
    for card in _good(upstream, "/v1/racecards/pro", date=DAY)["racecards"]:
        for runner in card["runners"]:
            row = rows.pop((card["race_id"], runner["horse_id"]))
            assert runner["lbs"] == str(row["weight_lbs"])
            assert runner["ofr"] == ("-" if row["official_rating"] is None else str(row["official_rating"]))
            assert runner["trainer_id"] == row["trainer_id"]
    assert not rows
    results = {
        (race["race_id"], runner["horse_id"]): runner
        for race in _good(upstream, "/v1/results", start_date=DAY, end_date=DAY)["results"]
        for runner in race["runners"]
    }
    told = racing_truth.runners(SMALL, [DAY], cards=False)
    assert {(row["race_id"], row["horse_id"]) for row in told} == set(results)
    for row in told:
        assert results[row["race_id"], row["horse_id"]]["position"] == row["position"]
    assert len(racing_truth.prices(SMALL, [DAY])) == 3 * len(racing_truth.runners(SMALL, [DAY]))


def test_every_id_of_the_runners_has_its_entity():
    runners = racing_truth.runners(SMALL, MONTH)
    for name, rows in (
        ("horse_id", racing_truth.horses(SMALL, MONTH)),
        ("jockey_id", racing_truth.jockeys(SMALL, MONTH)),
        ("trainer_id", racing_truth.trainers(SMALL, MONTH)),
        ("owner_id", racing_truth.owners(SMALL, MONTH)),
    ):
        assert {row[name] for row in runners} - {None} == {row["id"] for row in rows}
    horses = racing_truth.horses(SMALL, MONTH)
    for name, rows in (
        ("sire_id", racing_truth.sires(SMALL, MONTH)),
        ("dam_id", racing_truth.dams(SMALL, MONTH)),
        ("damsire_id", racing_truth.damsires(SMALL, MONTH)),
    ):
        assert {row[name] for row in horses} == {row["id"] for row in rows}


def test_more_than_two_calls_within_a_second_are_refused_over_all_connections():
    with RacingUpstream(world=SMALL, now=NOW) as server:
        statuses = [_ask(server, "/v1/courses/regions")[0] for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        report = _ask(server, "/gapless/calls")[1]
        assert report["by_status"] == {"200": 2, "429": 2}
        assert report["peak_per_second"] == 4
        assert _ask(server, "/gapless/limit", method="POST", body={"per_second": 0})[0] == 200
        assert _ask(server, "/v1/courses/regions")[0] == 200


@pytest.mark.parametrize(
    ("kind", "totals", "distinct"),
    [(None, {60}, 60), ("late_result", {59, 60}, 59), ("removed_result", {60, 59}, 59)],
)
def test_a_total_that_moves_shifts_the_pages(upstream, kind, totals, distinct):
    whole = _good(upstream, "/v1/results", start_date=BOXING_DAY, end_date=BOXING_DAY, limit=1)["total"]
    upstream.trouble(*([{"kind": kind, "path": "/v1/results"}] if kind else []))
    read = [
        _good(upstream, "/v1/results", start_date=BOXING_DAY, end_date=BOXING_DAY, limit=20, skip=skip)
        for skip in (0, 20, 40)
    ]
    assert {page["total"] for page in read} == {whole - (60 - total) for total in totals}
    assert len({race["race_id"] for page in read for race in page["results"]}) == whole - (60 - distinct)


def test_troubles_of_the_lists_leave_well_formed_answers(upstream):
    good = _good(upstream, "/v1/racecards/pro", date=DAY)

    def spoiled(kind: str) -> Any:
        upstream.trouble({"kind": kind, "dates": [str(DAY)], "times": 1})
        read = _good(upstream, "/v1/racecards/pro", date=DAY)
        assert _good(upstream, "/v1/racecards/pro", date=DAY) == good
        return read

    assert len(spoiled("short_page")["racecards"]) == good["total"] - 1
    assert spoiled("empty")["total"] == 0
    assert spoiled("null_list")["racecards"] is None
    assert spoiled("wrong_date")["racecards"][0]["date"] != str(DAY)
    assert spoiled("lost_echo")["query"] == []
    assert len(spoiled("missing_runner")["racecards"][0]["runners"]) == len(good["racecards"][0]["runners"]) - 1
    assert len(spoiled("duplicate_race")["racecards"]) == good["total"] + 1
    assert spoiled("null_id")["racecards"][0]["race_id"] is None
    assert "horseId" in spoiled("renamed_field")["racecards"][0]["runners"][0]


def test_troubles_of_transport_strike_the_calls_that_a_rule_names(upstream):
    upstream.trouble(
        {"kind": "500", "path": "/v1/results"}, {"kind": "429", "retry_after_s": 3, "dates": ["2025-10-12"]}
    )
    assert _ask(upstream, "/v1/results", start_date=DAY)[0] == 500
    assert _ask(upstream, "/v1/racecards/pro", date=DAY)[0] == 200
    assert _ask(upstream, "/v1/racecards/pro", date="2025-10-12")[0] == 429
    assert _ask(upstream, "/v1/courses")[0] == 200
    assert upstream.calls.report()["by_path"] == {"/v1/results": 1, "/v1/racecards/pro": 2, "/v1/courses": 1}


def test_control_calls_refuse_what_they_do_not_understand(upstream):
    assert _ask(upstream, "/gapless/trouble", method="POST", body=[{"kind": "nonsense"}])[0] == 400
    assert _ask(upstream, "/gapless/too_old", method="POST", body={"answer": "x"})[0] == 400
    assert _ask(upstream, "/gapless/clock", method="POST", body={})[0] == 400
    assert _ask(upstream, "/gapless/nothing", method="POST", body={})[0] == 404
    assert _ask(upstream, "/gapless/nothing")[0] == 404
    assert _ask(upstream, "/gapless/clock", method="POST", body={"now": "2025-10-14T12:00:00Z"})[0] == 200
    assert upstream.clock() == dt.datetime(2025, 10, 14, 12, tzinfo=dt.UTC)
