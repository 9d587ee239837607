"""Ball Don't Lie, NBA teams: those of today, and those that have gone. https://docs.balldontlie.io"""

import datetime as dt
from typing import Any

from scrapers.base import Findings
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import BdlList, id_of


class BdlTeams(BdlList):
    """One list without pages."""

    title = "Ball Don't Lie: NBA teams"
    path = "/v1/teams"
    has_pages = is_paginated = False
    tables = ("nba_bdl_teams",)
    step = "whole"
    entities = ("teams",)
    fresh_for = dt.timedelta(days=6)

    def read(self, partition: Partition, rows: list[Any]) -> Findings:  # noqa: ARG002 - there is one list
        """Counts teams."""
        return Findings({self.tables[0]: len(rows)}, keys=tuple(str(id_of(row)) for row in rows))
