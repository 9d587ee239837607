"""The sample of The Racing API: its contract with its real oddities, a made-up world behind it, and troubles.

    with RacingUpstream(world=RacingWorld(...)) as upstream:    # upstream.url, RACING_USER, RACING_PASSWORD
        ...

Data, behind HTTP Basic: ``/v1/courses`` (``region_codes``), ``/v1/courses/regions`` (a bare array),
``/v1/racecards/pro`` (``date``, ``region_codes``, ``course_ids``, ``limit`` and ``skip`` up to 500; 2023-01-23 to a
week ahead), ``/v1/results`` (``start_date``, ``end_date``, ``region``, ``course``, ``limit`` up to 50, ``skip`` up to
20,000; newest first, the last 12 months), ``/v1/racecards/{race_id}/pro`` and ``/v1/results/{race_id}`` (404 for a race
that is abandoned or not over). Parameters that a path does not have are ignored: the echo ``query`` lacks them. More
than ``per_second`` calls within a second, over all connections, get 429.

Assumptions, where nothing is recorded: the 401 and 429 bodies; an echo without ignored parameters; what is older than
the floor answers as ``too_old`` says; a day ends one hour after its last race.

Control, see `sample_server`; and ``POST limit`` (``{"per_second": 2}``, 0 = none), ``POST clock`` (``{"now":
"2025-10-14T12:00:00Z"}``, null = the real one), ``POST too_old`` (``{"answer": "empty"}``, ``"422"`` or ``"401"``).
``GET calls`` has ``peak_per_second``, the most calls within any second. Kinds of trouble of its own: `RacingKind`.

Truth: `racing_world.RacingWorld` (typed values), `racing_truth` (rows).
"""

from __future__ import annotations

import base64
import copy
import datetime as dt
import socket
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from deployments.local.upstreams import racing_answers
from deployments.local.upstreams.racing_world import COURSES, FIRST_DATE, REGIONS, UK, Race, RacingWorld
from deployments.local.upstreams.sample_rules import CallsPerSecond, Rule, TransportKind
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream

RACING_USER = "sample-racing-user"
RACING_PASSWORD = "sample-racing-password"  # noqa: S105 - of the sample alone

RacingKind = Literal[
    TransportKind,
    "late_result",  # the newest race is not yet there on the first page: the pages shift, the total grows
    "removed_result",  # the newest race is gone from the second page on: the pages shift, the total shrinks
    "short_page",  # the last race of the page is missing, the total is as ever
    "empty",  # no race and a total of 0, although there were some
    "null_list",  # null where the list is
    "wrong_date",  # the races of the day before: the date was ignored, though it is echoed
    "lost_echo",  # the query has no parameters
    "missing_runner",  # the last runner of the first race is missing, and nothing says so
    "duplicate_race",  # the first race twice
    "renamed_field",  # "horse_id" is called "horseId"
    "null_id",  # the first race has no id
]
"""Troubles; those from ``late_result`` on concern the lists of racecards and results."""

_MAX_DAYS_AHEAD = 7
_OVER_AFTER = dt.timedelta(hours=1)
_KNOWN = {
    "/v1/courses": ("region_codes",),
    "/v1/courses/regions": (),
    "/v1/racecards/pro": ("date", "region_codes", "course_ids", "limit", "skip"),
    "/v1/results": ("start_date", "end_date", "region", "course", "limit", "skip"),
}
# Of a list: its limit when none is given, the most that it takes, and the most of skip.
_PAGES = {"/v1/racecards/pro": (500, 500, 500), "/v1/results": (25, 50, 20_000)}


class Unprocessable(Exception):
    """A parameter that FastAPI refuses."""

    def __init__(self, name: str, message: str, kind: str) -> None:
        super().__init__(message)
        self.detail = {"loc": ["query", name], "msg": message, "type": kind}


class RacingUpstream(SampleUpstream[RacingKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        world: What there is.
        per_second: Calls that are answered within any second; 0 = all.
        now: Fixes its clock; None is the real one.
        latency_ms: Added to every data answer.
        listener: Takes its connections instead of those of ``port``.
    """

    rules = TypeAdapter(list[Rule[RacingKind]])

    def __init__(
        self,
        port: int = 0,
        *,
        world: RacingWorld | None = None,
        per_second: float = 2,
        now: dt.datetime | None = None,
        latency_ms: float = 0.0,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.world = world or RacingWorld()
        self.now = now
        self.too_old = "empty"
        self.controls |= {"limit": self._set_limit, "clock": self._set_clock, "too_old": self._set_too_old}
        self._limit = CallsPerSecond(per_second)
        login = base64.b64encode(f"{RACING_USER}:{RACING_PASSWORD}".encode()).decode()
        self._authorization = f"Basic {login}"

    def refusal(self, call: Call) -> Answer | None:
        """The limit counts before the login, as a proxy in front of it does."""
        if not self._limit.admits():
            return self.error(429, "Rate limit exceeded")
        if call.headers.get("authorization") != self._authorization:
            return self.error(401, "Invalid username or password" if "authorization" in call.headers else "")
        return None

    def error(self, status: int, text: str) -> Answer:
        """FastAPI's form."""
        headers = {"WWW-Authenticate": "Basic"} if status == 401 else {}
        return Answer(status, {"detail": text or "Not authenticated"}, headers)

    def date_of(self, call: Call) -> dt.date | None:
        """``date``, or ``start_date``."""
        try:
            return dt.date.fromisoformat(call.get("date") or call.get("start_date") or "")
        except ValueError:
            return None

    def answer(self, call: Call, kind: RacingKind | None) -> Answer:
        """By path; a single race takes no trouble of the lists."""
        parts = call.path.strip("/").split("/")
        try:
            if call.path == "/v1/courses":
                return self._courses(call)
            if call.path == "/v1/courses/regions":
                regions = [{"region": name, "region_code": code} for code, name in REGIONS.items()]
                return Answer(200, regions)
            if call.path == "/v1/racecards/pro":
                return self._racecards(call, kind)
            if call.path == "/v1/results":
                return self._results(call, kind)
            if parts[:2] == ["v1", "racecards"] and parts[3:] == ["pro"]:
                return self._single_card(parts[2])
            if parts[:2] == ["v1", "results"] and len(parts) == 3:
                return self._single_result(parts[2])
        except Unprocessable as refused:
            return Answer(422, {"detail": [refused.detail]})
        return Answer(404, {"detail": "Not Found"})

    def clock(self) -> dt.datetime:
        """The instant that it takes for the present one."""
        return self.now or dt.datetime.now(dt.UTC)

    def cards_on(self, date: dt.date) -> tuple[Race, ...]:
        """The races of which it has a card at present."""
        is_near = (date - self._today()).days <= _MAX_DAYS_AHEAD
        return self.world.races_on(date) if is_near else ()

    def results_on(self, date: dt.date) -> tuple[Race, ...]:
        """The races of which it has a result at present, newest first."""
        now = self.clock()
        over = [race for race in self.world.races_on(date) if race.off + _OVER_AFTER <= now and not race.is_abandoned]
        return tuple(reversed(over))

    def first_result_date(self) -> dt.date:
        """Results are there for the last 12 months."""
        today = self._today()
        return today.replace(year=today.year - 1, day=min(today.day, 28) if today.month == 2 else today.day)

    def _set_limit(self, document: Any) -> None:
        self._limit = CallsPerSecond(float(document["per_second"]))

    def _set_clock(self, document: Any) -> None:
        self.now = None if document["now"] is None else dt.datetime.fromisoformat(document["now"])

    def _set_too_old(self, document: Any) -> None:
        if document["answer"] not in ("empty", "422", "401"):
            raise ValueError("answer is none of empty, 422, 401")
        self.too_old = document["answer"]

    def _today(self) -> dt.date:
        return self.clock().astimezone(UK).date()

    def _courses(self, call: Call) -> Answer:
        wanted = call.all("region_codes")
        found = [racing_answers.course(one) for one in COURSES if not wanted or one.region_code in wanted]
        return Answer(200, {"courses": found, "total": len(found)})

    def _racecards(self, call: Call, kind: RacingKind | None) -> Answer:
        limit, skip = _page(call)
        date = _date(call, "date", self._today())
        if date < FIRST_DATE and self.too_old != "empty":
            return self._too_old(f"date must not be before {FIRST_DATE}", "date")
        asked = date - dt.timedelta(days=1) if kind == "wrong_date" else date
        regions, courses = call.all("region_codes"), call.all("course_ids")
        races = [
            race
            for race in self.cards_on(asked)
            if (not regions or race.region_code in regions) and (not courses or race.course.id in courses)
        ]
        today = self._today()

        def words(race: Race) -> dict[str, Any]:
            return racing_answers.card(race, is_early=race.date > today)

        return _listed("racecards", call, races, _Window(limit, skip), kind, words)

    def _results(self, call: Call, kind: RacingKind | None) -> Answer:
        limit, skip = _page(call)
        last = _date(call, "end_date", self._today())
        first = _date(call, "start_date", last)
        if first < self.first_result_date():
            if self.too_old != "empty":
                return self._too_old("Results older than 12 months are not in your plan", "start_date")
            first = self.first_result_date()
        regions, courses = call.all("region"), call.all("course")
        days = [last - dt.timedelta(days=ago) for ago in range((last - first).days + 1)]
        if kind == "wrong_date":
            days = [date - dt.timedelta(days=1) for date in days]
        races = [
            race
            for date in days
            for race in self.results_on(date)
            if (not regions or race.region_code in regions) and (not courses or race.course.id in courses)
        ]
        if (kind == "late_result" and skip == 0) or (kind == "removed_result" and skip > 0):
            races = races[1:]
        return _listed("results", call, races, _Window(limit, skip), kind, racing_answers.result)

    def _single_card(self, race_id: str) -> Answer:
        race = self.world.race(race_id)
        if race is None or race not in self.cards_on(race.date):
            return Answer(404, {"detail": "Not Found"})
        return Answer(200, racing_answers.card(race, is_early=race.date > self._today()))

    def _single_result(self, race_id: str) -> Answer:
        race = self.world.race(race_id)
        if race is None or race.date < self.first_result_date() or race not in self.results_on(race.date):
            return Answer(404, {"detail": "Not Found"})
        return Answer(200, racing_answers.result(race))

    def _too_old(self, text: str, name: str) -> Answer:
        if self.too_old == "401":
            return self.error(401, text)
        raise Unprocessable(name, text, "value_error")


class _Window(NamedTuple):
    limit: int
    skip: int


def _listed(
    name: str, call: Call, races: Sequence[Race], window: _Window, kind: RacingKind | None, words: Any
) -> Answer:
    limit, skip = window
    page: list[dict[str, Any]] | None = [words(race) for race in races[skip : skip + limit]]
    total = len(races)
    if kind == "empty":
        page, total = [], 0
    elif kind == "null_list":
        page = None
    if page:
        page = _spoiled(page, kind)
    query = [] if kind == "lost_echo" else [[key, value] for key, value in call.params if key in _KNOWN[call.path]]
    return Answer(200, {name: page, "total": total, "limit": limit, "skip": skip, "query": query})


def _spoiled(page: list[dict[str, Any]], kind: RacingKind | None) -> list[dict[str, Any]]:
    page = copy.deepcopy(page)
    if kind == "short_page":
        page.pop()
    elif kind == "missing_runner":
        page[0]["runners"].pop()
    elif kind == "duplicate_race":
        page.append(copy.deepcopy(page[0]))
    elif kind == "null_id":
        page[0]["race_id"] = None
    elif kind == "renamed_field":
        for runner in page[0]["runners"]:
            runner["horseId"] = runner.pop("horse_id")
    return page


def _page(call: Call) -> tuple[int, int]:
    limit, most, most_skipped = _PAGES[call.path]
    return _number(call, "limit", limit, 1, most), _number(call, "skip", 0, 0, most_skipped)


def _number(call: Call, name: str, default: int, least: int, most: int) -> int:
    text = call.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise Unprocessable(name, "value is not a valid integer", "type_error.integer") from None
    if number > most:
        message = f"ensure this value is less than or equal to {most}"
        raise Unprocessable(name, message, "value_error.number.not_le")
    if number < least:
        message = f"ensure this value is greater than or equal to {least}"
        raise Unprocessable(name, message, "value_error.number.not_ge")
    return number


def _date(call: Call, name: str, default: dt.date) -> dt.date:
    text = call.get(name)
    if text is None:
        return default
    try:
        if len(text) != 10:
            raise ValueError(text)
        return dt.date.fromisoformat(text)
    except ValueError:
        raise Unprocessable(name, "invalid date format", "value_error.date") from None
