"""Ball Don't Lie: injuries as they were on a day. https://docs.balldontlie.io"""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from processors.base import LandedPage, Processor, Row, Table
from processors.platforms.balldontlie import flat
from scrapers.answers import landed_json
from scrapers.partition import Partition
from scrapers.sweeps import digest_of


class Injury(Row):
    """One report of one player."""

    seen_on: dt.date = Field(description="US Eastern date of the look; the last one of the day counts")
    player_id: int
    report: str = Field(description="sixteen characters that differ when the report does: a player may have several")
    status: str = Field(description="Out, Day-To-Day, Questionable ...")
    return_date: str | None = Field(description="as sent, without a year: Nov 17")
    description: str | None
    team_id: int | None
    player_first_name: str | None
    player_last_name: str | None
    player_position: str | None


_REST = "height weight jersey_number college country draft_year draft_round draft_number".split()  # noqa: SIM905


class BdlInjuries(Processor):
    """The list of one US Eastern date."""

    tables = (
        Table(
            "nba_bdl_injuries",
            Injury,
            ("seen_on", "player_id", "report"),
            "seen_on",
            usual_removal=1.0,  # who is fit again is on the list no more
            # His person is in nba_bdl_players; an id of the report itself is not documented.
            ignored=frozenset(f"player_{name}" for name in _REST) | {"id"},
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """One row per report."""
        for report in landed_json(page.body)["data"]:
            told = digest_of(json.dumps(report, sort_keys=True))
            player = flat("player_", report.pop("player"))
            ours = {"seen_on": partition.start, "report": told, "team_id": player.pop("player_team_id", None)}
            yield "nba_bdl_injuries", {**flat("", report), **player, **ours}
