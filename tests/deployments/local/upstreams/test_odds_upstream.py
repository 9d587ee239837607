from __future__ import annotations

import datetime as dt
import http.client
import itertools
import json
import re
import urllib.parse
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deployments.local.upstreams import odds_truth
from deployments.local.upstreams.league import usual_calendar
from deployments.local.upstreams.odds_truth import Ask
from deployments.local.upstreams.odds_upstream import ODDS_KEY, OddsUpstream
from deployments.local.upstreams.odds_world import FIRST_SNAPSHOT, FIVE_MINUTES_FROM, Line, OddsWorld
from deployments.local.upstreams.season import games_on

FIXTURES = Path(__file__).resolve().parents[5] / "shared" / "fixtures" / "odds_api"
NOW = dt.datetime(2025, 3, 20, 12, 0, tzinfo=dt.UTC)
GAME_DATE = dt.date(2025, 1, 15)
EVENING = dt.datetime(2025, 1, 15, 23, 0, 0, tzinfo=dt.UTC)
HISTORY = "/v4/historical/sports/basketball_nba"
WORLD = OddsWorld()


@pytest.fixture(scope="module")
def shared() -> Iterator[OddsUpstream]:
    with OddsUpstream(now=NOW, credits_a_month=1_000_000, per_second=0) as server:
        yield server


@pytest.fixture
def upstream(shared: OddsUpstream) -> OddsUpstream:
    shared.trouble()
    shared.calls.clear()
    return shared


def _ask(server: OddsUpstream, path: str, method: str = "GET", body: Any = None, key: str = ODDS_KEY, **params: Any):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    if key:
        params["apiKey"] = key
    connection.request(
        method, f"{path}?{urllib.parse.urlencode(params)}" if method == "GET" else path, json.dumps(body)
    )
    answer = connection.getresponse()
    read = json.loads(answer.read())
    connection.close()
    return answer.status, read, {name.lower(): value for name, value in answer.headers.items()}


def _good(server: OddsUpstream, path: str, **params: Any) -> Any:
    status, read, _ = _ask(server, path, **params)
    assert status == 200, read
    return read


def _code(server: OddsUpstream, path: str, **params: Any) -> tuple[int, str]:
    status, read, headers = _ask(server, path, **params)
    assert set(read) == {"message", "error_code", "details_url"}
    assert not [name for name in headers if name.startswith("x-requests")]
    return status, read["error_code"]


def _z(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _names(value: Any, under: str = "") -> set[tuple[str, str]]:
    """Every name in a document with its type, elements of lists under one name; whole numbers are numbers."""
    if isinstance(value, dict):
        return set().union(*(_names(part, f"{under}.{name}") for name, part in value.items()))
    if isinstance(value, list):
        return set().union({(under, "list")}, *(_names(part, f"{under}[]") for part in value))
    return {(under, {"int": "number", "float": "number"}.get(type(value).__name__, type(value).__name__))}


def _fixture(name: str) -> Any:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip("recorded payloads are not beside this checkout")
    return json.loads(path.read_text())


def test_the_events_are_the_games_of_the_season():
    snapshot = WORLD.snapshot_at(EVENING, NOW)
    assert snapshot is not None
    events = [event for event in WORLD.events_at(snapshot.at) if event.game_date == GAME_DATE]
    games = games_on(GAME_DATE)
    assert len(events) == len(games) > 3
    homes = {game["home_team"]["full_name"].replace("LA Clippers", "Los Angeles Clippers") for game in games}
    assert {event.home_team for event in events} == homes
    tip_offs = sorted(game["datetime"][:19] for game in games)
    assert sorted(_z(event.scheduled)[:19] for event in events) == tip_offs
    assert all(re.fullmatch("[0-9a-f]{32}", event.id) for event in events)


def test_snapshots_are_linked_and_their_seconds_drift():
    at, seen = EVENING, []
    for _ in range(150):
        snapshot = WORLD.snapshot_at(at, NOW)
        assert snapshot is not None
        assert snapshot.at <= at
        seen.append(snapshot)
        assert snapshot.next is not None
        at = snapshot.next
    assert all(after.previous == before.at for before, after in itertools.pairwise(seen))
    steps = {(after.at - before.at).seconds // 60 for before, after in itertools.pairwise(seen)}
    assert len({snapshot.at.second for snapshot in seen}) > 3
    assert max(steps) >= 9, "one snapshot of a hundred is missing"


def test_snapshots_were_ten_minutes_apart_at_first():
    before = WORLD.snapshot_at(FIVE_MINUTES_FROM - dt.timedelta(days=1), NOW)
    border = WORLD.snapshot_at(FIVE_MINUTES_FROM, NOW)
    assert before is not None
    assert before.next is not None
    assert border is not None
    assert dt.timedelta(minutes=9) < before.next - before.at
    assert border.next is not None
    assert WORLD.snapshot_at(border.next, NOW).previous == border.at  # type: ignore[union-attr]
    assert WORLD.snapshot_at(FIRST_SNAPSHOT - dt.timedelta(days=1), NOW) is None
    first = WORLD.snapshot_at(FIRST_SNAPSHOT + dt.timedelta(minutes=1), NOW)
    assert first is not None
    assert first.previous is None


def test_an_event_moves_and_then_vanishes():
    event = next(event for event in WORLD.events_at(EVENING) if event.game_date == GAME_DATE)
    starts = {event.id: event.commence_time for event in WORLD.events_at(EVENING - dt.timedelta(hours=3))}
    played = WORLD.events_at(EVENING + dt.timedelta(hours=4))
    assert any(starts[one.id] != one.commence_time for one in played if one.id in starts)
    assert WORLD.event(event.id, event.scheduled - dt.timedelta(hours=49)) is None
    assert WORLD.event(event.id, event.scheduled + dt.timedelta(hours=2)) is not None
    assert WORLD.event(event.id, event.scheduled + dt.timedelta(hours=4)) is None


@pytest.mark.parametrize(("price", "american"), [("1.91", -110), ("2.5", 150), ("2", 100), ("1.5", -200)])
def test_american_prices_are_those_of_the_decimal_ones(price, american):
    line = Line("b", "B", "h2h", "x", None, None, Decimal(price), NOW)
    assert line.american_price == american


def test_two_instants_of_one_slot_give_the_same_snapshot_and_both_are_paid(upstream):
    first, again = (EVENING + dt.timedelta(minutes=1, seconds=seconds) for seconds in (0, 59))
    before = _good(upstream, "/gapless/credits")["used"]
    one, two = (_good(upstream, f"{HISTORY}/events", date=_z(at)) for at in (first, again))
    assert one == two
    assert dt.datetime.fromisoformat(one["timestamp"]) <= first
    assert _good(upstream, "/gapless/credits")["used"] - before == 2


def test_answers_hold_what_the_truth_says_and_cost_what_it_says(upstream):
    event = next(event for event in WORLD.events_at(EVENING) if event.game_date == GAME_DATE)
    asks = [
        Ask(EVENING),
        Ask(EVENING, ("h2h", "spreads"), ("us", "eu")),
        Ask(EVENING, ("totals",), odds_format="american"),
        Ask(EVENING, ("player_points", "h2h"), ("us",), event.id),
        Ask(EVENING + dt.timedelta(days=2), ("h2h",), ("us",), event.id),
        Ask(dt.datetime(2024, 8, 1, tzinfo=dt.UTC), ("h2h",)),
    ]
    before = _good(upstream, "/gapless/credits")["used"]
    prices, statuses = 0, []
    for ask in asks:
        where = f"events/{ask.event_id}/odds" if ask.event_id else "odds" if ask.markets else "events"
        params = {"markets": ",".join(ask.markets), "regions": ",".join(ask.regions)} if ask.markets else {}
        status, read, _ = _ask(upstream, f"{HISTORY}/{where}", date=_z(ask.at), oddsFormat=ask.odds_format, **params)
        statuses.append(status)
        if status == 200:
            data = read["data"] if isinstance(read["data"], list) else [read["data"]]
            assert len(data) == len(odds_truth.events(WORLD, [ask], NOW))
            got = [o for e in data for b in e.get("bookmakers", []) for m in b["markets"] for o in m["outcomes"]]
            assert sorted(float(one["price"]) for one in got) == sorted(
                float(row["price"]) for row in odds_truth.lines(WORLD, [ask], NOW)
            )
            prices += len(got)
    assert statuses == [200, 200, 200, 200, 404, 200]
    assert prices > 300
    assert odds_truth.absent(WORLD, asks, NOW) == [asks[4]]
    spent = _good(upstream, "/gapless/credits")["used"] - before
    assert spent == odds_truth.credits_spent(WORLD, asks, NOW) == 1 + 40 + 10 + 20


def test_each_answer_tells_what_is_left_and_the_wall_is_a_401():
    with OddsUpstream(now=NOW, credits_a_month=25, per_second=0) as server:
        asked = {"date": _z(EVENING), "regions": "us", "markets": "h2h"}
        headers = [_ask(server, f"{HISTORY}/odds", **asked)[2] for _ in range(2)]
        told = [[head[f"x-requests-{name}"] for name in ("remaining", "used", "last")] for head in headers]
        assert told == [["15", "10", "10"], ["5", "20", "10"]]
        assert _code(server, f"{HISTORY}/odds", **asked) == (401, "OUT_OF_USAGE_CREDITS")
        assert _ask(server, "/v4/sports")[2]["x-requests-last"] == "0"
        assert _good(server, "/gapless/credits") == {
            "used": 20,
            "remaining": 5,
            "by_month": {"2025-03": 20},
            "spent_by_path": {f"{HISTORY}/odds": 20, "/v4/sports": 0},
        }
        _ask(server, "/gapless/clock", "POST", {"now": "2025-04-01T00:00:00Z"})
        assert _ask(server, f"{HISTORY}/odds", **asked)[2]["x-requests-used"] == "10"
        assert _ask(server, "/gapless/spend", "POST", {"credits": 15})[0] == 200
        assert _ask(server, "/gapless/spend", "POST", {"credits": 1})[0] == 400
        assert _code(server, f"{HISTORY}/events", date=_z(EVENING)) == (401, "OUT_OF_USAGE_CREDITS")


def test_a_plan_without_history_sells_what_is_live(upstream):
    with OddsUpstream(now=EVENING, credits_a_month=500, has_history=False, per_second=0) as server:
        refused = (401, "HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN")
        assert _code(server, f"{HISTORY}/events", date=_z(EVENING)) == refused
        assert _code(server, "/v4/sports/basketball_nba/odds-history", date=_z(EVENING), regions="us") == refused
        _, read, headers = _ask(server, "/v4/sports/basketball_nba/odds", regions="us,eu", markets="h2h,totals")
        assert len(read) > 3
        assert headers["x-requests-last"] == "4"
        single = f"/v4/sports/basketball_nba/events/{read[0]['id']}/odds"
        assert _ask(server, single, regions="us", markets="player_assists")[2]["x-requests-last"] == "1"
        assert _ask(server, "/v4/sports/basketball_nba/events")[2]["x-requests-last"] == "0"


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        (f"{HISTORY}/events", {"date": _z(EVENING), "key": ""}, (401, "MISSING_KEY")),
        (f"{HISTORY}/events", {"date": _z(EVENING), "key": "wrong"}, (401, "INVALID_KEY")),
        ("/v4/historical/sports/cricket/events", {"date": _z(EVENING)}, (404, "UNKNOWN_SPORT")),
        (f"{HISTORY}/odds", {"date": _z(EVENING)}, (422, "MISSING_REGION")),
        (f"{HISTORY}/odds", {"date": _z(EVENING), "regions": "mars"}, (422, "INVALID_REGION")),
        (f"{HISTORY}/odds", {"date": _z(EVENING), "regions": "us", "markets": "luck"}, (422, "INVALID_MARKET")),
        (
            f"{HISTORY}/odds",
            {"date": _z(EVENING), "regions": "us", "markets": "player_points"},
            (422, "INVALID_MARKET"),
        ),
        (f"{HISTORY}/events", {"date": "2025-01-15"}, (422, "INVALID_HISTORICAL_TIMESTAMP")),
        (f"{HISTORY}/events", {"date": "2025-13-15T00:00:00Z"}, (422, "INVALID_HISTORICAL_TIMESTAMP")),
        (f"{HISTORY}/events", {"date": "2019-01-15T00:00:00Z"}, (422, "INVALID_HISTORICAL_TIMESTAMP")),
        (f"{HISTORY}/events", {}, (422, "INVALID_HISTORICAL_TIMESTAMP")),
        (f"{HISTORY}/events/{'0' * 32}/odds", {"date": _z(EVENING), "regions": "us"}, (404, "EVENT_NOT_FOUND")),
    ],
)
def test_a_wrong_call_is_refused_by_its_code_and_costs_nothing(upstream, path, params, code):
    before = _good(upstream, "/gapless/credits")["used"]
    assert _code(upstream, path, **params) == code
    assert _good(upstream, "/gapless/credits")["used"] == before


def test_the_key_is_in_no_report(upstream):
    _good(upstream, f"{HISTORY}/events", date=_z(EVENING))
    _ask(upstream, f"{HISTORY}/events", key="", api_key=ODDS_KEY, date=_z(EVENING))
    report = _good(upstream, "/gapless/calls")
    assert report["by_status"] == {"200": 2}
    assert ODDS_KEY not in json.dumps(report)


def test_exchanges_lay_unasked_and_older_snapshots_have_updates_on_bookmakers_alone(upstream):
    new = _good(upstream, f"{HISTORY}/odds", date=_z(EVENING), regions="eu")["data"]
    markets = {market["key"] for event in new for book in event["bookmakers"] for market in book["markets"]}
    assert markets == {"h2h", "h2h_lay"}
    assert all("last_update" in market for event in new for book in event["bookmakers"] for market in book["markets"])
    old = _good(upstream, f"{HISTORY}/odds", date="2022-11-16T23:00:00Z", regions="us")["data"]
    books = [book for event in old for book in event["bookmakers"]]
    assert books
    assert all("last_update" in book for book in books)
    assert not any("last_update" in market for book in books for market in book["markets"])


def test_player_markets_begin_in_may_2023(upstream):
    for date, is_there in ((dt.date(2023, 3, 1), False), (GAME_DATE, True)):
        at = dt.datetime.combine(date, dt.time(22), dt.UTC)
        event = next(event for event in WORLD.events_at(at) if event.game_date == date)
        _, read, headers = _ask(
            upstream, f"{HISTORY}/events/{event.id}/odds", date=_z(at), regions="us,eu", markets="player_points"
        )
        assert bool(read["data"]["bookmakers"]) is is_there
        assert headers["x-requests-last"] == ("20" if is_there else "0")
    outcomes = [o for book in read["data"]["bookmakers"] for market in book["markets"] for o in market["outcomes"]]
    assert {outcome["name"] for outcome in outcomes} == {"Over", "Under"}
    assert len({outcome["description"] for outcome in outcomes}) == 6


def test_answers_have_the_names_and_types_of_the_recorded_ones(upstream):
    event = next(event for event in WORLD.events_at(EVENING) if event.game_date == GAME_DATE)
    date = {"date": _z(EVENING)}
    assert _names(_good(upstream, f"{HISTORY}/events", **date)) == _names(_fixture("historical_events_a.json"))
    single = _good(upstream, f"{HISTORY}/events/{event.id}/odds", regions="us", markets="spreads,totals", **date)
    assert _names(single) == _names(_fixture("historical_event_odds_lines.json"))
    players = _good(
        upstream,
        f"{HISTORY}/events/{event.id}/odds",
        regions="us",
        markets="player_points",
        oddsFormat="american",
        **date,
    )["data"]
    ours, theirs = _names(players), _names(_fixture("event_odds_player_points_american.json"))
    assert ours - theirs == {(".bookmakers[].last_update", "str")}
    assert theirs <= ours
    for name, call in (
        ("error_404_unknown_sport.json", {"path": "/v4/historical/sports/x/events", **date}),
        ("error_401_out_of_usage_credits.json", {"path": f"{HISTORY}/events", **date}),
    ):
        upstream.trouble(*([{"kind": "out_of_credits"}] if "401" in name else []))
        status, read, _ = _ask(upstream, **call)
        assert {"status": status, "headers": {}, "body": read} == _fixture(name)


def test_troubles_leave_well_formed_answers_that_are_wrong(upstream):
    call = {"path": f"{HISTORY}/odds", "date": _z(EVENING), "regions": "us"}
    good = _good(upstream, **call)

    def spoiled(kind: str, **more: Any) -> Any:
        upstream.trouble({"kind": kind, "dates": [str(GAME_DATE)], "times": 1})
        read = _good(upstream, **{**call, **more})
        assert _good(upstream, **call) == good
        return read

    assert spoiled("empty")["data"] == []
    assert spoiled("null_data")["data"] is None
    assert len(spoiled("lost_event")["data"]) == len(good["data"]) - 1
    assert len(spoiled("duplicate_event")["data"]) == len(good["data"]) + 1
    assert len(spoiled("lost_bookmaker")["data"][0]["bookmakers"]) == len(good["data"][0]["bookmakers"]) - 1
    assert "start_time" in spoiled("renamed_field")["data"][0]
    assert spoiled("null_id")["data"][0]["id"] is None
    assert spoiled("later_snapshot")["timestamp"] > _z(EVENING)
    assert spoiled("stale_snapshot")["timestamp"] < _z(EVENING - dt.timedelta(hours=23))
    event = f"{HISTORY}/events/{good['data'][0]['id']}/odds"
    assert isinstance(spoiled("list_for_event", path=event)["data"], list)
    upstream.trouble({"kind": "decimal_headers", "times": 1}, {"kind": "no_headers", "times": 1}, {"kind": "vanished"})
    assert _ask(upstream, **call)[2]["x-requests-last"] == "10.0"
    assert "x-requests-last" not in _ask(upstream, **call)[2]
    assert _code(upstream, **call) == (404, "EVENT_NOT_FOUND")


def test_too_many_calls_a_second_are_refused():
    with OddsUpstream(now=NOW, per_second=2) as server:
        statuses = [_ask(server, "/v4/sports")[0] for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_every_played_game_of_a_season_is_priced_on_the_date_of_the_schedule_also_a_postponed_one():
    world, season = OddsWorld(has_postponements=True), usual_calendar(2024)
    played = [one for one in season.games_in(2024) if one.kind in ("regular", "play_in", "playoffs")]
    postponed = [one for one in played if one.date != one.first_date]
    assert len(postponed) == 2
    for game in [*played[::40], *postponed]:
        before = world.snapshot_at(game.tip_off - dt.timedelta(minutes=10), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        assert before is not None
        (event,) = [
            one
            for one in world.events_at(before.at)
            if one.game_date == game.date and one.home_team.endswith(game.home.name)
        ]
        assert event.scheduled == game.tip_off
        assert world.lines(event, before.at, markets=("h2h",), regions=("us",))


def test_a_postponed_game_is_listed_on_its_first_morning_gone_before_its_tip_off_and_keeps_its_id():
    world, later = OddsWorld(has_postponements=True), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for game in [one for one in usual_calendar(2024).games_in(2024) if one.date != one.first_date]:
        first = dt.datetime.combine(game.first_date, dt.time(11), dt.UTC)
        (known,) = [
            one
            for one in world.events_at(first)
            if one.game_date == game.first_date and one.home_team.endswith(game.home.name)
        ]
        at_tip_off = world.snapshot_at(known.scheduled - dt.timedelta(minutes=10), later)
        assert at_tip_off is not None
        assert world.event(known.id, at_tip_off.at) is None
        again = world.event(known.id, game.tip_off - dt.timedelta(hours=12))
        assert again is not None
        assert (again.game_date, again.home_team) == (game.date, known.home_team)
