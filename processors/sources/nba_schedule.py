"""NBA.com: one row per game of a season, with tombstones of games that the schedule has no more."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from processors.platforms.nba_com import eastern_instant
from processors.told_values import unless_blank, unless_nobody
from scrapers.answers import landed_json
from scrapers.partition import Partition
from scrapers.platforms.nba_com import FINAL, is_postponed, kind_of


class ScheduledGame(Row):
    """One game as the newest schedule has it. Current ones have ``deleted_at IS NULL``."""

    season: str = Field(description="2024-25: the schedule that is replaced as a whole")
    game_id: str = Field(description="10 digits with the zeros at their front")
    game_date: dt.date = Field(description="US Eastern, after postponements as far as they are known")
    game_kind: str = Field(description="preseason, regular, all_star, playoffs, play_in, cup_final; other")
    game_code: str | None = Field(description="first date and teams, the visitors first: 20240115/HOUPHI")
    status: int = Field(description="1 scheduled, 2 under way, 3 final")
    status_text: str = Field(description="7:00 pm ET, Final, Final/OT2, PPD, TBD ...")
    is_postponed: bool = Field(description="not played on game_date, and no new date is known")
    tip_off_at: AwareDatetime | None = Field(description="UTC; NULL while it is to be determined")
    home_team_id: int | None = Field(description="NULL while it is to be determined")
    home_team_tricode: str | None
    away_team_id: int | None = Field(description="NULL while it is to be determined")
    away_team_tricode: str | None
    home_score: int | None = Field(description="NULL unless final")
    away_score: int | None = Field(description="NULL unless final")
    is_if_necessary: bool | None = Field(description="a playoff game that may not be played")
    is_neutral: bool | None = Field(description="in an arena of neither team")
    game_label: str | None = Field(description="Preseason, NBA Finals, SoFi Play-In Tournament ...")
    game_sublabel: str | None
    series_text: str | None
    week_number: int | None
    arena_name: str | None
    arena_city: str | None
    arena_state: str | None
    deleted_at: AwareDatetime | None = Field(None, description="landing of the first schedule without this game")


class NbaSchedule(Processor):
    """Games of a season. The page that was of another season has none."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "nba_schedule",
            ScheduledGame,
            ("season", "game_id"),
            "game_date",
            unique=(("game_id",),),
            entity_field="season",
            whole_entity=True,
            deleted_field="deleted_at",
            granularity="MONTH",
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """One row per game; of one that stands at two dates, that at which it is not postponed."""
        schedule = landed_json(page.body)["leagueSchedule"]
        if schedule["seasonYear"] != partition.entity:
            return
        found: dict[str, dict[str, Any]] = {}
        for game in [game for date in schedule["gameDates"] for game in date["games"]]:
            row = _row(game, partition.entity)
            if row["game_id"] not in found or found[row["game_id"]]["is_postponed"]:
                found[row["game_id"]] = row
        for row in found.values():
            yield "nba_schedule", row


def _row(game: dict[str, Any], season: str) -> dict[str, Any]:
    status, text = game["gameStatus"], game["gameStatusText"].strip()
    row = {
        "season": season,
        "deleted_at": None,
        "game_id": game["gameId"],
        "game_date": game["gameDateEst"][:10],
        "game_kind": kind_of(game["gameId"]),
        "game_code": unless_blank(game.get("gameCode")),
        "status": status,
        "status_text": text,
        "is_postponed": is_postponed(status, text),
        "tip_off_at": None if text.upper() == "TBD" else eastern_instant(game["gameDateTimeEst"]),
        "is_if_necessary": game.get("ifNecessary"),
        "is_neutral": game.get("isNeutral"),
        "week_number": game.get("weekNumber"),
    }
    for column, name in _TEXTS.items():
        row[column] = unless_blank(game.get(name))
    for side in ("home", "away"):
        team = game[f"{side}Team"]
        row[f"{side}_team_id"] = unless_nobody(team["teamId"])
        row[f"{side}_team_tricode"] = unless_blank(team["teamTricode"])
        row[f"{side}_score"] = team["score"] if status == FINAL else None
    return row


_TEXTS = {
    "game_label": "gameLabel",
    "game_sublabel": "gameSubLabel",
    "series_text": "seriesText",
    "arena_name": "arenaName",
    "arena_city": "arenaCity",
    "arena_state": "arenaState",
}
