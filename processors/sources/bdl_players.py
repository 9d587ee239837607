"""Ball Don't Lie: players, those of all times and those of today. https://docs.balldontlie.io"""

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table, with_nullable
from processors.platforms.balldontlie import ABOUT_PLAYER, DRAFT, NO_DATES, flat
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Player(Row):
    """One player as the newest list has him. Current rows have ``deleted_at IS NULL``."""

    listing: str = Field(description="players or active: the list that is replaced as a whole")
    player_id: int = Field(alias="id")
    team_id: int | None = Field(description="the team of today, or the last one")
    team_abbreviation: str | None
    listed_on: dt.date | None = Field(None, description="always NULL: a list has no date")
    deleted_at: AwareDatetime | None = Field(None, description="landing of the first list without him")


PLAYERS = with_nullable(Player, {str: ABOUT_PLAYER, int: DRAFT})


class BdlPlayers(Processor):
    """Each list has a table, so that a join by player finds one row."""

    tables: ClassVar[tuple[Table, ...]] = tuple(
        Table(
            name,
            PLAYERS,
            ("listing", "player_id"),
            "listed_on",
            entity_field="listing",
            whole_entity=True,
            deleted_field="deleted_at",
            granularity="MONTH",
        )
        for name in ("nba_bdl_players", "nba_bdl_active_players")
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """One row per player."""
        table = self.tables[1 if partition.entity == "active" else 0].name
        for player in landed_json(page.body)["data"]:
            team = player.pop("team", None) or {"id": player.pop("team_id", None), "abbreviation": None}
            of_team = flat("team_", {name: team[name] for name in ("id", "abbreviation")})
            yield table, {**flat("", player), **of_team, "listing": partition.entity, **NO_DATES}
