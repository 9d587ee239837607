"""One bad value in one row of one date: the date is refused with table, column and value, and the run goes on."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from deployments.local.upstreams.season import games_on

if TYPE_CHECKING:
    from .conftest import Place, Ran

FIRST, LAST = "2025-01-03", "2025-01-11"
SENT = {
    "half an emoji": (b'"\\ud83d"', "nba_bdl_player_stats: player_last_name: a text with a lone surrogate"),
    "a byte of Latin-1": (b'"Don\xe8i\xe6"', "nba_bdl_player_stats: player_last_name: a text with the byte 0xe8"),
    "beyond INT64": (
        b"9223372036854775808",
        "nba_bdl_player_stats: pts: Input should be less than or equal to 9223372036854775807",
    ),
    "5000 digits": (b"9" * 5000, "nba_bdl_player_stats: pts: "),
    "true": (b"true", "nba_bdl_player_stats: pts: true and false are not numbers, got True"),
}


def answer(date: str, sent: bytes, said: str) -> bytes:
    """The games of a date with one value replaced by other bytes."""
    games: Any = games_on(dt.date.fromisoformat(date))
    line = games[0]["home_team"]["players"][0]
    if "last_name" in said:
        line["player"]["last_name"] = "VALUE"
    else:
        line["pts"] = "VALUE"
    body = json.dumps({"data": games}).encode().replace(b'"VALUE"', sent)
    head = ["HTTP/1.1 200 OK", "Content-Type: application/json", "Connection: close", f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def test_a_bad_value_refuses_its_date_and_not_the_run(place: Place, ran: Ran) -> None:
    bad = {f"2025-01-{day:02}": value for day, value in zip(range(3, 12, 2), SENT.values(), strict=True)}
    place.upstream.trouble(
        *(
            {"kind": "raw", "dates": [date], "raw": answer(date, sent, said).decode("latin-1")}
            for date, (sent, said) in bad.items()
        )
    )
    run, facts = ran(FIRST, LAST)
    assert facts.verdict_counts == {"verified": 4, "failed_permanent": 5}
    assert run.stopped_by is None
    for date, (_, said) in bad.items():
        entry = place.entry(date)
        assert entry.error_type == "RowRejected"
        assert said in entry.error
