"""The Odds API: prices of games in the last snapshot before they begin."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import Fill, LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Line(Row):
    """One price."""

    game_date: dt.date = Field(description="US Eastern date of the game")
    snapshot_at: AwareDatetime = Field(description="when the API looked, UTC")
    asked_at: AwareDatetime = Field(description="instant that was asked for; the snapshot is the newest before it")
    event_id: str = Field(description="32 hex digits")
    commence_time: AwareDatetime = Field(description="UTC, as this snapshot has it; it moves")
    home_team: str
    away_team: str
    bookmaker: str = Field(description="key")
    bookmaker_title: str | None
    market: str = Field(description="h2h, spreads, totals, player_points ...")
    outcome: str = Field(description="team, Over, Under")
    description: str = Field(description="player; empty where the market is of no player")
    point_text: str = Field(description="spread or total as sent; empty where there is none")
    point: Decimal | None = Field(description="point_text as a number, points of the game")
    price: Decimal = Field(description="in the format of odds_format")
    odds_format: str = Field(description="decimal (return of one unit) or american, as it was asked for")
    last_update: AwareDatetime | None = Field(description="of the market, else of the bookmaker, UTC")


KEY = ("game_date", "event_id", "snapshot_at", "bookmaker", "market", "outcome", "description", "point_text")


def lines_of(market: str, precedence: int = 0) -> Table:
    """The table of what was bought together; all of them fill the view `odds_lines`.

    ``precedence`` is of this table alone: it decides where two purchases hold the same price of one snapshot.
    """
    fill = Fill("odds_lines", " ".join(KEY), precedence=precedence)
    return Table(f"odds_{market}_lines", Line, KEY, "game_date", fills=(fill,))


class OddsHistory(Processor):
    """The page of a game has prices, that of the list has none."""

    tables: ClassVar[tuple[Table, ...]] = (lines_of("h2h"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: D102
        document, asked = landed_json(page.body), dict(page.params)
        event = document["data"]
        if not isinstance(event, dict):
            return
        ours = {
            "game_date": partition.start,
            "snapshot_at": document["timestamp"],
            "asked_at": asked["date"],
            "odds_format": asked["oddsFormat"],
            "event_id": event["id"],
            **{name: event[name] for name in ("commence_time", "home_team", "away_team") if name in event},
        }
        for book in event["bookmakers"]:
            for market in book["markets"]:
                of_market = {
                    "bookmaker": book["key"],
                    "bookmaker_title": book.get("title"),
                    "market": market["key"],
                    "last_update": market.get("last_update") or book.get("last_update"),
                }
                for line in market["outcomes"]:
                    point = line.get("point")
                    told = {
                        "outcome": line["name"],
                        "description": line.get("description") or "",
                        "point": point,
                        "point_text": "" if point is None else str(point),
                        **({"price": str(line["price"])} if "price" in line else {}),
                    }
                    yield self.tables[0].name, {**ours, **of_market, **told}
