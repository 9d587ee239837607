"""BigDataBall: NBA play-by-play, a CSV file a game in a shared folder of Google Drive. https://www.bigdataball.com"""

import datetime as dt
import re
from collections.abc import Mapping

from alerting.errors import CoverageLow, SourceContractError
from scrapers.csv_bodies import parsed_csv
from scrapers.partition import Partition
from scrapers.platforms.google_drive import DriveFolder, File
from scrapers.platforms.nba_calendar import NBA_RESTS, NBA_SEASONS
from scrapers.platforms.nba_com import scheduled_in

NAME = re.compile(r"\[(\d{4}-\d\d-\d\d)\]-(\d{10})-([A-Z]{3})@([A-Z]{3})\.csv")
COLUMNS = (
    "game_id data_set date a1 a2 a3 a4 a5 h1 h2 h3 h4 h5 period away_score home_score remaining_time elapsed "
    "play_length play_id team event_type assist away home block entered left num opponent outof player points "
    "possession reason result steal type shot_distance original_x original_y converted_x converted_y description"
)


class BigdataballPlaybyplay(DriveFolder):
    """``[2025-06-22]-0042400407-IND@OKC.csv``: the date is US Eastern, the id that of NBA.com."""

    title = "BigDataBall: NBA play-by-play"
    family = "nba"
    zone = "America/New_York"
    tables = ("nba_bigdataball_games", "nba_bigdataball_plays")
    media_type = "text/csv"
    excluded = ("combined-stats",)
    floor = dt.date(2004, 11, 2)
    floor_evidence = "(the first season that the vendor sells; an assumption)"
    settles_after = dt.timedelta(hours=18)
    calls_guess = 8.5
    rests = NBA_RESTS
    seasons = NBA_SEASONS
    requires = ("nba_schedule",)
    oracles = scheduled_in("nba_bigdataball_games", but=("preseason", "all_star"))

    def words(self, partition: Partition) -> str:
        """The date in brackets."""
        return f"[{partition.key}]"

    def item_of(self, file: File) -> tuple[str, str]:
        """Date and game id."""
        found = NAME.fullmatch(file.name)
        if found:
            return found[1], found[2]
        dated = re.match(r"\[(\d{4}-\d\d-\d\d)\]", file.name)
        is_other = dated is None or any(word in file.name for word in self.excluded)
        return ("" if dated is None or is_other else dated[1]), ""

    def counts(self, file: File, body: bytes) -> Mapping[str, int]:
        """One game with its plays, all of the game and date that the name tells."""
        rows = parsed_csv(body, COLUMNS.split())
        wanted = self.item_of(file)
        for row in rows:
            if (row["date"], row["game_id"].zfill(10)) != wanted:
                raise SourceContractError(f"{file.name} has a play of game {row['game_id']} on {row['date']}")
        if not rows or len({row["play_id"] for row in rows}) != len(rows):
            raise CoverageLow(f"{file.name} has {len(rows)} plays, some of them under one id")
        return {"nba_bigdataball_games": 1, "nba_bigdataball_plays": len(rows)}
