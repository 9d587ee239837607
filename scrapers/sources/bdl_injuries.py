"""Ball Don't Lie, NBA injuries: who is out at this moment. https://docs.balldontlie.io"""

import json
from typing import Any

from scrapers.base import Findings
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import FIRST_SEASON, BdlList, id_of
from scrapers.sweeps import digest_of


class BdlInjuries(BdlList):
    """The list of today; it takes no date and keeps no history, so that a date at which nobody looked stays empty."""

    title = "Ball Don't Lie: NBA injuries"
    path = "/v1/player_injuries"
    tables = ("nba_bdl_injuries",)
    needs_tier = "all-star"
    keeps_history = False
    floor = FIRST_SEASON
    may_repeat = True  # nobody is hurt or heals on some days
    calls_guess = 2.0

    def read(self, partition: Partition, rows: list[Any]) -> Findings:  # noqa: ARG002 - no date is in the rows
        """Counts reports; only an identical one is the same."""
        keys = tuple(f"{id_of(row['player'])} {digest_of(json.dumps(row, sort_keys=True))}" for row in rows)
        return Findings({self.tables[0]: len(rows)}, keys=keys)
