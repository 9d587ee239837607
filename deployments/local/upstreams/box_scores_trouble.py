"""What can be wrong in an answer of the sample of Ball Don't Lie."""

from __future__ import annotations

import copy
from typing import Any, Literal

from deployments.local.upstreams.sample_rules import TransportKind

BoxScoreKind = Literal[
    TransportKind,
    "not_final",  # the first game is in its third quarter
    "empty",  # {"data":[]} although there were games
    "one_game",  # only the first game, as if there had been no other
    "drop_players",  # the first game has no visitors' players
    "drop_last_player",  # one line is missing, nothing else shows it
    "wrong_date",  # the games of the day before: the date parameter was ignored
    "duplicate_game",
    "late_game",  # one game more than before: it was not listed at first
    "renamed_field",  # "pts" is called "points"
    "drop_top_scorer",  # of the first game's visitors
    "one_player",  # the first game's visitors have one player left
    "wrong_score",  # the first game's visitors have one point more than their players
    "negative_score",  # the first game's visitors have less than none
    "null_id",  # the first player of the first game has no id
    "lost_cursor",  # a list ends behind its first page, whatever there is
    "null_cursor",  # the last page of a list says null where it has no key
    "shifted_page",  # a page begins with a row of the page before
]


def spoiled(games: list[dict[str, Any]], kind: BoxScoreKind, yesterday: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The games of a date with one of the troubles that leave the answer well-formed."""
    games = copy.deepcopy(games)
    if kind == "empty":
        return []
    if kind == "one_game":
        return games[:1]
    if kind == "wrong_date":
        return yesterday
    if games:
        first = games[0]
        lines = first["visitor_team"]["players"]
        if kind == "not_final":
            first |= {"status": "3rd Qtr", "period": 3, "time": "Q3 04:12"}
        elif kind == "drop_players":
            lines.clear()
        elif kind == "drop_last_player":
            lines.pop()
        elif kind == "duplicate_game":
            games.append(copy.deepcopy(first))
        elif kind == "renamed_field":
            for line in lines:
                line["points"] = line.pop("pts")
        elif kind == "drop_top_scorer":
            lines.remove(max(lines, key=lambda line: line["pts"]))
        elif kind == "one_player":
            del lines[1:]
        elif kind == "wrong_score":
            first["visitor_team_score"] += 1
        elif kind == "negative_score":
            first["visitor_team_score"] = -first["visitor_team_score"]
        elif kind == "null_id":
            lines[0]["player"]["id"] = None
    return games


def spoiled_page(document: dict[str, Any], kind: BoxScoreKind | None, *, is_first: bool) -> dict[str, Any]:
    """A page of a list with one of the troubles; those that speak of players concern the first row."""
    if kind is None or kind in ("wrong_date", "late_game"):
        return document
    document = copy.deepcopy(document)
    rows, meta = document["data"], document.get("meta", {})
    if kind == "empty":
        return {"data": []}
    if kind == "null_cursor":
        meta.setdefault("next_cursor", None)
    if not rows:
        return document
    first = rows[0]
    game = first.get("game", first)
    if kind == "lost_cursor":
        meta.pop("next_cursor", None)
    elif kind == "one_game":
        del rows[1:]
    elif kind == "not_final":
        for row in rows:
            one = row.get("game", row)
            if one["id"] == game["id"]:
                one |= {"status": "3rd Qtr", "period": 3, "time": "Q3 04:12"}
    elif kind == "duplicate_game" or (kind == "shifted_page" and not is_first):
        rows.append(copy.deepcopy(first))
    elif kind == "drop_last_player":
        rows.pop()
    elif kind == "renamed_field":
        for row in rows:
            row["points" if "pts" in row else "name_of_it"] = row.pop("pts" if "pts" in row else next(iter(row)))
    elif kind == "drop_top_scorer" and "pts" in first:
        rows.remove(max(rows, key=lambda row: row["pts"]))
    elif kind == "null_id":
        first.get("player", first)["id"] = None
    elif kind in ("wrong_score", "negative_score") and "visitor_team_score" in game:
        game["visitor_team_score"] += 1 if kind == "wrong_score" else -1000
    return document
