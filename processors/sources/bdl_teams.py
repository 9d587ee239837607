"""Ball Don't Lie: teams, those that have gone included. https://docs.balldontlie.io"""

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from processors.platforms.balldontlie import NO_DATES, flat
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Team(Row):
    """One team as the newest list has it. Current rows have ``deleted_at IS NULL``."""

    listing: str = Field(description="teams: the list that is replaced as a whole")
    team_id: int = Field(alias="id")
    conference: str | None = Field(description="East, West; NULL for a team that has gone")
    division: str | None
    city: str | None
    name: str
    full_name: str
    abbreviation: str | None
    listed_on: dt.date | None = Field(None, description="always NULL: a list has no date")
    deleted_at: AwareDatetime | None = Field(None, description="landing of the first list without it")


class BdlTeams(Processor):
    """The list is replaced as a whole."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "nba_bdl_teams",
            Team,
            ("listing", "team_id"),
            "listed_on",
            entity_field="listing",
            whole_entity=True,
            deleted_field="deleted_at",
            granularity="MONTH",
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """One row per team."""
        for team in landed_json(page.body)["data"]:
            yield "nba_bdl_teams", {**flat("", team), "listing": partition.entity, **NO_DATES}
