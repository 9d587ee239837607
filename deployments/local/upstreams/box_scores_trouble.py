"""What can go wrong at the sample upstream, switched on by rules; and the exact count of what was asked of it."""

from __future__ import annotations

import copy
import datetime as dt
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "status",  # an error status with a small JSON body; "code" says which, "text" what it says
    "429",
    "500",
    "401",
    "slow",  # the good answer, delay_s (or 2 s) later
    "hang",  # no byte for delay_s (or until the server stops), then the connection is closed
    "reset",  # the connection is closed without an answer
    "drip",  # the good body, one byte every 50 ms
    "truncated_gzip",  # complete by Content-Length, but the gzip stream ends in the middle
    "truncated_body",  # fewer bytes than Content-Length
    "html200",  # a challenge page with status 200
    "html403",
    "redirect",
    "bad_json",
    "raw",  # the bytes of "raw" (Latin-1), status line and headers included; then the connection is closed
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
]


class Rule(BaseModel):
    """One kind of trouble for some dates; the first rule that matches and is not used up decides.

    Without ``dates``, ``from`` and ``to`` (inclusive) a rule matches every date. ``times`` limits how often it strikes
    in all, ``times_per_date`` how often at each date; None = for ever. ``text`` is what an error status says, as real
    sources do: ``{date}``, ``{request_id}`` (another one at every call) and ``{url}`` are filled in.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    kind: Kind
    dates: list[dt.date] | None = None
    from_date: dt.date | None = Field(default=None, alias="from")
    to_date: dt.date | None = Field(default=None, alias="to")
    times: int | None = None
    times_per_date: int | None = None
    code: int = 503
    text: str = ""
    raw: str = ""
    retry_after_s: float | None = None
    delay_s: float | None = None

    def matches(self, date: dt.date) -> bool:
        """Whether the rule speaks of this date."""
        if self.dates is not None and date not in self.dates:
            return False
        return (self.from_date is None or self.from_date <= date) and (self.to_date is None or date <= self.to_date)


class Troubles:
    """The rules in force. Thread-safe: a rule with ``times=1`` strikes exactly once, however many ask at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._strikes: Counter[tuple[int, dt.date]] = Counter()

    def set(self, rules: Iterable[Rule]) -> None:
        """Replaces all rules and forgets how often the old ones struck."""
        with self._lock:
            self._rules = list(rules)
            self._strikes.clear()

    def strike(self, date: dt.date) -> Rule | None:
        """The rule that decides about this call, which counts as one strike."""
        with self._lock:
            for index, rule in enumerate(self._rules):
                in_all = sum(count for (which, _), count in self._strikes.items() if which == index)
                if (
                    rule.matches(date)
                    and (rule.times is None or in_all < rule.times)
                    and (rule.times_per_date is None or self._strikes[index, date] < rule.times_per_date)
                ):
                    self._strikes[index, date] += 1
                    return rule
            return None


class Calls:
    """Counts data calls exactly: per date, per status, how many at once, and when each one came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self.clear()

    def clear(self) -> None:
        """Starts from zero."""
        with self._lock:
            self._peak = self._running
            self._requests: list[dict[str, Any]] = []

    @contextmanager
    def one(self, date: str) -> Iterator[dict[str, Any]]:
        """Counts a call while it runs. The caller sets ``status`` in the yielded record (0 = no answer)."""
        record = {"at": dt.datetime.now(dt.UTC).isoformat(), "date": date, "status": 0}
        with self._lock:
            self._running += 1
            self._peak = max(self._peak, self._running)
            self._requests.append(record)
        try:
            yield record
        finally:
            with self._lock:
                self._running -= 1

    def report(self) -> dict[str, Any]:
        """``total``, ``by_date``, ``by_status``, ``peak_concurrency``, ``requests`` in order of arrival."""
        with self._lock:
            requests = copy.deepcopy(self._requests)
            peak = self._peak
        return {
            "total": len(requests),
            "by_date": dict(Counter(request["date"] for request in requests)),
            "by_status": dict(Counter(str(request["status"]) for request in requests)),
            "peak_concurrency": peak,
            "requests": requests,
        }


def spoiled(games: list[dict[str, Any]], kind: Kind, yesterday: list[dict[str, Any]]) -> list[dict[str, Any]]:
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
