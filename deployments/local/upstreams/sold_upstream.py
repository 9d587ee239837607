"""The sample of Hemnet's sold homes: its pages with their real oddities, a made-up world behind them, and troubles.

    with SoldUpstream(world=SoldWorld(3_000)) as upstream:    # upstream.url
        ...

Data: ``GET /salda/bostader`` with ``location_ids[]``, ``item_types[]``, ``living_area_min`` and ``_max``, ``price_min``
and ``_max``, ``rooms_min`` and ``_max`` (all inclusive), ``page``; newest first, 50 a page. However many there are,
only the first 50 pages can be seen, and the total is told all the same. A date cannot be asked for: ``sold_min`` and
``sold_max`` are ignored, as every other name is. A home without a living area is in no band of it.

``POST /graphql`` with a document that asks for ``soldListing(id: $id)``: one sale, or null.

A session, if ``session`` is given: cookie `SESSION_COOKIE` has to have it, whoever comes without gets a challenge; with
``renew_every`` so many calls it is replaced by a new one, and the old one is good no longer.

Assumptions, where nothing is recorded: pages beyond the last one are empty lists, the name of the cookie, and some of
the fields of ``soldListing``.

Control, see `sample_server`; and ``POST challenge`` (``{"after": 40, "status": 403, "language": "sv"}``: every further
data call gets a challenge from then on; null = no more), ``POST change`` (``{"withdraw": ["<id>"]}``, ``{"correct":
{"<id>": {"price": 1}}}``, ``{"add": ["<id>"]}``: one like it), ``GET months`` (how many sales each has).

Truth: `sold_world.SoldWorld`.
"""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from deployments.local.upstreams import sold_answers
from deployments.local.upstreams.sample_rules import Rule, TransportKind
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream
from deployments.local.upstreams.sold_world import KINDS, Sale, SoldWorld

SESSION_COOKIE = "_hemnet_session_id"
SOLD_SESSION = "sample-sold-session-1"

SoldKind = Literal[
    TransportKind,
    "ignored_bounds",  # the list of the whole area, and the echo says so
    "no_data",  # a page without its data
    "renamed_field",  # "soldAt" is called "dateSold"
    "empty",  # no sale and a total of 0, although there were some
]
"""Troubles of its own from ``ignored_bounds`` on."""

_GROUPS = {
    "bostadsratt": "APARTMENTS",
    "villa": "HOUSES",
    "radhus": "ROW_HOUSES",
    "fritidshus": "VACATION_HOMES",
    "gard": "HOMESTEADS",
    "tomt": "PLOTS",
    "other": "OTHERS",
}
_ALL_GROUPS = ("HOUSES", "ROW_HOUSES", "APARTMENTS", "VACATION_HOMES", "PLOTS", "HOMESTEADS", "OTHERS")
_BOUNDS = {
    "livingAreaMin": "living_area_min",
    "livingAreaMax": "living_area_max",
    "priceMin": "price_min",
    "priceMax": "price_max",
    "roomsMin": "rooms_min",
    "roomsMax": "rooms_max",
}
_HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What every data call gets after so many of them.

    Attributes:
        after: Data calls that are still answered.
        has_header: ``cf-mitigated`` says so.
        has_machinery: The page has the scripts of a challenge.
    """

    after: int
    status: int = 403
    language: str = "sv"
    has_header: bool = True
    has_machinery: bool = True


class SoldUpstream(SampleUpstream[SoldKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        world: What there is.
        page_size: Sales a page.
        pages: That can be seen of a list.
        session: Cookie that has to come with a call; "" for none.
        renew_every: Calls after which it is replaced; 0 = never.
        latency_ms: Added to every data answer.
        listener: Takes its connections instead of those of ``port``.

    Attributes:
        at: What is done before the data call of that number, counted from 1 since ``count_anew``.
        count: Data calls since then.
    """

    rules = TypeAdapter(list[Rule[SoldKind]])
    posts = frozenset({"/graphql"})

    def __init__(  # noqa: PLR0913 - switches of a sample: each is set alone
        self,
        port: int = 0,
        *,
        world: SoldWorld | None = None,
        page_size: int = 50,
        pages: int = 50,
        session: str = "",
        renew_every: int = 0,
        latency_ms: float = 0.0,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.world = world or SoldWorld()
        self.page_size, self.pages = page_size, pages
        self.session, self.renew_every = session, renew_every
        self.at: dict[int, Callable[[], object]] = {}
        self.challenge: Challenge | None = None
        self.count = 0
        self._renewals = 0
        self._changing = threading.Lock()
        self._found: dict[tuple[Any, ...], list[Sale]] = {}
        self._found_in: tuple[SoldWorld | None, int] = (None, 0)
        self.controls |= {"challenge": self._set_challenge, "change": self._change}
        self.shows |= {"months": lambda: {month: len(ids) for month, ids in sorted(self.world.months().items())}}

    def count_anew(self) -> None:
        """Forgets calls, troubles, and what was to happen at a call."""
        with self._changing:
            self.count, self.at, self.challenge = 0, {}, None
        self.trouble()
        self.calls.clear()

    def refusal(self, call: Call) -> Answer | None:
        """A challenge, to whoever has asked for too much, or comes without the session."""
        with self._changing:
            self.count += 1
            self.at.pop(self.count, lambda: None)()
            challenge = self.challenge
            if challenge is not None and self.count > challenge.after:
                return _challenged(challenge)
            if self.session and f"{SESSION_COOKIE}={self.session}" not in call.headers.get("cookie", "").split("; "):
                return _challenged(Challenge(0))
        return None

    def date_of(self, call: Call) -> dt.date | None:
        """That of the sale which a document asks for; a list is of none."""
        sale = self.world.sale(_asked_id(call)) if call.path == "/graphql" else None
        return sale.sold_at.date() if sale else None

    def error(self, status: int, text: str) -> Answer:
        """A page that says so."""
        return Answer(status, f"<!DOCTYPE html><html><body><h1>{text}</h1></body></html>".encode(), {}, _HTML)

    def answer(self, call: Call, kind: SoldKind | None) -> Answer:
        """By path."""
        if call.path == "/graphql":
            with self._changing:
                return self._details(call, self._renewed())
        if call.path != "/salda/bostader":
            return self.error(404, "Sidan finns inte")
        with self._changing:
            return self._page(call, kind, self._renewed())

    def _page(self, call: Call, kind: SoldKind | None, headers: dict[str, str]) -> Answer:
        page = max(1, _whole(call, "page") or 1)
        search = self._search(call, has_bounds=kind != "ignored_bounds")
        found = [] if kind == "empty" else self._listed(search)
        begin = (page - 1) * self.page_size
        shown = found[begin : begin + self.page_size] if page <= self.pages else []
        asked = {"limit": self.page_size, "offset": begin}
        viewable = self.page_size * self.pages
        body = sold_answers.sold_page(search, shown, len(found), viewable, asked)
        if kind == "no_data":
            body = body.replace(b"__NEXT_DATA__", b"__OTHER_DATA__")
        elif kind == "renamed_field":
            body = body.replace(b'"soldAt"', b'"dateSold"')
        return Answer(200, body, headers, _HTML)

    def _details(self, call: Call, headers: dict[str, str]) -> Answer:
        """``soldListing(id)``; errors come with status 200, as GraphQL has it."""
        sale_id = _asked_id(call)
        if not sale_id:
            return Answer(200, {"errors": [{"message": "Variable $id was provided invalid value"}]}, headers)
        sale = self.world.sale(sale_id)
        return Answer(200, {"data": {"soldListing": sale and sold_answers.sold_listing(sale)}}, headers)

    def _search(self, call: Call, *, has_bounds: bool) -> dict[str, Any]:
        groups = [_GROUPS[one] for one in call.all("item_types[]") if one in _GROUPS]
        bounds = {name: _whole(call, given) if has_bounds else None for name, given in _BOUNDS.items()}
        return {
            "housingFormGroups": groups or list(_ALL_GROUPS),
            "locationIds": call.all("location_ids[]"),
            "soldSince": "all",
            **bounds,
        }

    def _listed(self, search: dict[str, Any]) -> list[Sale]:
        """Newest first; a list is made once for each state of the world."""
        world, version = self._found_in
        if world is not self.world or version != self.world.version:
            self._found, self._found_in = {}, (self.world, self.world.version)
        areas = tuple(search["locationIds"]) or self.world.areas
        key = (areas, tuple(search["housingFormGroups"]), *(search[name] for name in _BOUNDS))
        if key not in self._found:
            groups = set(search["housingFormGroups"])
            found = [one for one in self.world.sales if one.area in areas and _is_in(one, groups, search)]
            self._found[key] = sorted(found, key=lambda one: (-one.sold_at.timestamp(), one.id))
        return self._found[key]

    def _renewed(self) -> dict[str, str]:
        if not self.session or not self.renew_every or self.count % self.renew_every:
            return {}
        self._renewals += 1
        self.session = f"{SOLD_SESSION}-renewed-{self._renewals}"
        return {"Set-Cookie": f"{SESSION_COOKIE}={self.session}; path=/; secure; HttpOnly"}

    def _set_challenge(self, document: Any) -> None:
        challenge = None if document is None else Challenge(**document)
        if challenge is not None and challenge.language not in sold_answers.CHALLENGE_LANGUAGES:
            raise ValueError(f"language is none of {', '.join(sold_answers.CHALLENGE_LANGUAGES)}")
        with self._changing:
            self.challenge, self.count = challenge, 0

    def _change(self, document: Any) -> None:
        with self._changing:
            for one in document.get("withdraw", ()):
                self.world.withdraw(one)
            for one, facts in document.get("correct", {}).items():
                self.world.correct(one, **facts)
            for one in document.get("add", ()):
                self.world.add(one)


def _asked_id(call: Call) -> str:
    try:
        return str(json.loads(call.body)["variables"]["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _challenged(challenge: Challenge) -> Answer:
    headers = {"cf-mitigated": "challenge"} if challenge.has_header else {}
    body = sold_answers.challenge_page(challenge.language, has_machinery=challenge.has_machinery)
    return Answer(challenge.status, body, headers, _HTML)


def _is_in(sale: Sale, groups: set[str], search: dict[str, Any]) -> bool:
    if KINDS[sale.kind][1] not in groups:
        return False
    for name, value in (("livingArea", sale.living_m2), ("price", sale.price), ("rooms", sale.rooms)):
        low, high = search[f"{name}Min"], search[f"{name}Max"]
        if low is None and high is None:
            continue
        if value is None or (low is not None and value < low) or (high is not None and value > high):
            return False
    return True


def _whole(call: Call, name: str) -> int | None:
    text = call.get(name) or ""
    return int(text) if text.isascii() and text.isdigit() else None
