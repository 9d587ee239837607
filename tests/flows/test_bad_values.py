"""One bad value in one row of one date: the date is refused with table, column and value, and the run goes on."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from deployments.local.upstreams.season import games_on

if TYPE_CHECKING:
    from .conftest import Place, Ran

FIRST, BAD, LAST = "2025-01-10", "2025-01-11", "2025-01-12"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b'"\\ud83d"', "nba_bdl_player_stats: player_last_name: a text with a lone surrogate"),
        (b'"Don\xe8i\xe6"', "nba_bdl_player_stats: player_last_name: a text with a lone surrogate"),
        (
            b"9223372036854775808",
            "nba_bdl_player_stats: pts: Input should be less than or equal to 9223372036854775807",
        ),
        (b"9" * 5000, "nba_bdl_player_stats: pts: "),
        (b"true", "nba_bdl_player_stats: pts: true and false are no numbers, got True"),
    ],
    ids=["half an emoji", "a byte of Latin-1", "beyond INT64", "5000 digits", "true"],
)
def test_a_bad_value_refuses_its_date_and_not_the_run(place: Place, ran: Ran, sent: bytes, said: str) -> None:
    games: Any = games_on(dt.date.fromisoformat(BAD))
    line = games[0]["home_team"]["players"][0]
    if "last_name" in said:
        line["player"]["last_name"] = "VALUE"
    else:
        line["pts"] = "VALUE"
    body = json.dumps({"data": games}).encode().replace(b'"VALUE"', sent)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    place.upstream.trouble({"kind": "raw", "dates": [BAD], "raw": head + body.decode("latin-1")})
    run, facts = ran(FIRST, LAST)
    assert facts.verdict_counts == {"verified": 2, "failed_permanent": 1}
    assert run.stopped_by is None
    entry = place.entry(BAD)
    assert entry.error_type == "RowRejected"
    assert said in entry.error
