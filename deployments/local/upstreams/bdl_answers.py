"""What the sample of Ball Don't Lie answers on its lists: games, stats, players, teams and injuries, page by page.

A cursor is the id of the last row of the page before; the last page has no ``next_cursor`` at all.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deployments.local.upstreams.league import Calendar, Listed
from deployments.local.upstreams.rosters import DEFUNCT_TEAMS, TEAMS, roster
from deployments.local.upstreams.season import NEW_SHAPE_FROM, season_of

POSTPONED = "Postponed"
"""The status of a game that was not played: an assumption, no recording shows one."""

Row = dict[str, Any]
_OF_GAME = (
    "id date season status period time postseason home_team_score visitor_team_score datetime".split()  # noqa: SIM905
)
_INJURED = ("Out", "Out", "Day-To-Day", "Questionable", "Doubtful")
_PARTS = ("ankle", "knee", "hamstring", "back", "wrist", "illness", "groin", "shoulder")


class BadRequest(Exception):
    """A parameter that the API refuses."""


def page_of(rows: Iterable[Row], cursor: str | None, per_page: str | None) -> Row:
    """``data`` and ``meta`` of the rows behind the cursor, which come in the order of their ids.

    Raises `BadRequest` for a size beyond 100, and for what is no number.
    """
    try:
        size, after = int(per_page or 25), int(cursor or 0)
    except ValueError:
        raise BadRequest("cursor and per_page are numbers") from None
    if not 1 <= size <= 100:
        raise BadRequest("per_page must be between 1 and 100")
    found = list(itertools.islice((row for row in rows if row["id"] > after), size + 1))
    meta = {"next_cursor": found[size - 1]["id"]} if len(found) > size else {}
    return {"data": found[:size], "meta": {**meta, "per_page": size}}


def document_of(entry: Listed, today: dt.date) -> Row:
    """The game as box scores have it; with an id always, which its older shape does not tell."""
    game = entry.game
    is_over = game.date < today and not entry.is_postponed
    document = game.document(is_over=is_over, is_new=game.date >= NEW_SHAPE_FROM)
    if entry.is_postponed:
        document["status"] = POSTPONED
    return document


def games_of(calendar: Calendar, dates: Iterable[dt.date], today: dt.date) -> Iterator[Row]:
    """Rows of ``/v1/games``."""
    for entry, document in _listed(calendar, dates, today):
        teams = {
            name: {key: value for key, value in document[name].items() if key != "players"}
            for name in ("home_team", "visitor_team")
        }
        yield {**_game_fields(entry, document), **teams}


def stats_of(calendar: Calendar, dates: Iterable[dt.date], today: dt.date) -> Iterator[Row]:
    """Rows of ``/v1/stats``: a line of a player in a game; a game that is not over has none."""
    for entry, document in _listed(calendar, dates, today):
        sides = [document["home_team"], document["visitor_team"]]
        game = _game_fields(entry, document) | {"home_team_id": sides[0]["id"], "visitor_team_id": sides[1]["id"]}
        number = 0
        for side in sides:
            team = {key: value for key, value in side.items() if key != "players"}
            for line in side["players"]:
                number += 1
                told = {key: value for key, value in line.items() if key not in ("player", "plus_minus")}
                player = {**line["player"], "team_id": team["id"]}
                yield {"id": game["id"] * 100 + number, **told, "player": player, "team": team, "game": game}


def _listed(calendar: Calendar, dates: Iterable[dt.date], today: dt.date) -> Iterator[tuple[Listed, Row]]:
    """By id, as the API gives them: a game that was moved has a smaller one than those of its new date."""
    entries = [entry for date in dates for entry in calendar.listed_on(date) if entry.game.bdl_id is not None]
    for entry in sorted(entries, key=lambda entry: entry.game.bdl_id or 0):
        yield entry, document_of(entry, today)


def _game_fields(entry: Listed, document: Mapping[str, Any]) -> Row:
    fields = {name: document[name] for name in _OF_GAME if name in document}
    return {"id": entry.game.bdl_id, **fields}


def teams() -> list[Row]:
    """Rows of ``/v1/teams``: 45, of which 15 have not played since 1955."""
    return [*TEAMS, *DEFUNCT_TEAMS]


@functools.lru_cache(maxsize=4)
def players_of(season: int) -> tuple[Row, ...]:
    """Rows of ``/v1/players/active``: the rosters of a season."""
    found = [{**player, "team": dict(team)} for team in TEAMS for player in roster(team["id"], season)]
    return tuple(sorted(found, key=lambda row: int(row["id"])))


@functools.lru_cache(maxsize=4)
def all_players(season: int) -> tuple[Row, ...]:
    """Rows of ``/v1/players``: whoever played in that season or before, with his last team."""
    found = {row["id"]: row for year in range(1990, season + 1) for row in players_of.__wrapped__(year)}
    return tuple(found[number] for number in sorted(found))


def injuries_on(date: dt.date) -> list[Row]:
    """Rows of ``/v1/player_injuries`` as they stand on a day; each lasts some days, and nothing says how it was."""
    found = []
    for row in players_of(season_of(date)):
        dice = random.Random(f"injury {row['id']} {date.toordinal() // 10}")  # noqa: S311
        if dice.random() < 0.07:
            back = date + dt.timedelta(days=dice.randint(1, 20))
            player = {key: value for key, value in row.items() if key != "team"} | {"team_id": row["team"]["id"]}
            found.append(
                {
                    "id": row["id"],
                    "player": player,
                    "return_date": f"{back:%b} {back.day}",
                    "description": f"{row['first_name']} {row['last_name']} ({dice.choice(_PARTS)}) is being observed.",
                    "status": dice.choice(_INJURED),
                }
            )
    return found
