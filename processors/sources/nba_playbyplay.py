"""NBA.com: play-by-play, one row per action."""

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table, with_nullable
from processors.told_values import joined, unless_blank, unless_nobody
from scrapers.answers import landed_json
from scrapers.partition import Partition

_CLOCK = re.compile(r"PT([0-9]+)M([0-9]+(?:\.[0-9]+)?)S")


class Action(Row):
    """One action. Numbers have gaps; ``order_number`` is the order in which they were played."""

    game_date: dt.date = Field(description="US Eastern")
    game_id: str = Field(description="10 digits with the zeros at their front")
    action_number: int = Field(description="of the game; has gaps, and what was entered late has a high one")
    order_number: int = Field(description="rises as the game goes on")
    period: int = Field(description="1 to 4, and the overtimes")
    clock: str = Field(description="as sent: PT11M41.00S")
    left_s: float | None = Field(description="seconds left in the period")
    acted_at: AwareDatetime | None = Field(description="UTC")
    action_type: str = Field(description="2pt, 3pt, freethrow, rebound, foul, turnover, substitution, period, game ...")
    sub_type: str | None
    description: str | None
    score_home: int | None = Field(description="after the action")
    score_away: int | None = Field(description="after the action")
    qualifiers: str | None = Field(description="with commas between them: pointsinthepaint,2ndchance")


TEXTS = {
    "descriptor": "descriptor",
    "team_tricode": "teamTricode",
    "player_name": "playerName",
    "side": "side",
    "area": "area",
    "area_detail": "areaDetail",
    "shot_result": "shotResult",
}
IDS = {
    "team_id": "teamId",
    "player_id": "personId",
    "possession_team_id": "possession",
    "assist_player_id": "assistPersonId",
    "block_player_id": "blockPersonId",
    "steal_player_id": "stealPersonId",
    "foul_drawn_player_id": "foulDrawnPersonId",
    "jump_ball_won_player_id": "jumpBallWonPersonId",
    "jump_ball_lost_player_id": "jumpBallLostPersonId",
    # So it is spelled.
    "jump_ball_recovered_player_id": "jumpBallRecoverdPersonId",
    "official_id": "officialId",
    "shot_action_number": "shotActionNumber",
}
NUMBERS = {"x": "x", "y": "y", "shot_distance_ft": "shotDistance"}
ACTIONS = with_nullable(Action, {str: " ".join(TEXTS), int: " ".join(IDS), float: " ".join(NUMBERS)})


class NbaPlaybyplay(Processor):
    """The page of the list has no rows."""

    tables = (Table("nba_pbp", ACTIONS, ("game_date", "game_id", "action_number"), "game_date"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """One row per action of a game."""
        document = landed_json(page.body)
        if "game" not in document:
            return
        ours = {"game_date": partition.start, "game_id": document["game"]["gameId"]}
        for action in document["game"]["actions"]:
            clock = _CLOCK.fullmatch(action["clock"])
            yield (
                "nba_pbp",
                {
                    **ours,
                    "action_number": action["actionNumber"],
                    "order_number": action["orderNumber"],
                    "period": action["period"],
                    "clock": action["clock"],
                    "left_s": int(clock[1]) * 60 + float(clock[2]) if clock else None,
                    "acted_at": unless_blank(action.get("timeActual")),
                    "action_type": action["actionType"],
                    "sub_type": unless_blank(action.get("subType")),
                    "description": unless_blank(action.get("description")),
                    "score_home": unless_blank(action["scoreHome"]),
                    "score_away": unless_blank(action["scoreAway"]),
                    "qualifiers": joined(action.get("qualifiers"), ","),
                    **{column: unless_blank(action.get(name)) for column, name in TEXTS.items()},
                    **{column: unless_nobody(action.get(name)) for column, name in IDS.items()},
                    **{column: action.get(name) for column, name in NUMBERS.items()},
                },
            )
