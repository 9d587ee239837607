"""The sample of The Odds API v4: its contract with its real oddities, credits that are really spent, and troubles.

    with OddsUpstream(now=dt.datetime(2025, 1, 20, tzinfo=dt.UTC)) as upstream:    # upstream.url, ODDS_KEY
        ...

Data wants the key as ``apiKey`` (or ``api_key``): ``/v4/sports`` and ``/v4/sports/{sport}/events`` for nothing;
``/v4/sports/{sport}/odds`` for markets x regions; ``/v4/sports/{sport}/events/{id}/odds`` for markets returned x
regions; and with ``date`` ``/v4/historical/sports/{sport}/events`` for 1, ``/v4/historical/sports/{sport}/odds``
(also ``/v4/sports/{sport}/odds-history``) and ``/v4/historical/sports/{sport}/events/{id}/odds`` for ten times what
the live ones cost. ``regions`` (or ``bookmakers``, ten of which are a region), ``markets`` (default ``h2h``),
``oddsFormat`` (``decimal``, ``american``). An answer without data costs nothing. Each good answer says in
``x-requests-remaining``, ``-used`` and ``-last`` what is left, used this month and was spent by the call.

Assumptions, where nothing is recorded: errors have no credit headers; a call that costs more than is left is refused;
months begin in UTC; before the first snapshot ``date`` is invalid; more than 30 calls a second get 429.

Control, see `sample_server`; and ``POST clock`` (``{"now": "2025-02-01T00:00:00Z"}``, null = the real one), ``POST
plan`` (``{"credits_a_month": 500, "has_history": false}``), ``POST spend`` (``{"credits": 40}``: somebody else used the
key), ``GET credits`` (``used``, ``remaining``, ``by_month``, ``spent_by_path`` of all time), ``POST limit``
(``{"per_second": 30}``, 0 = none). Kinds of trouble of its own: `OddsKind`; a rule's dates are UTC dates of ``date``.

Truth: `odds_world.OddsWorld` (typed values), `odds_truth` (rows and costs).
"""

from __future__ import annotations

import copy
import datetime as dt
import re
import socket
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from deployments.local.upstreams import odds_answers
from deployments.local.upstreams.odds_world import (
    BOOKMAKERS,
    FEATURED_MARKETS,
    PLAYER_MARKETS,
    SPORT,
    OddsWorld,
    Snapshot,
)
from deployments.local.upstreams.sample_rules import CallsPerSecond, Rule, TransportKind
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream

ODDS_KEY = "sample-odds-key"

OddsKind = Literal[
    TransportKind,
    "out_of_credits",  # 401 OUT_OF_USAGE_CREDITS, whatever is left
    "no_history",  # 401 HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN
    "invalid_key",  # 401 INVALID_KEY
    "vanished",  # 404 EVENT_NOT_FOUND
    "no_headers",  # the good answer without the credit headers
    "decimal_headers",  # credits as "495.0"
    "empty",  # no event, or an event without bookmakers
    "null_data",
    "list_for_event",  # a list where the single event is
    "later_snapshot",  # the snapshot is newer than what was asked
    "stale_snapshot",  # the snapshot of a day before
    "lost_event",  # the first event is missing
    "duplicate_event",  # the first event twice
    "lost_bookmaker",  # the first bookmaker of the first event is missing
    "renamed_field",  # "commence_time" is called "start_time"
    "null_id",  # the first event has no id
]
"""Troubles; those from ``empty`` on cost as the good answer does."""

_DETAILS = "https://the-odds-api.com/liveapi/guides/v4/api-error-codes.html#"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_PATH = re.compile(
    r"/v4(?P<historical>/historical)?/sports/(?P<sport>[^/]+)/(?P<what>events|odds|odds-history|events/(?P<event>[^/]+)/odds)"
)
_SAID = {
    "MISSING_KEY": (401, "API key is missing"),
    "INVALID_KEY": (401, "API key is not valid. See usage plans at https://the-odds-api.com"),
    "OUT_OF_USAGE_CREDITS": (401, "Usage quota has been reached. See usage plans at https://the-odds-api.com"),
    "HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN": (401, "Historical odds are only available on paid usage plans"),
    "UNKNOWN_SPORT": (404, "Unknown sport"),
    "EVENT_NOT_FOUND": (404, "Event not found. The event may have expired or the event id is incorrect."),
    "MISSING_REGION": (422, "Missing regions parameter"),
    "INVALID_REGION": (422, "Invalid regions parameter"),
    "INVALID_MARKET": (422, "Invalid markets parameter"),
    "INVALID_ODDS_FORMAT": (422, "Invalid oddsFormat parameter"),
    "INVALID_HISTORICAL_TIMESTAMP": (422, "Invalid date parameter. It must be an ISO 8601 timestamp such as ...Z"),
    "EXCEEDED_FREQ_LIMIT": (429, "Requests are too frequent"),
}
_OWN_REFUSALS = {
    "out_of_credits": "OUT_OF_USAGE_CREDITS",
    "no_history": "HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN",
    "invalid_key": "INVALID_KEY",
    "vanished": "EVENT_NOT_FOUND",
}


class Refused(Exception):
    """An error of the API, by its code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Asked:
    """What a call for prices wants."""

    markets: tuple[str, ...]
    regions: tuple[str, ...]
    bookmakers: tuple[str, ...]
    is_american: bool

    @property
    def regions_paid(self) -> int:
        """Ten bookmakers cost as much as a region."""
        return (len(self.bookmakers) + 9) // 10 if self.bookmakers else len(self.regions)


class Credits:
    """What a key may spend in each month, and what it has spent. Thread-safe."""

    def __init__(self, a_month: int) -> None:
        self.a_month = a_month
        self._lock = threading.Lock()
        self._used: Counter[str] = Counter()
        self._by_path: Counter[str] = Counter()

    def spend(self, cost: int, month: str, path: str) -> tuple[int, int]:
        """Takes the credits; returns what is left and what is used of the month. Raises `Refused` without effect."""
        with self._lock:
            if cost and self._used[month] + cost > self.a_month:
                raise Refused("OUT_OF_USAGE_CREDITS")
            self._used[month] += cost
            self._by_path[path] += cost
            return max(self.a_month - self._used[month], 0), self._used[month]

    def report(self, month: str) -> dict[str, Any]:
        """See the module."""
        with self._lock:
            return {
                "used": self._used[month],
                "remaining": max(self.a_month - self._used[month], 0),
                "by_month": dict(self._used),
                "spent_by_path": dict(self._by_path),
            }


class OddsUpstream(SampleUpstream[OddsKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        world: What there is.
        credits_a_month: Of the key.
        has_history: Whether its plan has it.
        per_second: Calls that are answered within any second; 0 = all.
        now: Fixes its clock; None is the real one.
        latency_ms: Added to every data answer.
        listener: Takes its connections instead of those of ``port``.
    """

    rules = TypeAdapter(list[Rule[OddsKind]])

    def __init__(  # noqa: PLR0913 - switches of a sample: each is set alone
        self,
        port: int = 0,
        *,
        world: OddsWorld | None = None,
        credits_a_month: int = 20_000,
        has_history: bool = True,
        per_second: float = 30,
        now: dt.datetime | None = None,
        latency_ms: float = 0.0,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.world = world or OddsWorld()
        self.credits = Credits(credits_a_month)
        self.has_history = has_history
        self.now = now
        self._limit = CallsPerSecond(per_second)
        self.controls |= {
            "limit": self._set_limit,
            "clock": self._set_clock,
            "plan": self._set_plan,
            "spend": self._spend_elsewhere,
        }
        self.shows["credits"] = lambda: self.credits.report(self.month())

    def clock(self) -> dt.datetime:
        """The instant that it takes for the present one."""
        return self.now or dt.datetime.now(dt.UTC)

    def month(self) -> str:
        """The present one, in UTC: ``2025-01``."""
        return self.clock().astimezone(dt.UTC).strftime("%Y-%m")

    def refusal(self, call: Call) -> Answer | None:
        """Too many calls a second, or no good key."""
        key = call.get("apiKey") or call.get("api_key")
        if not self._limit.admits():
            return _refused("EXCEEDED_FREQ_LIMIT")
        if not key:
            return _refused("MISSING_KEY")
        return None if key == ODDS_KEY else _refused("INVALID_KEY")

    def error(self, status: int, text: str) -> Answer:
        """An error of the given status with a code of that status."""
        code = next((code for code, (known, _) in _SAID.items() if known == status), "SERVER_ERROR")
        return Answer(status, {"message": text, "error_code": code, "details_url": _DETAILS + _anchor(code)})

    def date_of(self, call: Call) -> dt.date | None:
        """The UTC date of ``date``."""
        try:
            return dt.date.fromisoformat((call.get("date") or "")[:10])
        except ValueError:
            return None

    def answer(self, call: Call, kind: OddsKind | None) -> Answer:
        """By path; the credits are spent here."""
        if kind in _OWN_REFUSALS:
            return _refused(_OWN_REFUSALS[kind])
        try:
            return self._answer(call, kind)
        except Refused as refused:
            return _refused(refused.code)

    def _answer(self, call: Call, kind: OddsKind | None) -> Answer:
        if call.path in ("/v4/sports", "/v4/sports/"):
            sport = {"key": SPORT, "group": "Basketball", "title": "NBA", "description": "US Basketball"}
            return self._paid([{**sport, "active": True, "has_outrights": False}], 0, call.path, kind)
        found = _PATH.fullmatch(call.path)
        if found is None or (found["historical"] and found["what"] == "odds-history"):
            return Answer(404, {"message": "Not Found"})
        if found["sport"] != SPORT:
            raise Refused("UNKNOWN_SPORT")
        is_historical = bool(found["historical"]) or found["what"] == "odds-history"
        if is_historical and not self.has_history:
            raise Refused("HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN")
        asked = None if found["what"] == "events" else _asked(call, is_single=found["event"] is not None)
        snapshot = self._snapshot(call, kind, is_historical)
        data, cost = self._data(snapshot, found["event"], asked, is_historical)
        data = _spoiled(data, kind)
        return self._paid(odds_answers.envelope(snapshot, data) if is_historical else data, cost, call.path, kind)

    def _snapshot(self, call: Call, kind: OddsKind | None, is_historical: bool) -> Snapshot:
        asked = self.clock()
        if is_historical:
            text = call.get("date") or ""
            if not _DATE.fullmatch(text):
                raise Refused("INVALID_HISTORICAL_TIMESTAMP")
            try:
                asked = dt.datetime.fromisoformat(text)
            except ValueError:
                raise Refused("INVALID_HISTORICAL_TIMESTAMP") from None
        asked += {"later_snapshot": dt.timedelta(minutes=25), "stale_snapshot": -dt.timedelta(days=1)}.get(
            kind or "", dt.timedelta(0)
        )
        snapshot = self.world.snapshot_at(asked, self.clock())
        if snapshot is None:
            raise Refused("INVALID_HISTORICAL_TIMESTAMP")
        return snapshot

    def _data(
        self, snapshot: Snapshot, event_id: str | None, asked: Asked | None, is_historical: bool
    ) -> tuple[Any, int]:
        """What the snapshot has, and its price."""
        if asked is None:
            listed = [odds_answers.event(event) for event in self.world.events_at(snapshot.at)]
            return listed, 1 if is_historical and listed else 0
        times = 10 if is_historical else 1
        if event_id is None:
            events = self.world.events_at(snapshot.at)
            priced = [self._priced(event, snapshot, asked) for event in events]
            return priced, times * len(asked.markets) * asked.regions_paid if priced else 0
        event = self.world.event(event_id, snapshot.at)
        if event is None:
            raise Refused("EVENT_NOT_FOUND")
        single = self._priced(event, snapshot, asked)
        returned = {market["key"] for book in single["bookmakers"] for market in book["markets"]} & set(asked.markets)
        return single, times * len(returned) * asked.regions_paid

    def _priced(self, event: Any, snapshot: Snapshot, asked: Asked) -> dict[str, Any]:
        lines = self.world.lines(
            event, snapshot.at, markets=asked.markets, regions=asked.regions, bookmakers=asked.bookmakers
        )
        return odds_answers.priced_event(event, lines, snapshot.at, is_american=asked.is_american)

    def _paid(self, document: Any, cost: int, path: str, kind: OddsKind | None) -> Answer:
        remaining, used = self.credits.spend(cost, self.month(), path)
        if kind == "no_headers":
            return Answer(200, document)
        tail = ".0" if kind == "decimal_headers" else ""
        numbers = {"remaining": remaining, "used": used, "last": cost}
        return Answer(200, document, {f"x-requests-{name}": f"{number}{tail}" for name, number in numbers.items()})

    def _set_limit(self, document: Any) -> None:
        self._limit = CallsPerSecond(float(document["per_second"]))

    def _set_clock(self, document: Any) -> None:
        self.now = None if document["now"] is None else dt.datetime.fromisoformat(document["now"])

    def _set_plan(self, document: Any) -> None:
        self.credits.a_month = int(document["credits_a_month"])
        self.has_history = bool(document["has_history"])

    def _spend_elsewhere(self, document: Any) -> None:
        try:
            self.credits.spend(int(document["credits"]), self.month(), "elsewhere")
        except Refused:
            raise ValueError("so many credits are not left") from None


def _asked(call: Call, *, is_single: bool) -> Asked:
    markets = tuple(dict.fromkeys(call.all("markets") or ["h2h"]))
    regions, bookmakers = tuple(dict.fromkeys(call.all("regions"))), tuple(dict.fromkeys(call.all("bookmakers")))
    odds_format = call.get("oddsFormat") or "decimal"
    known: Collection[str] = (*FEATURED_MARKETS, *PLAYER_MARKETS) if is_single else FEATURED_MARKETS
    if not regions and not bookmakers:
        raise Refused("MISSING_REGION")
    if any(region not in BOOKMAKERS for region in regions):
        raise Refused("INVALID_REGION")
    if any(market not in known for market in markets):
        raise Refused("INVALID_MARKET")
    if odds_format not in ("decimal", "american"):
        raise Refused("INVALID_ODDS_FORMAT")
    return Asked(markets, regions, bookmakers, odds_format == "american")


def _spoiled(data: Any, kind: OddsKind | None) -> Any:
    data = copy.deepcopy(data)
    events = data if isinstance(data, list) else [data]
    if kind == "empty":
        return [] if isinstance(data, list) else {**data, "bookmakers": []}
    if kind == "null_data":
        return None
    if kind == "list_for_event":
        return events
    if not events:
        return data
    if kind == "renamed_field":
        for event in events:
            event["start_time"] = event.pop("commence_time")
    elif kind == "null_id":
        events[0]["id"] = None
    elif kind == "lost_bookmaker":
        del events[0].get("bookmakers", [])[:1]
    elif kind == "lost_event":
        del events[0]
    elif kind == "duplicate_event":
        events.append(copy.deepcopy(events[0]))
    return data


def _refused(code: str) -> Answer:
    status, message = _SAID[code]
    return Answer(status, {"message": message, "error_code": code, "details_url": _DETAILS + _anchor(code)})


def _anchor(code: str) -> str:
    return code.lower().replace("_", "-")
