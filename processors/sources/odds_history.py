"""The Odds API: prices of games in the last snapshot before they begin."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Line(Row):
    """One price."""

    game_date: dt.date = Field(description="US Eastern date of the game")
    snapshot_ts: AwareDatetime
    event_id: str = Field(description="32 hex digits")
    bookmaker: str
    market: str
    outcome: str = Field(description="team, Over, Under")
    description: str = Field(description="player; empty where the market is of no player")
    point_text: str = Field(description="spread or total as sent; empty where there is none")
    price: Decimal = Field(description="in the format of odds_format")
    odds_format: str = Field(description="decimal or american, as it was asked for")
    asked_ts: AwareDatetime = Field(description="instant that was asked for; the snapshot is the newest before it")


KEY = ("game_date", "event_id", "snapshot_ts", "bookmaker", "market", "outcome", "description", "point_text")


class OddsHistory(Processor):
    """The page of a game has prices, that of the list has none."""

    tables: ClassVar[tuple[Table, ...]] = (Table("odds_lines", Line, KEY, "game_date"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: D102
        document = landed_json(page.body)
        event: dict[str, Any] = document["data"] if isinstance(document["data"], dict) else {"id": "", "bookmakers": []}
        asked = dict(page.params)
        ours = {
            "game_date": partition.start,
            "snapshot_ts": document["timestamp"],
            "event_id": event["id"],
            "odds_format": asked.get("oddsFormat"),
            "asked_ts": asked["date"],
        }
        for book in event["bookmakers"]:
            for market in book["markets"]:
                for line in market["outcomes"]:
                    point = line.get("point")
                    yield (
                        "odds_lines",
                        {
                            **ours,
                            "bookmaker": book["key"],
                            "market": market["key"],
                            "outcome": line["name"],
                            "description": line.get("description") or "",
                            "point_text": "" if point is None else str(point),
                            "price": str(line["price"]),
                        },
                    )
