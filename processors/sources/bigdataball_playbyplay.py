"""BigDataBall play-by-play: a row a game and a row a play. https://www.bigdataball.com"""

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from processors.base import Balance, LandedPage, Processor, Row, Table, with_nullable
from scrapers.csv_bodies import landed_csv
from scrapers.partition import Partition

TIMES = {"remaining_time": "remaining_s", "elapsed": "elapsed_s", "play_length": "play_length_s"}
NUMBERS = ("points", "num", "outof", "shot_distance", "original_x", "original_y", "converted_x", "converted_y")
UNKNOWN = ("", "unknown")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-5]?[0-9]):([0-5]?[0-9])")


class Game(Row):
    """One file, which is one game."""

    game_id: str = Field(description="as NBA.com has it, ten digits; the file has it without leading zeros")
    game_date: dt.date = Field(description="US Eastern")
    data_set: str = Field(description="season and stage, as the vendor names them")
    away_team: str = Field(description="three letters, of the file's name")
    home_team: str
    away_score: int = Field(description="after the last play")
    home_score: int
    periods: int = Field(description="4, and one for each overtime")
    plays: int
    file_id: str = Field(description="of Google Drive")
    file_name: str
    md5: str = Field(description="of the file, in hex")
    size_bytes: int


class PlayFacts(Row):
    """One play."""

    game_id: str = Field(description="as NBA.com has it, ten digits")
    game_date: dt.date = Field(alias="date", description="US Eastern")
    play_id: int = Field(description="number within the game, from 1")
    period: int
    remaining_s: int = Field(description="seconds left in the period")
    elapsed_s: int = Field(description="seconds of the period that are over")
    play_length_s: int = Field(description="seconds since the play before")
    away_score: int = Field(description="after the play")
    home_score: int
    event_type: str | None = Field(None, description="shot, rebound ...; null where the vendor does not know")
    event_detail: str | None = Field(None, alias="type")
    jump_away: str | None = Field(None, alias="away", description="of a jump ball")
    jump_home: str | None = Field(None, alias="home")
    leaves: str | None = Field(None, alias="left", description="of a substitution")
    enters: str | None = Field(None, alias="entered")
    free_throw: int | None = Field(None, alias="num", description="which of how many")
    free_throws: int | None = Field(None, alias="outof")
    points: int | None = Field(None, description="of shots and free throws, 0 for a miss")
    shot_distance: int | None = Field(None, description="feet")
    original_x: float | None = Field(None, description="tenths of a foot from the basket, along the baseline")
    original_y: float | None = Field(None, description="tenths of a foot from the basket, towards the other one")
    converted_x: float | None = Field(None, description="feet, on a court of 50 by 94")
    converted_y: float | None = None


TEXTS = "a1 a2 a3 a4 a5 h1 h2 h3 h4 h5 team assist block opponent player possession reason result steal description"
Play = with_nullable(PlayFacts, {str: TEXTS})

GAMES, PLAYS = "nba_bigdataball_games", "nba_bigdataball_plays"


def seconds(text: str) -> int:
    """Of ``0:11:44``.

    >>> seconds("0:11:44")
    704
    """
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time of hours, minutes and seconds")
    hours, minutes, rest = map(int, found.groups())
    return 3600 * hours + 60 * minutes + rest


class BigdataballPlaybyplay(Processor):
    """The page of a file has rows, that of a list has none."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table(GAMES, Game, ("game_id",), "game_date"),
        Table(
            PLAYS,
            Play,
            ("game_id", "play_id"),
            "game_date",
            parent=(GAMES, ("game_id",)),
            per_parent=(100, 1500),
            ignored=frozenset({"data_set"}),
        ),
    )
    balances: ClassVar[tuple[Balance, ...]] = tuple(
        Balance((GAMES, f"{side}_score"), (PLAYS, "points"), (("game_id", "game_id"), (f"{side}_team", "team")))
        for side in ("away", "home")
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: D102
        if not page.item:
            return
        plays = landed_csv(page.body)
        game_id, last = plays[0]["game_id"].zfill(10), plays[-1]
        away, home = page.item.removesuffix(".csv").rpartition("-")[2].split("@")
        yield (
            GAMES,
            {
                "game_id": game_id,
                "game_date": partition.start,
                "data_set": last["data_set"],
                "away_team": away,
                "home_team": home,
                "away_score": last["away_score"],
                "home_score": last["home_score"],
                "periods": last["period"],
                "plays": len(plays),
                "file_id": page.path.rpartition("/")[2],
                "file_name": page.item,
                "md5": hashlib.md5(page.body, usedforsecurity=False).hexdigest(),
                "size_bytes": len(page.body),
            },
        )
        for play in plays:
            row: dict[str, Any] = {name: text or None for name, text in play.items() if name not in TIMES}
            row |= {column: seconds(play[name]) for name, column in TIMES.items()}
            row |= {name: None if play[name] in UNKNOWN else play[name] for name in NUMBERS}
            yield PLAYS, row | {"game_id": game_id}
