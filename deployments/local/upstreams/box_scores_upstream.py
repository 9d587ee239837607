"""The sample of Ball Don't Lie: speaks its contract, generates a season, and misbehaves on request.

``/v1/box_scores?date=``, ``/v1/games`` and ``/v1/stats`` (``dates[]``, ``start_date`` and ``end_date``, ``seasons[]``,
``game_ids[]``, ``cursor``, ``per_page``), ``/v1/players``, ``/v1/players/active``, ``/v1/player_injuries`` and
``/v1/teams``, each also under ``/nba``, want the key in ``Authorization``. A parameter that they do not know is
ignored. An endpoint that the account's tier does not open answers 401, one call too many in a minute 429 without
Retry-After.

Control, see `sample_server`; kinds of trouble of its own: `box_scores_trouble.BoxScoreKind`. ``POST season`` takes a
list of `league.Change`, ``POST account`` ``{"tier": "free", "per_minute": 5}``; 0 calls a minute is no limit. Truth:
`season.games_on`, `league`, `bdl_answers`.
"""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import json
import socket
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from deployments.local.upstreams.bdl_answers import (
    BadRequest,
    Row,
    all_players,
    document_of,
    games_of,
    injuries_on,
    page_of,
    players_of,
    stats_of,
    teams,
)
from deployments.local.upstreams.box_scores_trouble import BoxScoreKind, spoiled, spoiled_page
from deployments.local.upstreams.league import CHANGES, EASTERN, Calendar, usual_calendar
from deployments.local.upstreams.sample_rules import CallLimit, Rule
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream
from deployments.local.upstreams.season import FIRST_DATE, LAST_DATE, games_on, late_game, season_of

TIERS = ("free", "all-star", "goat")
_OPENED_BY = {
    "/v1/games": "free",
    "/v1/teams": "free",
    "/v1/players": "free",
    "/v1/players/active": "all-star",
    "/v1/player_injuries": "all-star",
    "/v1/stats": "all-star",
    "/v1/box_scores": "goat",
}
_NO_CHANGES = Calendar()


class Upstream(SampleUpstream[BoxScoreKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        latency_ms: Added to every data answer; can be changed while it runs.
        api_key: The only key it accepts.
        tier: What the account is paid for.
        per_minute: Calls that it admits, over all endpoints; 0 = any number.
        has_postponements: Two games of every season are postponed, the same as at the other samples; otherwise none.
        now: Fixes its clock; None is the real one.
        listener: Takes its connections instead of those of ``port``.
    """

    rules = TypeAdapter(list[Rule[BoxScoreKind]])

    def __init__(  # noqa: PLR0913 - switches of a sample: each is set alone
        self,
        port: int = 0,
        *,
        latency_ms: float = 0.0,
        api_key: str = "sample-key",
        tier: str = "goat",
        per_minute: int = 0,
        has_postponements: bool = False,
        now: dt.datetime | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.api_key = api_key
        self.tier = tier
        self.has_postponements = has_postponements
        self.now = now
        self.calendar: Calendar | None = None
        self._limit = CallLimit(per_minute, 60.0)
        self.controls |= {"season": self.set_season, "account": self.set_account}

    def set_season(self, document: Any) -> None:
        """Takes a list of `league.Change`; an empty one is a season in which nothing went wrong."""
        self.calendar = Calendar(CHANGES.validate_python(document))

    def set_account(self, document: Any) -> None:
        """Takes another tier, another limit, or both."""
        tier = document.get("tier", self.tier)
        if tier not in TIERS:
            raise ValueError(f"a tier is one of {', '.join(TIERS)}")
        self.tier = tier
        if "per_minute" in document:
            self._limit = CallLimit(float(document["per_minute"]), 60.0)

    def today(self) -> dt.date:
        """The US Eastern date by its clock."""
        return (self.now or dt.datetime.now(dt.UTC)).astimezone(EASTERN).date()

    def refusal(self, call: Call) -> Answer | None:
        """Whoever has no key or too low a tier, asks too often or for something else."""
        opened_by = _OPENED_BY.get(_path(call))
        if opened_by is None:
            return Answer(404, {"error": "Not Found"})
        if call.headers.get("authorization") != self.api_key or TIERS.index(opened_by) > TIERS.index(self.tier):
            return self.error(401, "")
        return None if self._limit.admits() else self.error(429, "Too many requests")

    def error(self, status: int, text: str) -> Answer:
        """A 401 is plain text, all others are JSON."""
        if status == 401:
            return Answer(401, b"Unauthorized", media_type="text/plain; charset=utf-8")
        return Answer(status, {"error": text})

    def date_of(self, call: Call) -> dt.date | None:
        """``date``, the first of ``dates[]``, or ``start_date``."""
        given = call.get("date") or next(iter(call.all("dates[]")), None) or call.get("start_date")
        return _date(given)

    def answer(self, call: Call, kind: BoxScoreKind | None) -> Answer:
        """What is asked for."""
        path = _path(call)
        if path == "/v1/box_scores":
            return self._box_scores(call, kind)
        if path == "/v1/teams":
            document: Row = {"data": teams()}
        else:
            try:
                document = page_of(self._rows(call, path, kind), call.get("cursor"), call.get("per_page"))
            except BadRequest as error:
                return self.error(400, str(error))
        return Answer(200, spoiled_page(document, kind, is_first=call.get("cursor") is None))

    def calendar_of(self, call: Call, date: dt.date) -> Calendar:
        """The season as this call sees it."""
        if self.calendar is None:
            return usual_calendar(season_of(date)) if self.has_postponements else _NO_CHANGES
        return self.calendar.for_path(call.path)

    def _rows(self, call: Call, path: str, kind: BoxScoreKind | None) -> Iterable[Row]:
        today = self.today()
        if path == "/v1/players":
            return all_players(season_of(today))
        if path == "/v1/players/active":
            return players_of(season_of(today))
        if path == "/v1/player_injuries":
            return injuries_on(today)
        dates = _dates(call)
        if kind == "wrong_date":
            dates = [date - dt.timedelta(days=1) for date in dates]
        calendar = self.calendar_of(call, dates[0]) if dates else _NO_CHANGES
        rows = (games_of if path == "/v1/games" else stats_of)(calendar, dates, today)
        wanted = set(call.all("game_ids[]"))
        if not wanted:
            return rows
        return (row for row in rows if str(row["game"]["id"] if "game" in row else row["id"]) in wanted)

    def _box_scores(self, call: Call, kind: BoxScoreKind | None) -> Answer:
        date = self.date_of(call)
        if date is None:
            return Answer(400, {"error": f"date {(call.get('date') or '')[:40]!r} is not YYYY-MM-DD"})
        calendar, today = self.calendar_of(call, date), self.today()
        listed = None
        if calendar.changes:
            listed = [document_of(one, today) for one in calendar.listed_on(date) if one.game.bdl_id is not None]
        if kind is None and listed is None:
            return Answer(200, _packed(date, date < today), is_packed=True)
        if kind is None:
            return Answer(200, {"data": listed})
        yesterday = games_on(date - dt.timedelta(days=1))
        games = games_on(date) if listed is None else listed
        games += [late_game(date)] if kind == "late_game" else []
        return Answer(200, {"data": spoiled(games, kind, yesterday)})


def _path(call: Call) -> str:
    return call.path.removeprefix("/nba")


def _dates(call: Call) -> list[dt.date]:
    """What the call narrows by; without any of it the API gives all that there is."""
    if named := [date for text in call.all("dates[]") if (date := _date(text)) is not None]:
        return sorted(set(named))
    first, last = _date(call.get("start_date")), _date(call.get("end_date"))
    if first is None and last is None:
        seasons = [int(text) for text in call.all("seasons[]") if text.isdecimal()]
        spans = [(dt.date(year, 10, 1), dt.date(year + 1, 7, 1)) for year in seasons]
        # A game's id says its date, so that games that are asked for by id are found without the whole past.
        days = [dt.date.fromordinal(int(text) // 100) for text in call.all("game_ids[]") if text.isdecimal()]
        spans += [(day, day + dt.timedelta(days=60)) for day in days]
    else:
        spans = [(first or FIRST_DATE, last or LAST_DATE)]
    spans = spans or [(FIRST_DATE, FIRST_DATE + dt.timedelta(days=30))]  # the oldest ones: nobody reads on
    return sorted({first + dt.timedelta(days=day) for first, last in spans for day in range((last - first).days + 1)})


def _date(text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text or "")
    except ValueError:
        return None


@functools.lru_cache(maxsize=4096)
def _packed(date: dt.date, is_over: bool) -> bytes:
    """The whole good answer in gzip, about 15 kB."""
    document = {"data": games_on(date, is_over=is_over)}
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), compresslevel=1, mtime=0)
