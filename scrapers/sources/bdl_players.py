"""Ball Don't Lie, NBA players: who ever played, and who plays now. https://docs.balldontlie.io"""

import datetime as dt
from typing import Any

from alerting.errors import SourceContractError
from scrapers.base import Findings
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import BdlList, id_of

_PATHS = {"players": "/v1/players", "active": "/v1/players/active"}
_TABLES = {"players": "nba_bdl_players", "active": "nba_bdl_active_players"}


class BdlPlayers(BdlList):
    """Two lists, each an entity that is read as a whole; that of the active ones costs a tier."""

    title = "Ball Don't Lie: NBA players"
    path = _PATHS["players"]
    tables = tuple(_TABLES.values())
    step = "whole"
    entities = tuple(_PATHS)
    entity_tiers = {"active": "all-star"}  # noqa: RUF012 - a fact of the class
    fresh_for = dt.timedelta(days=6)
    calls_guess = 55.0

    def path_of(self, partition: Partition) -> str:
        """The list of that name."""
        if partition.entity not in _PATHS:
            raise SourceContractError(f"there is no list of {partition.entity!r}, only {', '.join(_PATHS)}")
        return _PATHS[partition.entity]

    def read(self, partition: Partition, rows: list[Any]) -> Findings:
        """Counts players."""
        counts = dict.fromkeys(self.tables, 0) | {_TABLES[partition.entity]: len(rows)}
        return Findings(counts, keys=tuple(str(id_of(row)) for row in rows))
