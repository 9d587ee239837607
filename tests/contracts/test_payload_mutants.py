"""Sixty and more wrong answers per source: each is refused for what it is, or is harmless and changes no row.

A source takes part by one good answer, ``tests/contracts/payloads/<source>/<partition>.json``. The mutants of the
transport and of JSON are tried at every such source; those of a payload's meaning stand in a table by source.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from judging import PAYLOADS, Judge, Judged, item_type
from raw_server import http

from scrapers.answers import STATUSES
from scrapers.registry import scraper, sources

JSON, HTML = "Content-Type: application/json", "Content-Type: text/html"
HARMLESS, OPEN = "the same rows", "open"
REFUSED = {
    "NothingPublished",
    "NotSettled",
    "RowRejected",
    "Truncated",
    "CoverageLow",
    "SourceContractError",
    "SourceUnavailable",
    "BlockedBySource",
}

OF_A_SITE = {302, 401, 402, 403, 404, 410, 423, 451}
"""Where each site is a domain of its own: it is gone, somewhere else, or lets nobody in; the others are asked."""

Document = Any
Mutation = Callable[[Document], Any]
Wire = Callable[[bytes], bytes]


def _ok(body: bytes, *headers: str) -> bytes:
    return http("200 OK", body, *(headers or (JSON,)))


def _half(packed: bytes) -> bytes:
    return packed[: len(packed) // 2]


def _pieces(body: bytes, end: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\n{JSON}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n"
    return head.encode() + body + b"\r\n" + end


def _status(line: str, *headers: str) -> Wire:
    return lambda body: http(line, body, JSON, *headers)


WIRE: dict[str, tuple[Wire, str]] = {
    "created": (_status("201 Created"), "201"),
    "taken and not done": (_status("202 Accepted"), "202"),
    "changed by a proxy": (_status("203 Non-Authoritative Information"), "203"),
    "no content": (lambda body: http("204 No Content", b"", length=False), "204"),
    "reset content": (lambda body: http("205 Reset Content"), "205"),
    "a part": (_status("206 Partial Content", "Content-Range: bytes 0-10/52000"), "206"),
    "several": (_status("207 Multi-Status"), "207"),
    "a part called the whole": (lambda body: _ok(body, JSON, "Content-Range: bytes 0-10/52000"), "Truncated"),
    "a redirect": (_status("302 Found", "Location: http://127.0.0.1:9/"), "302"),
    "not modified": (lambda body: http("304 Not Modified", b"", length=False), "304"),
    "a bad request": (_status("400 Bad Request"), "400"),
    "no key": (_status("401 Unauthorized"), "401"),
    "no money": (_status("402 Payment Required"), "402"),
    "no right": (_status("403 Forbidden"), "403"),
    "a limit as 403": (_status("403 Forbidden", "Retry-After: 1"), "RateLimited"),
    "nothing left as 403": (_status("403 Forbidden", "X-RateLimit-Remaining: 0"), "RateLimited"),
    "not there": (_status("404 Not Found"), "404"),
    "gone": (_status("410 Gone"), "410"),
    "a teapot": (_status("418 I'm a teapot"), "418"),
    "locked": (_status("423 Locked"), "423"),
    "refused by law": (_status("451 Unavailable For Legal Reasons"), "451"),
    "slow down": (_status("429 Too Many Requests", "Retry-After: -5"), "429"),
    "broken": (_status("500 Internal Server Error"), "500"),
    "a word before the answer": (lambda body: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _ok(body), HARMLESS),
    "in pieces, and cut": (lambda body: _pieces(body, b""), "SourceUnavailable"),
    "in pieces": (lambda body: _pieces(body, b"0\r\nX-Sum: 1\r\n\r\n"), HARMLESS),
    "two lengths": (
        lambda body: http("200 OK", body, JSON, f"Content-Length: {len(body)}", "Content-Length: 3", length=False),
        "SourceUnavailable",
    ),
    "a wrong checksum": (
        lambda body: _ok(gzip.compress(body)[:-8] + bytes(8), JSON, "Content-Encoding: gzip"),
        "SourceUnavailable",
    ),
    "nothing, packed": (lambda body: _ok(gzip.compress(b""), JSON, "Content-Encoding: gzip"), "SourceUnavailable"),
    "packed twice": (
        lambda body: _ok(gzip.compress(gzip.compress(body)), JSON, "Content-Encoding: gzip, gzip"),
        HARMLESS,
    ),
    "a guard before its JSON": (lambda body: _ok(b")]}',\n" + body), "SourceContractError"),
    "for another page to call": (lambda body: _ok(b"callback(" + body + b")"), "SourceContractError"),
    "busy": (_status("503 Service Unavailable", "Retry-After: 0"), "503"),
    "a status nobody knows": (_status("599 What"), "599"),
    "a challenge": (_status("200 OK", "cf-mitigated: challenge"), "BlockedBySource"),
    "a challenge as 503": (_status("503 Service Unavailable", "cf-mitigated: challenge"), "BlockedBySource"),
    "a challenge by its script": (
        lambda body: http("403 Forbidden", b"<html>" + b" " * 9_000 + b"_cf_chl_opt", HTML),
        "BlockedBySource",
    ),
    "a web page": (lambda body: _ok(b"<!doctype html><title>Un moment</title>", HTML), "BlockedBySource"),
    "a web page called JSON": (lambda body: _ok(b"<html></html>"), "BlockedBySource"),
    "nothing": (lambda body: _ok(b""), "SourceUnavailable"),
    "blanks": (lambda body: _ok(b" \n"), "SourceUnavailable"),
    "less than announced": (
        lambda body: http("200 OK", body[:-9], JSON, f"Content-Length: {len(body)}", length=False),
        "SourceUnavailable",
    ),
    "half of a gzip stream": (
        lambda body: _ok(_half(gzip.compress(body)), JSON, "Content-Encoding: gzip"),
        "SourceUnavailable",
    ),
    "an unknown packing": (lambda body: _ok(b"\x8b\x05\x80\x00", JSON, "Content-Encoding: br"), "SourceContractError"),
    "no HTTP": (lambda body: b"SSH-2.0-OpenSSH_9.6\r\n", "SourceUnavailable"),
    "JSON called a page": (lambda body: _ok(body, HTML), HARMLESS),
    "a charset as packing": (lambda body: _ok(body, JSON, "Content-Encoding: utf-8"), HARMLESS),
    "a byte-order mark": (lambda body: _ok(b"\xef\xbb\xbf" + body), HARMLESS),
    "UTF-16": (lambda body: _ok(body.decode().encode("utf-16")), HARMLESS),
    "gzip and zeros": (lambda body: _ok(gzip.compress(body) + bytes(900), JSON, "Content-Encoding: gzip"), HARMLESS),
    "gzip without a label": (lambda body: _ok(gzip.compress(body)), HARMLESS),
    "a quarter": (lambda body: _ok(body[: len(body) // 4]), "SourceUnavailable"),
    "a half": (lambda body: _ok(body[: len(body) // 2]), "SourceUnavailable"),
    "all but the last byte": (lambda body: _ok(body.rstrip()[:-1]), "SourceUnavailable"),
    "twice": (lambda body: _ok(body + body), "SourceContractError"),
    "with a word behind it": (lambda body: _ok(body + b"warning"), "SourceContractError"),
    "a thousand brackets": (lambda body: _ok(b"[" * 1_200), "SourceContractError"),
    "its first key twice": (
        lambda body: _ok(b"{" + json.dumps(next(iter(json.loads(body)))).encode() + b":null," + body.lstrip()[1:]),
        "SourceContractError",
    ),
}


def _expected(source: str, verdict: str) -> str:
    """A status means what the source says it means."""
    if not verdict.isdigit():
        return verdict
    status = int(verdict)
    if scraper(source).domain == "site" and status in OF_A_SITE:
        return "SiteClosed"
    unknown = "SourceUnavailable" if status >= 500 else "SourceContractError"
    kind = scraper(source).statuses.get(status) or STATUSES.get(status)
    return kind.__name__ if kind else unknown


def _rows(document: Document) -> list[Any]:
    """The longest list of objects in the document: what the payload is about; empty where it has none."""
    lists = [value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    return max(lists, key=len, default=[])


def _objects(document: Document) -> Iterator[dict[str, Any]]:
    """The document and every object in its objects."""
    yield document
    for value in document.values():
        if isinstance(value, dict):
            yield from _objects(value)


def _in_its_depth(mutate: Mutation) -> Mutation:
    """``mutate`` where the longest list of objects is, however deep."""

    def mutated(document: Document) -> Document:
        holder = max(_objects(document), key=lambda one: len(_rows(one)))
        holder.update(mutate(dict(holder)))
        return document

    return mutated


def _spoil(change: Callable[[list[Any]], Any]) -> Mutation:
    def mutate(document: Document) -> Document:
        change(_rows(document))
        return document

    return mutate


def _set(value: Any) -> Mutation:
    return _spoil(lambda rows: rows.__setitem__(0, value))


def _rows_as(change: Callable[[list[Any]], Any]) -> Mutation:
    return lambda document: {
        name: change(value) if value is _rows(document) else value for name, value in document.items()
    }


def _renamed(rows: list[Any]) -> None:
    rows[0] = {f"x_{name}": value for name, value in rows[0].items()}


SHAPES: dict[str, Mutation] = {
    "in a list": lambda document: [document],
    "null": lambda document: None,
    "a text": lambda document: json.dumps(document),
    "nothing in it": lambda document: {},
    "its rows null": _rows_as(lambda rows: None),
    "its rows an object": _rows_as(lambda rows: dict(enumerate(rows))),
    "its rows a text": _rows_as(lambda rows: "x"),
    "other names": lambda document: {f"x_{name}": value for name, value in document.items()},
    "an error beside its data": lambda document: {**document, "error": "upstream timed out"},
    "errors beside its data": lambda document: {**document, "errors": [{"message": "partial"}]},
    "its first row null": _set(None),
    "its first row a list": _set([]),
    "its first row a text": _set("x"),
    "its first row empty": _set({}),
    "its first row twice": _spoil(lambda rows: rows.append(copy.deepcopy(rows[0]))),
    "its first row with other names": _spoil(_renamed),
}

# NBA.com lists a game once for each of its broadcasters.
HARMLESS_SHAPES = dict.fromkeys(
    ("nba_boxscores", "nba_gamelog", "nba_playbyplay", "nba_schedule"), ("its first row twice",)
)
# A bookmaker that stands twice with the same prices offers no others.
HARMLESS_ITEMS = {"odds_history": ("its first row twice",)}


def _first(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return _spoil(lambda rows: change(rows[0]))


def _line(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return _first(lambda game: change(game["home_team"]["players"][0]))


def _without(*names: str) -> Mutation:
    return lambda document: {name: value for name, value in document.items() if name not in names}


def _with(**fields: Any) -> Mutation:
    return lambda document: {**document, **fields}


MEANING: dict[str, dict[str, tuple[Mutation, str]]] = {
    "bdl_box_scores": {
        "a game of the next day": (_first(lambda game: game.update(date="2025-01-04")), "SourceContractError"),
        "a day that is none": (_first(lambda game: game.update(date="2025-02-30")), "SourceContractError"),
        "a date that is a number": (_first(lambda game: game.update(date=20250103)), "SourceContractError"),
        "no date": (_first(lambda game: game.pop("date")), "SourceContractError"),
        "a next page": (_with(meta={"next_cursor": 25}), "Truncated"),
        "no next page": (_with(meta={"next_cursor": None, "per_page": 25}), HARMLESS),
        "an error that is none": (_with(error=None), HARMLESS),
        "a field more": (_first(lambda game: game.update(attendance=18_064)), HARMLESS),
        "empty, and a message": (lambda document: {"data": [], "message": "try later"}, "NothingPublished"),
        "empty": (lambda document: {"data": []}, "empty"),
        "a game under way": (_first(lambda game: game.update(status="3rd Qtr")), OPEN),
        "a game without a status": (_first(lambda game: game.pop("status")), "SourceContractError"),
        "a status that is null": (_first(lambda game: game.update(status=None)), "SourceContractError"),
        "no players": (_first(lambda game: game["visitor_team"].update(players=[])), "CoverageLow"),
        "players null": (_first(lambda game: game["visitor_team"].update(players=None)), "SourceContractError"),
        "players in an object": (
            _first(lambda game: game["visitor_team"].update(players=dict.fromkeys("abcdefghijkl", 1))),
            "SourceContractError",
        ),
        "players in a text": (_first(lambda game: game["visitor_team"].update(players="a" * 6)), "SourceContractError"),
        "no visitors": (_first(lambda game: game.pop("visitor_team")), "SourceContractError"),
        "too few players": (
            _first(lambda game: game["home_team"].update(players=game["home_team"]["players"][:1])),
            "CoverageLow",
        ),
        "a player without an id": (_line(lambda line: line["player"].update(id=None)), "RowRejected"),
        "an id that is true": (_line(lambda line: line["player"].update(id=True)), "RowRejected"),
        "points beyond the column": (_line(lambda line: line.update(pts=2**63)), "RowRejected"),
        "points in words": (_line(lambda line: line.update(pts="many")), "RowRejected"),
        "points that are no number": (_line(lambda line: line.update(fg_pct=float("nan"))), "RowRejected"),
        "half a character in a name": (_line(lambda line: line["player"].update(first_name="\ud83d")), "RowRejected"),
        "a player that is a list": (_line(lambda line: line.update(player=[])), "SourceContractError"),
        "a score without digits": (_first(lambda game: game.update(home_team_score="")), "RowRejected"),
    },
    "civic_band": {
        "it says no": (_with(ok=False, error="Table not found"), "SourceUnavailable"),
        "cut by the server": (_with(truncated=True), "Truncated"),
        "it does not say whether it is cut": (_without("truncated"), "SourceContractError"),
        "more announced": (_with(count=4), "NotSettled"),
        "fewer announced": (_with(count=2), "NotSettled"),
        "more than it counts": (_with(count=10_001), "NotSettled"),
        "a count that is true": (_with(count=True), "SourceContractError"),
        "a count below zero": (_with(count=-1), "SourceContractError"),
        "a count in words": (_with(count="3"), "SourceContractError"),
        "no count": (_with(count=None), HARMLESS),
        "empty without a count": (_with(rows=[], count=None), "NothingPublished"),
        "empty with a count": (_with(rows=[], count=3), "NotSettled"),
        "empty": (_with(rows=[], count=0), "empty"),
        "a next page that is itself": (_with(next="9ee01b3d55aa"), "SourceContractError"),
        "a next page elsewhere": (_with(next="zzz"), "SourceContractError"),
        "a next page that is an object": (_with(next={}), "SourceContractError"),
        "neither next page nor count": (_without("next", "count"), "SourceContractError"),
        "backwards": (_spoil(lambda rows: rows.reverse()), "SourceContractError"),
        "an id that is a number": (_first(lambda page: page.update(id=7)), "SourceContractError"),
        "no id": (_first(lambda page: page.pop("id")), "SourceContractError"),
        "a page of another town": (_first(lambda page: page.update(town="berkeley.ca")), "SourceContractError"),
        "a page of this town": (_first(lambda page: page.update(subdomain="alameda.ca")), HARMLESS),
        "a column more": (_first(lambda page: page.update(attachment="x.pdf")), HARMLESS),
        "a page number in words": (_first(lambda page: page.update(page="one")), "RowRejected"),
        "a page number beyond the column": (_first(lambda page: page.update(page=2**63)), "RowRejected"),
        "a text that is an object": (_first(lambda page: page.update(text={})), "RowRejected"),
        "half a character in a text": (_first(lambda page: page.update(text="\ud83d")), "RowRejected"),
        "no meeting": (_first(lambda page: page.pop("meeting")), "RowRejected"),
    },
}

MEANING["bigdataball_playbyplay"] = {
    "no file": (_with(files=[]), "NothingPublished"),
    "not searched everywhere": (_with(incompleteSearch=True), "SourceUnavailable"),
    "a next page that is the same": (_with(nextPageToken="again"), "SourceContractError"),
    "a next page that is a number": (_with(nextPageToken=7), "SourceContractError"),
    "a next page that is null": (_with(nextPageToken=None), "SourceContractError"),
    "a file of another date": (_first(lambda file: file.update(name="[2025-01-04]-x.csv")), "NothingPublished"),
    "a name that nothing explains": (
        _first(lambda file: file.update(name="[2025-01-09]-x.csv")),
        "SourceContractError",
    ),
    "combined statistics alone": (
        _first(lambda file: file.update(name="[2025-01-09]-combined-stats.csv")),
        "NothingPublished",
    ),
    "another MD5": (_first(lambda file: file.update(md5Checksum="0" * 32)), "NotSettled"),
    "another size": (_first(lambda file: file.update(size="7")), "NotSettled"),
    "a size in words": (_first(lambda file: file.update(size="many")), "SourceContractError"),
    "no time of its change": (_first(lambda file: file.pop("modifiedTime")), "SourceContractError"),
    "a time that is none": (_first(lambda file: file.update(modifiedTime="yesterday")), "SourceContractError"),
    "a time without a zone": (
        _first(lambda file: file.update(modifiedTime="2025-01-10T09:30:00")),
        "SourceContractError",
    ),
    "another id": (_first(lambda file: file.update(id="elsewhere")), "SourceContractError"),
    "another name of the game": (
        _first(lambda file: file.update(name=file["name"].replace("]-002", "]-004"))),
        "SourceContractError",
    ),
}


def _variant(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return _first(lambda product: change(product["variants"][0]))


MEANING["coffee_shops"] = {
    "no product": (_with(products=[]), "NothingPublished"),
    "products without a list": (_with(products={}), "SourceContractError"),
    "a product without variants": (_first(lambda product: product.update(variants=[])), "SourceContractError"),
    "a product without an id": (_first(lambda product: product.pop("id")), "SourceContractError"),
    "an id that is true": (_first(lambda product: product.update(id=True)), "SourceContractError"),
    "an id in words": (_first(lambda product: product.update(id="8100000000001")), "SourceContractError"),
    "a price in cents": (_variant(lambda one: one.update(price=1250)), "SourceContractError"),
    "a price in words": (_variant(lambda one: one.update(price="free")), "SourceContractError"),
    "a price with its currency": (_variant(lambda one: one.update(price="12.50 EUR")), "SourceContractError"),
    "a price with a comma": (_variant(lambda one: one.update(price="12,50")), "SourceContractError"),
    "a price below zero": (_variant(lambda one: one.update(price="-12.50")), "SourceContractError"),
    "a price beyond the column": (_variant(lambda one: one.update(price="9" * 40)), "SourceContractError"),
    "a price that is null": (_variant(lambda one: one.update(price=None)), "SourceContractError"),
    "it does not say whether it is there": (_variant(lambda one: one.pop("available")), "SourceContractError"),
    "a variant without an id": (_variant(lambda one: one.pop("id")), "SourceContractError"),
    "half a character in a title": (_first(lambda product: product.update(title="\ud83d")), "RowRejected"),
    "a title that is a number": (_first(lambda product: product.update(title=7)), "SourceContractError"),
    "a day that is none": (_first(lambda product: product.update(published_at="2024-02-30T09:00:00Z")), "RowRejected"),
    "a field more": (_first(lambda product: product.update(badge="new")), HARMLESS),
    "a weight beyond the column": (_variant(lambda one: one.update(grams=2**63)), "RowRejected"),
}


def _runner(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return _first(lambda race: change(race["runners"][0]))


MEANING["racing_results"] = {
    "more announced": (_with(total=2), "SourceContractError"),
    "fewer announced": (_with(total=0), "NotSettled"),
    "a total below zero": (_with(total=-1), "SourceContractError"),
    "a total that is true": (_with(total=True), "SourceContractError"),
    "a total in words": (_with(total="1"), "SourceContractError"),
    "a total without end": (_with(total=2**70), "SourceContractError"),
    "the date was not understood": (_with(query=[["limit", "50"], ["skip", "0"]]), "SourceContractError"),
    "another date was understood": (
        _with(query=[["start_date", "2026-01-08"], ["end_date", "2026-01-08"], ["limit", "50"], ["skip", "0"]]),
        "SourceContractError",
    ),
    "a region was understood": (
        lambda document: {**document, "query": [*document["query"], ["region", "gb"]]},
        "SourceContractError",
    ),
    "an echo that is an object": (_with(query={}), "SourceContractError"),
    "an echo of numbers": (_with(query=[1, 2]), "SourceContractError"),
    "empty": (_with(results=[], total=0), "empty"),
    "empty, and some announced": (_with(results=[]), "NotSettled"),
    "a race of the day before": (_first(lambda race: race.update(date="2026-01-08")), "SourceContractError"),
    "a race without a date": (_first(lambda race: race.pop("date")), "SourceContractError"),
    "a race without runners": (_first(lambda race: race.update(runners=[])), "SourceContractError"),
    "a runner twice": (_first(lambda race: race["runners"].append(race["runners"][0])), "SourceContractError"),
    "a runner without a position": (_runner(lambda one: one.update(position="")), "SourceContractError"),
    "a runner without an id": (_runner(lambda one: one.update(horse_id=None)), "SourceContractError"),
    "a weight in words": (_runner(lambda one: one.update(weight_lbs="heavy")), "RowRejected"),
    "a weight beyond the column": (_runner(lambda one: one.update(weight_lbs=str(2**63))), "RowRejected"),
    "a start without a zone": (_first(lambda race: race.update(off_dt="2026-01-09T13:00:00")), "RowRejected"),
    "half a character in a name": (_runner(lambda one: one.update(horse="\ud83d")), "RowRejected"),
    "a field more": (_first(lambda race: race.update(attendance="9000")), HARMLESS),
}
MEANING["odds_events"] = {
    "a snapshot of the day before": (_with(timestamp="2025-01-02T10:55:38Z"), "SourceContractError"),
    "a snapshot after what was asked": (_with(timestamp="2025-01-03T11:00:01Z"), "SourceContractError"),
    "a snapshot without a zone": (_with(timestamp="2025-01-03T10:55:38"), "SourceContractError"),
    "a snapshot that is null": (_with(timestamp=None), "SourceContractError"),
    "a next one before it": (_with(next_timestamp="2025-01-03T10:50:38Z"), "SourceContractError"),
    "a next one that is itself": (_with(next_timestamp="2025-01-03T10:55:38Z"), "SourceContractError"),
    "it does not say which is next": (_without("next_timestamp"), "SourceContractError"),
    "it does not say which was before": (_without("previous_timestamp"), "RowRejected"),
    "the walk comes to the same again": (_with(next_timestamp="2025-01-03T11:00:38Z"), "SourceContractError"),
    "no list": (_with(data={}), "SourceContractError"),
    "an event without an id": (_first(lambda event: event.pop("id")), "SourceContractError"),
    "an id that is a number": (_first(lambda event: event.update(id=7)), "SourceContractError"),
    "a time without a zone": (
        _first(lambda event: event.update(commence_time="2025-01-03T23:00")),
        "SourceContractError",
    ),
    "a time in seconds": (_first(lambda event: event.update(commence_time=1735945200)), "SourceContractError"),
    "no team": (_first(lambda event: event.pop("home_team")), "RowRejected"),
    "half a character in a team": (_first(lambda event: event.update(home_team="\ud83d")), "RowRejected"),
    "a field more": (_first(lambda event: event.update(venue="Boston")), HARMLESS),
}
MEANING["odds_history"] = {
    "a snapshot of the day before": (_with(timestamp="2025-01-02T10:55:38Z"), "SourceContractError"),
    "no list": (_with(data={}), "SourceContractError"),
    "no game of the date": (_with(data=[]), "empty"),
    "a game of the next day": (
        _first(lambda event: event.update(commence_time="2025-01-05T00:00:00Z")),
        "empty",
    ),
    "another game": (_first(lambda event: event.update(id="0" * 32)), "SourceContractError"),
    "a game without a time": (_first(lambda event: event.update(commence_time=None)), "SourceContractError"),
}
MEANING["nba_gamelog"] = {
    "a game that nobody logs": (
        lambda document: _replaced(document, "0022400156", "0022400157"),
        "CoverageLow",
    ),
    "a list of the next day": (
        lambda document: _replaced(document, "2024-11-15", "2024-11-16"),
        "SourceContractError",
    ),
    "a kind of game that nobody knows": (
        lambda document: _replaced(document, "0022400156", "0092400156"),
        "SourceContractError",
    ),
}


def _dearer(book: dict[str, Any]) -> dict[str, Any]:
    other = copy.deepcopy(book)
    other["markets"][0]["outcomes"][0]["price"] = 9.99
    return other


def _log(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return lambda document: (change(document["resultSets"][0]), document)[1]


def _replaced(document: Document, old: str, new: str) -> Document:
    return json.loads(json.dumps(document).replace(old, new))


ANSWERS = {path.parent.name: path for path in sorted(PAYLOADS.glob("*/*.json")) if path.parent.name in sources()}


@dataclass(frozen=True)
class Tried:
    """A judge of the source, its good answer, and what that one becomes."""

    judge: Judge
    body: bytes
    good: Judged


@pytest.fixture(scope="module")
def tried() -> Iterator[dict[str, Tried]]:
    with contextlib.ExitStack() as stack:
        found: dict[str, Tried] = {}
        for name, path in ANSWERS.items():
            judge = stack.enter_context(Judge(name, path.stem))
            found[name] = Tried(judge, path.read_bytes(), judge.of(_ok(path.read_bytes())))
        yield found


def _mutated(body: bytes, mutate: Mutation) -> bytes:
    return json.dumps(mutate(json.loads(body))).encode()


def _told(rows: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Without what says of an answer when it came, and in which bytes."""
    return {table: sorted({_OF_BYTES.sub(b"", line) for line in lines}) for table, lines in rows.items()}


_OF_BYTES = re.compile(rb'"(scraped_at|fetched_at|started_at|body_sha256|body_bytes|object_name)":("[^"]*"|\d+),?')


def _check(found: Judged, expected: str, good: Judged) -> None:
    if expected == HARMLESS:
        assert (found.kind, _told(found.rows)) == (good.kind, _told(good.rows)), found.error
        return
    assert found.kind == expected, found.error
    # The final games of an old date are loaded, and the open one is listed.
    assert expected == OPEN or not any(found.rows.values()), "nothing of a refused answer is loaded"


@pytest.mark.parametrize("name", ANSWERS)
def test_the_good_answer_itself_is_loaded(tried, name):
    assert tried[name].good.kind == "loaded", tried[name].good.error
    assert any(tried[name].good.rows.values())


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("mutant", WIRE)
def test_a_mutant_of_the_transport_is_refused_for_what_it_is_or_is_harmless(tried, name, mutant):
    one, (make, verdict) = tried[name], WIRE[mutant]
    _check(one.judge.of(make(one.body)), _expected(name, verdict), one.good)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("mutant", SHAPES)
def test_a_mutant_of_the_shape_is_refused_and_loads_nothing(tried, name, mutant):
    mutate = _in_its_depth(SHAPES[mutant]) if "row" in mutant else SHAPES[mutant]
    if "row" in mutant and not any(map(_rows, _objects(json.loads(tried[name].body)))):
        pytest.skip("its answer has no list of objects")
    found = tried[name].judge.of(_ok(_mutated(tried[name].body, mutate)))
    if mutant in HARMLESS_SHAPES.get(name, ()):
        _check(found, HARMLESS, tried[name].good)
        return
    assert found.kind in REFUSED, found.error
    assert not any(found.rows.values())


@pytest.mark.parametrize("name", ANSWERS)
def test_every_field_of_a_row_as_another_type_is_refused_or_changes_nothing_but_itself(tried, name):
    """An object, a list and a number in place of every field of the first row, one after the other."""
    one = tried[name]
    for field in next(iter(_rows(json.loads(one.body))), {}):
        for value in ({"a": 1}, [1], 2**70):
            found = one.judge.of(_ok(_mutated(one.body, _first(lambda row, n=field, v=value: row.update({n: v})))))
            assert found.kind in {*REFUSED, "loaded"}, (field, value, found.error)
            counts = {table: len(lines) for table, lines in found.rows.items()}
            if found.kind == "loaded":
                assert counts == {table: len(lines) for table, lines in one.good.rows.items()}, (field, value)
            else:
                assert not any(counts.values()), (field, value)


@pytest.mark.parametrize(("name", "mutant"), [(name, mutant) for name in ANSWERS for mutant in MEANING.get(name, {})])
def test_a_mutant_of_the_meaning_gets_the_verdict_that_it_deserves(tried, name, mutant):
    one, (mutate, verdict) = tried[name], MEANING[name][mutant]
    _check(one.judge.of(_ok(_mutated(one.body, mutate))), verdict, one.good)


ITEM_TYPES = {
    name: item_type(next((PAYLOADS / name / "items").iterdir()).read_bytes())
    for name in ANSWERS
    if (PAYLOADS / name / "items").exists()
}


@pytest.mark.parametrize("name", ITEM_TYPES)
@pytest.mark.parametrize("mutant", sorted(WIRE.keys() - {"its first key twice"}))
def test_an_item_with_a_mutant_of_the_transport_never_loads_other_rows(tried, name, mutant):
    one, (make, _) = tried[name], WIRE[mutant]
    found = one.judge.of(_ok(one.body), item=make)
    assert found.rows == (one.good.rows if found.kind == "loaded" else {table: [] for table in one.good.rows})


def _game(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return lambda document: (change(document["data"]), document)[1]


def _price(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return _game(lambda game: change(game["bookmakers"][0]["markets"][0]["outcomes"][0]))


ITEM_MEANING: dict[str, dict[str, tuple[Mutation, str]]] = {
    "odds_history": {
        "a snapshot of the day before": (_with(timestamp="2025-01-02T23:45:35Z"), "SourceContractError"),
        "another game": (_game(lambda game: game.update(id="0" * 32)), "SourceContractError"),
        "no game": (_with(data=None), "SourceContractError"),
        "no bookmakers": (_game(lambda game: game.update(bookmakers=[])), "loaded"),
        "a bookmaker twice with another price": (
            _game(lambda game: game["bookmakers"].append(_dearer(game["bookmakers"][0]))),
            "RowRejected",
        ),
        "no team": (_game(lambda game: game.pop("home_team")), "RowRejected"),
        "no price": (_price(lambda line: line.pop("price")), "RowRejected"),
        "a price that is null": (_price(lambda line: line.update(price=None)), "RowRejected"),
        "a price that is no number": (_price(lambda line: line.update(price=float("nan"))), "RowRejected"),
        "a price without end": (_price(lambda line: line.update(price=10**40)), "RowRejected"),
        "a price that is true": (_price(lambda line: line.update(price=True)), "RowRejected"),
        "a market without outcomes": (
            _game(lambda game: game["bookmakers"][0]["markets"][0].pop("outcomes")),
            "SourceContractError",
        ),
    },
    "nba_gamelog": {
        "of the next day": (lambda document: _replaced(document, "2024-11-15", "2024-11-16"), "SourceContractError"),
        "of another season": (lambda document: _replaced(document, "2024-25", "2023-24"), "SourceContractError"),
        "another game": (lambda document: _replaced(document, "0022400156", "0022400157"), "CoverageLow"),
        "without an echo": (_without("parameters"), "SourceContractError"),
        "without its sets": (_without("resultSets"), "SourceContractError"),
        "a column less": (_log(lambda log: log["headers"].pop()), "SourceContractError"),
        "without points": (
            _log(lambda log: log["headers"].__setitem__(log["headers"].index("PTS"), "POINTS")),
            "SourceContractError",
        ),
        "no line": (_log(lambda log: log["rowSet"].clear()), "CoverageLow"),
        "a line twice": (_log(lambda log: log["rowSet"].append(log["rowSet"][0])), "CoverageLow"),
        "a line less": (_log(lambda log: log["rowSet"].pop()), "CoverageLow"),
    },
}


@pytest.mark.parametrize(("name", "mutant"), [(name, one) for name, of in ITEM_MEANING.items() for one in of])
def test_an_item_that_says_something_else_gets_the_verdict_that_it_deserves(tried, name, mutant):
    one, (mutate, verdict) = tried[name], ITEM_MEANING[name][mutant]
    found = one.judge.of(_ok(one.body), item=lambda body: _ok(_mutated(body, mutate)))
    assert found.kind in {verdict, "empty" if verdict == "loaded" else verdict}, found.error
    assert not any(found.rows.values())


CSV: dict[str, tuple[Callable[[bytes], bytes], set[str]]] = {
    "another header": (lambda body: body.replace(b"play_id", b"event_id", 1), {"SourceContractError"}),
    "a cell too many": (
        lambda body: body.replace(b"\r\n", b",\r\n", 2).replace(b",\r\n", b"\r\n", 1),
        {"SourceContractError"},
    ),
    "a quote that nobody closes": (
        lambda body: body.replace(b"end of period", b'"end of period'),
        {"SourceUnavailable", "SourceContractError"},
    ),
    "no lines": (lambda body: body.partition(b"\r\n")[0] + b"\r\n", {"CoverageLow"}),
    "cut within a row": (lambda body: body[:-60], {"SourceUnavailable", "NotSettled"}),
    "cut between rows": (lambda body: b"".join(body.splitlines(keepends=True)[:-3]), {"NotSettled"}),
    "a row twice": (lambda body: body + body.splitlines(keepends=True)[-1], {"CoverageLow"}),
    "another number in a cell": (lambda body: body.replace(b",made,", b",mode,", 1), {"NotSettled"}),
    "another game": (lambda body: body.replace(b"\r\n22", b"\r\n42"), {"SourceContractError"}),
    "no UTF-8": (lambda body: body.replace(b"end of period", b"end of p\xe9riod"), {"SourceContractError"}),
}


@pytest.mark.parametrize("name", [name for name, of in ITEM_TYPES.items() if of == JSON])
@pytest.mark.parametrize("mutant", SHAPES)
def test_an_item_with_a_mutant_of_the_shape_is_refused_and_loads_nothing(tried, name, mutant):
    one, mutate = tried[name], _in_its_depth(SHAPES[mutant]) if "row" in mutant else SHAPES[mutant]
    found = one.judge.of(_ok(one.body), item=lambda body: _ok(_mutated(body, mutate)))
    if mutant in HARMLESS_ITEMS.get(name, ()):
        _check(found, HARMLESS, one.good)
        return
    assert found.kind in REFUSED, found.error
    assert not any(found.rows.values())


@pytest.mark.parametrize("name", [name for name, of in ITEM_TYPES.items() if of != JSON])
@pytest.mark.parametrize("mutant", CSV)
def test_a_csv_that_is_not_the_listed_one_is_refused_and_loads_nothing(tried, name, mutant):
    one, (change, kinds) = tried[name], CSV[mutant]
    found = one.judge.of(_ok(one.body), item=lambda body: _ok(change(body), "Content-Type: text/csv"))
    assert found.kind in kinds, found.error
    assert not any(found.rows.values())


def test_each_source_with_a_good_answer_has_sixty_mutants_and_more():
    for name in MEANING:
        assert len(WIRE) + len(SHAPES) + len(MEANING.get(name, {})) >= 60
