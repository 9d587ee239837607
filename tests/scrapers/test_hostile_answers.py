"""What servers really send, over a real socket: no wrong answer is taken for data, no right one for an error."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import html
import itertools
import json
import logging
import random
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import Pieces, RawServer, dripping, http

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    ConfigurationError,
    NothingPublished,
    NotSettled,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
    Truncated,
)
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.season import games_on
from scrapers.answers import Answer, landed_json, parsed_json, problem_in
from scrapers.base import Findings, Page, Request, Scraper, SourceAccess
from scrapers.bodies import beginning, storable, unpacked
from scrapers.client import SourceClient
from scrapers.html_bodies import parsed_embedded_json
from scrapers.landing import Landing
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

DATE = dt.date(2025, 1, 3)
SOURCE = scraper("bdl_box_scores")
DAY = Partition.day(DATE, SOURCE.zone)
REQUEST = SOURCE.first_request(DAY)
KEY = "planted-key-0123456789"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
JSON = "Content-Type: application/json"
HTML = "Content-Type: text/html"
EMPTY = b'{"data":[]}'
GOOD = json.dumps({"data": games_on(DATE)}).encode()


@pytest.fixture
def fetched() -> Iterator[Callable[..., Page]]:
    """Fetches through a client from a server that sends these bytes; ``made`` is the last client."""
    with_servers: list[RawServer] = []

    def fetch(answer: bytes | Callable[[int, bytes], Pieces], source: Scraper | None = None, **parts: Any) -> Page:
        server = RawServer(answer if callable(answer) else lambda number, asked: [answer])
        with_servers.append(server.__enter__())
        access = SourceAccess(server.url, {"bdl_api_key": KEY}, timeout_s=parts.pop("timeout_s", 5.0))
        client = SourceClient(source or SOURCE, access, parts.pop("budget", None) or Budget(Rate()))
        fetch.made, fetch.server = client, server
        return client.fetch(REQUEST)

    yield fetch
    for server in with_servers:
        fetch.made.close()
        server.__exit__(None, None, None)


WRONG: dict[str, tuple[bytes, type[PipelineError]]] = {
    "taken and not done": (http("202 Accepted", EMPTY, JSON), SourceUnavailable),
    "changed by a proxy": (http("203 Non-Authoritative Information", EMPTY, JSON), SourceUnavailable),
    "without a body": (http("204 No Content", b"", length=False), NothingPublished),
    "reset": (http("205 Reset Content"), NothingPublished),
    "a part nobody asked for": (
        http("206 Partial Content", EMPTY, JSON, "Content-Range: bytes 0-10/52000"),
        Truncated,
    ),
    "a part called the whole": (http("200 OK", EMPTY, JSON, "Content-Range: bytes 0-10/52000"), Truncated),
    "a later part called the whole": (http("200 OK", EMPTY, JSON, "Content-Range: bytes 5-15/16"), Truncated),
    "a part of unknown length": (http("200 OK", EMPTY, JSON, "Content-Range: items 0-24/*"), Truncated),
    "created": (http("201 Created", EMPTY, JSON), SourceContractError),
    "several": (http("207 Multi-Status", EMPTY, JSON), SourceContractError),
    "nothing at all": (http("200 OK", b"", JSON), SourceUnavailable),
    "blanks": (http("200 OK", b" \r\n\t ", JSON), SourceUnavailable),
    "packed nothing": (http("200 OK", gzip.compress(b""), JSON, "Content-Encoding: gzip"), SourceUnavailable),
    "a limit with a wish": (http("403 Forbidden", b"{}", JSON, "Retry-After: 1"), RateLimited),
    "a limit with nothing left": (http("403 Forbidden", b"{}", JSON, "X-RateLimit-Remaining: 0"), RateLimited),
    "a limit with both, as a page": (
        http("403 Forbidden", b"<html>slow</html>", HTML, "Retry-After: 1", "RateLimit-Remaining: 0"),
        RateLimited,
    ),
    "a dead key with some left": (
        http("403 Forbidden", b"{}", JSON, "X-RateLimit-Remaining: 10"),
        AuthenticationError,
    ),
    "a dead key and a wish that is none": (http("403 Forbidden", b"{}", JSON, "Retry-After: 0"), AuthenticationError),
    "a dead key that mentions a captcha": (
        http("403 Forbidden", b'{"error":"captcha off"}', JSON),
        AuthenticationError,
    ),
    "a challenge in German": (
        http("503 Service Unavailable", b"<title>Ein Moment bitte</title>", HTML, "cf-mitigated: challenge"),
        BlockedBySource,
    ),
    "a challenge that asks to wait": (
        http("429 Too Many Requests", b"<title>x</title>", HTML, "cf-mitigated: challenge", "Retry-After: 5"),
        BlockedBySource,
    ),
    "a challenge by its script": (
        http("404 Not Found", b"<html><script>window._cf_chl_opt={}</script>", HTML),
        BlockedBySource,
    ),
    "a challenge that is a redirect": (
        http("302 Found", b"", "Location: /x", "cf-mitigated: challenge"),
        BlockedBySource,
    ),
    "a bare 403 behind DataDome": (http("403 Forbidden", b"", "X-DataDome: protected"), BlockedBySource),
    "a bare 403 behind Imperva": (
        http("403 Forbidden", b" ", "X-Iinfo: 1-2-3 NNNN RT(1 0) q(0 -1 -1 0)"),
        BlockedBySource,
    ),
    "a bare 403 of Akamai": (http("403 Forbidden", b"", "Server: AkamaiGHost"), BlockedBySource),
    "a bare 403 of nobody": (http("403 Forbidden", b"", "Server: nginx"), AuthenticationError),
    "a dead key behind DataDome": (
        http("403 Forbidden", b'{"error":"unknown key"}', JSON, "X-DataDome: protected"),
        AuthenticationError,
    ),
    "a limit behind Imperva": (http("403 Forbidden", b"", "X-Iinfo: 1-2-3", "Retry-After: 1"), RateLimited),
    "a limit beside an empty list": (
        http("200 OK", b'{"data":[],"meta":{"per_page":25},"message":"Too many requests"}', JSON),
        RateLimited,
    ),
    "a challenge of Amazon": (http("202 Accepted", b"", "x-amzn-waf-action: challenge"), BlockedBySource),
    "a challenge by its script, as a success": (
        http("202 Accepted", b"<title>x</title><script src='/cdn-cgi/challenge-platform/x'></script>", HTML),
        BlockedBySource,
    ),
    "a challenge by its title, as a success": (
        http("203 Non-Authoritative", "<title>Un instant…</title>".encode(), HTML),
        BlockedBySource,
    ),
    "a page that says to come back": (http("202 Accepted", b"<title>We are at it</title>", HTML), SourceUnavailable),
    "a challenge in JSON": (
        http("403 Forbidden", b'{"url":"https://geo.captcha-delivery.com/x"}', JSON),
        BlockedBySource,
    ),
    "a page where JSON belongs": (http("200 OK", b"<title>Un moment</title>", HTML), BlockedBySource),
    "a page called JSON": (http("200 OK", b"<!DOCTYPE html><p>hi", JSON), BlockedBySource),
    "a page called JSON behind a comment": (http("200 OK", b"<!-- x -->\n<?xml v?><p>hi", JSON), BlockedBySource),
    "a page without a head, called JSON": (http("200 OK", b"\n<center>Sorry</center>", JSON), BlockedBySource),
    "a page in UTF-16, called JSON": (http("200 OK", "<html><p>hi".encode("utf-16"), JSON), BlockedBySource),
    "a challenge in Russian, by its title": (
        http("503 Service Unavailable", "<title>Один момент…</title>".encode(), HTML),
        BlockedBySource,
    ),
    "a challenge in Japanese, by its title": (
        http("429 Too Many Requests", "<TITLE lang=ja>しばらくお待ちください...</TITLE>".encode(), HTML),
        BlockedBySource,
    ),
    "a limit by the words of a 403": (
        http("403 Forbidden", b'{"message":"API rate limit exceeded for 192.0.2.1."}', JSON),
        RateLimited,
    ),
    "a limit in a code of a 403": (
        http("403 Forbidden", b'{"error":{"errors":[{"reason":"userRateLimitExceeded"}]}}', JSON),
        RateLimited,
    ),
    "a limit with nothing left, in one header": (
        http("403 Forbidden", b"{}", JSON, "RateLimit: limit=100, remaining=0, reset=30"),
        RateLimited,
    ),
    "a limit with nothing left of a policy": (
        http("403 Forbidden", b"{}", JSON, 'RateLimit: "burst";r=3;t=1, "day";r=0;t=30'),
        RateLimited,
    ),
    "a limit with no quota left": (http("403 Forbidden", b"{}", JSON, "X-Quota-Remaining: 0"), RateLimited),
    "a dead key with some left, in one header": (
        http("403 Forbidden", b"{}", JSON, 'RateLimit: "day";r=10;t=30'),
        AuthenticationError,
    ),
    "a limit as 401": (http("401 Unauthorized", b'{"error":"Too many requests"}', JSON), RateLimited),
    "a limit as 400": (http("400 Bad Request", b'{"message":"You hit your daily quota"}', JSON), RateLimited),
    "a limit as 402": (http("402 Payment Required", b"{}", JSON, "Retry-After: 60"), RateLimited),
    "a limit as a teapot": (http("418 I'm a teapot", b"{}", JSON, "Retry-After: 60"), RateLimited),
    "a limit of another platform": (http("430 Shopify", b"slow down"), RateLimited),
    "nothing there, and nothing left": (
        http("404 Not Found", b"{}", JSON, "X-RateLimit-Remaining: 0", "Retry-After: 5"),
        SourceContractError,
    ),
    "a wrong question, and nothing left": (
        http("400 Bad Request", b"{}", JSON, "X-RateLimit-Remaining: 0"),
        ConfigurationError,
    ),
    "a conflict of the moment": (http("409 Conflict", b"{}", JSON), SourceUnavailable),
    "a call that a proxy gave up": (http("499 Client Closed Request", b""), SourceUnavailable),
    "an ended session": (http("440 Login Time-out", b""), AuthenticationError),
    "a proxy that wants a password": (http("407 Proxy Authentication Required", b""), ConfigurationError),
    "calm wanted": (http("420 Enhance Your Calm", b""), RateLimited),
    "a limit with words only": (http("429 Too Many Requests", b"slow down, please"), RateLimited),
    "another server's call": (http("421 Misdirected Request", b""), SourceUnavailable),
    "chunks that end early behind whole JSON": (
        f"HTTP/1.1 200 OK\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n{len(EMPTY):x}\r\n".encode() + EMPTY + b"\r\n",
        SourceUnavailable,
    ),
    "an ordinary 503": (http("503 Service Unavailable", b"<html><h1>503</h1></html>", HTML), SourceUnavailable),
    "a 503 of brackets": (http("503 Service Unavailable", b"[" * 1200, JSON), SourceUnavailable),
    "a 400 of braces": (http("400 Bad Request", b'{"a":' * 100_000, JSON), ConfigurationError),
    "a packing nobody asked for": (
        http("200 OK", zlib.compress(GOOD), JSON, "Content-Encoding: deflate"),
        SourceContractError,
    ),
    "gzip that is neither": (http("200 OK", b"\x00\x01\x02", JSON, "Content-Encoding: gzip"), SourceUnavailable),
    "garbage behind gzip": (
        http("200 OK", gzip.compress(EMPTY) + b"garbage", JSON, "Content-Encoding: gzip"),
        SourceUnavailable,
    ),
    "no HTTP": (b"220 mail.example.org ESMTP\r\n", SourceUnavailable),
    "a header that never ends": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, SourceUnavailable),
    "two lengths": (http("200 OK", EMPTY, JSON, "Content-Length: 5"), SourceUnavailable),
    "a redirect to nonsense": (http("302 Found", b"", "Location: http://[::bad/\xff"), SourceUnavailable),
}


@pytest.mark.parametrize(("answer", "kind"), WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_is_not_complete_is_named_for_what_it_is(fetched, answer, kind):
    with pytest.raises(PipelineError) as caught:
        fetched(answer)
    assert type(caught.value) is kind, caught.value


def test_only_200_is_a_complete_answer_unless_the_scraper_declares_more():
    for status in range(100, 600):
        answer = Answer(status, {"content-type": "application/json"}, EMPTY, NOW)
        assert (problem_in(answer, {}, "application/json") is None) == (status == 200)
        assert problem_in(answer, {}, "application/json", accepted={200, status}) is None


class Ranged(type(SOURCE)):
    source = "ranged"
    accepted_statuses: ClassVar = frozenset({200, 206})


def test_a_declared_status_is_complete_and_the_evidence_of_emptiness_names_it(fetched):
    page = fetched(http("206 Partial Content", EMPTY, JSON, "Content-Range: items 0-0/*"), Ranged())
    assert page.status == 206

    class Landed:
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            return page

    manifest = scrape(
        DAY,
        ScrapeContext(
            scraper=Ranged(), client=Landed(), landing=Landing(MemoryObjectStore()), backfill_id="b", code_version="0"
        ),
    )
    assert manifest.empty_evidence.startswith("206, ")
    assert manifest.pages[0].status == 206


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda: None, "returned NoneType, expected Findings"),
        (lambda: {"nba_bdl_games": 1}, "returned dict, expected Findings"),
        (lambda: Findings({"games": 1}), "counts rows of 'games'; its tables are nba_bdl_games"),
        (lambda: Findings({"nba_bdl_games": 1.5}), "Findings.counts of 'nba_bdl_games' is no number of rows: float"),  # type: ignore[dict-item]
        (lambda: Findings({"nba_bdl_games": -1}), "is no number of rows: -1"),
        (lambda: Findings({"nba_bdl_games": 1}, keys=("1", {"id": 1})), "Findings.keys has dict among its texts"),  # type: ignore[arg-type]
        (lambda: Findings({"nba_bdl_games": 1}, lists=(None,)), "Findings.lists has NoneType among its texts"),  # type: ignore[arg-type]
        (lambda: Findings({}, empty_evidence=None), "Findings.empty_evidence is NoneType, not str"),  # type: ignore[arg-type]
        (lambda: Findings({}, next_request="/x"), "Findings.next_request is str, not Request"),  # type: ignore[arg-type]
        (lambda: Findings({}, source_total="7"), "Findings.source_total is str, not int"),  # type: ignore[arg-type]
    ],
)
def test_what_a_scraper_says_that_is_none_of_what_it_may_say_is_a_broken_contract_of_its_own(monkeypatch, read, told):
    monkeypatch.setattr(type(SOURCE), "inspect", lambda *_: read())

    class Answering:
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            return Page(request, page_number, 200, {}, GOOD, NOW, 0.1)

    context = ScrapeContext(SOURCE, Answering(), Landing(MemoryObjectStore()), "bf-1", "0")
    with pytest.raises(SourceContractError) as caught:
        scrape(DAY, context)
    assert told in str(caught.value)


def test_a_landed_page_with_another_status_is_not_gone_on_with():
    class Old:
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            return Page(request, 1, 206, {}, EMPTY, NOW, 0.1)

    with pytest.raises(Truncated, match="status 206"):
        scrape(
            DAY,
            ScrapeContext(
                scraper=SOURCE, client=Old(), landing=Landing(MemoryObjectStore()), backfill_id="b", code_version="0"
            ),
        )


RIGHT: dict[str, tuple[bytes, str]] = {
    "as it should be": (http("200 OK", GOOD, JSON), ""),
    "the whole, with its range": (
        http("200 OK", GOOD, JSON, f"Content-Range: bytes 0-{len(GOOD) - 1}/{len(GOOD)}"),
        "",
    ),
    "JSON called a page": (http("200 OK", GOOD, HTML), "JSON is labelled 'text/html'"),
    "a charset given as packing": (
        http("200 OK", GOOD, JSON, "Content-Encoding: utf-8"),
        "plain text is labelled 'utf-8'",
    ),
    "no packing by another name": (
        http("200 OK", GOOD, JSON, "Content-Encoding: none"),
        "plain text is labelled 'none'",
    ),
    "plain text called gzip": (http("200 OK", GOOD, JSON, "Content-Encoding: gzip"), "plain text is labelled 'gzip'"),
    "plain text called brotli": (http("200 OK", GOOD, JSON, "Content-Encoding: br"), "plain text is labelled 'br'"),
    "gzip without a label": (http("200 OK", gzip.compress(GOOD), JSON), "a gzip stream is labelled as nothing packed"),
    "gzip in capitals, and nothing": (
        http("200 OK", gzip.compress(GOOD), JSON, "Content-Encoding: GZIP, identity"),
        "",
    ),
    "packed twice": (http("200 OK", gzip.compress(gzip.compress(GOOD)), JSON, "Content-Encoding: gzip, gzip"), ""),
    "a byte-order mark": (http("200 OK", b"\xef\xbb\xbf" + GOOD, JSON), ""),
    "UTF-16": (http("200 OK", GOOD.decode().encode("utf-16"), JSON), ""),
    "zeros behind gzip": (http("200 OK", gzip.compress(GOOD) + bytes(5000), JSON, "Content-Encoding: gzip"), ""),
    "two members and zeros": (
        http("200 OK", gzip.compress(GOOD[:99]) + gzip.compress(GOOD[99:]) + bytes(9), JSON, "Content-Encoding: gzip"),
        "",
    ),
}


@pytest.mark.parametrize(("answer", "drift"), RIGHT.values(), ids=RIGHT.keys())
def test_what_is_unambiguous_is_read_whatever_its_label_and_the_label_is_told_once(fetched, caplog, answer, drift):
    with caplog.at_level(logging.WARNING, "gapless.scrapers"):
        page = fetched(answer)
        fetched.made.fetch(REQUEST)
    assert SOURCE.inspect(DAY, page).counts["nba_bdl_player_stats"] == 34 * len(games_on(DATE))
    assert not (stored := storable(page.packed, page.body)) or gzip.decompress(stored) == page.body
    assert list(fetched.made.drift) == ([drift] if drift else [])
    assert len([one for one in caplog.records if drift and drift in one.getMessage()]) == bool(drift)


@pytest.mark.parametrize(
    ("body", "headers", "kind"),
    [
        (GOOD.decode().encode("utf-16")[:-21], {}, SourceUnavailable),
        (GOOD.decode().encode("utf-32")[:-3], {}, SourceUnavailable),
        (b'{"Error":"x",' + GOOD[1:], {}, SourceUnavailable),
        (b'{"error_message":"x",' + GOOD[1:], {}, SourceUnavailable),
        (b'{"success":false,' + GOOD[1:], {}, SourceUnavailable),
        (GOOD.replace(b'"id":', b'"id":7,"i\\u0064":', 1), {}, SourceContractError),
        (EMPTY[:-1] + b',"meta":{"a":[{"b":1,"b":2}]}}', {}, SourceContractError),
        (GOOD + GOOD, {}, SourceContractError),
        (b"<?xml version='1.0'?><Error>no</Error>", {}, SourceContractError),
        (b"<!---->" * 300, {}, SourceContractError),
    ],
    ids=[
        "cut UTF-16",
        "cut UTF-32",
        "Error",
        "error_message",
        "no success",
        "a key spelled twice",
        "a key twice deep inside",
        "two documents",
        "XML",
        "comments only",
    ],
)
def test_a_body_that_is_not_one_whole_answer_is_taken_by_no_source(body, headers, kind):
    assert problem_in(Answer(200, headers, body, NOW), {}, "application/json") is None, "its document shows it"
    with pytest.raises(PipelineError) as caught:
        SOURCE.inspect(DAY, Page(REQUEST, 1, 200, headers, body, NOW, 0.1))
    assert type(caught.value) is kind, caught.value


class Landed:
    """Gives one page, whatever is asked."""

    def __init__(self, body: bytes, **headers: str) -> None:
        self._body, self._headers = body, headers

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        return Page(request, page_number, 200, self._headers, self._body, NOW, 0.1)


@pytest.mark.parametrize(
    ("body", "link"),
    [(GOOD, '<https://a.example/?p=2>; rel="next"'), (EMPTY, "<https://a.example/?p=2>;REL=next")],
    ids=["rows", "none"],
)
def test_a_next_page_that_only_a_header_names_is_not_left_behind(body, link):
    client, landing = Landed(body, link=link), Landing(MemoryObjectStore())
    with pytest.raises(Truncated, match="Link header"):
        scrape(DAY, ScrapeContext(SOURCE, client, landing, "b", "0"))


GAMES = scraper("bdl_games")
GAME = {
    **{"id": 7, "date": str(DATE), "status": "Final"},
    **{"home_team": {"id": 1, "abbreviation": "BOS"}, "visitor_team": {"id": 2, "abbreviation": "NYK"}},
}
LEADS_ON, LAST = {"next_cursor": 7, "per_page": 25}, {"per_page": 25}


class Answering:
    """One document after the other; the last one for ever."""

    def __init__(self, *documents: object) -> None:
        self._documents, self.asked = documents, list[Request]()

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        self.asked.append(request)
        body = json.dumps(self._documents[min(len(self.asked), len(self._documents)) - 1]).encode()
        return Page(request, page_number, 200, {}, body, NOW, 0.1)


def test_an_empty_page_behind_rows_is_believed_when_a_second_reading_has_the_same_rows():
    row, none = {"data": [GAME], "meta": LEADS_ON}, {"data": [], "meta": LAST}
    client = Answering(row, none, row, none)
    manifest = scrape(DAY, ScrapeContext(GAMES, client, Landing(MemoryObjectStore()), "b", "0"))
    assert (len(client.asked), manifest.counts["nba_bdl_game_list"]) == (4, 1)
    assert [dict(one.params)["per_page"] for one in client.asked] == ["100", "25", "24", "25"]


def test_a_name_out_of_an_answer_forges_no_line_and_fills_no_manifest():
    game = {**GAME, "status": "\n\nall verified\r\n\x1b[2J\u202e" + "x" * 300_000}
    manifest = scrape(
        DAY, ScrapeContext(GAMES, Answering({"data": [game], "meta": LAST}), Landing(MemoryObjectStore()), "b", "0")
    )
    (name,) = (*manifest.unsettled, *manifest.open_items)
    assert name.startswith("NYK-BOS ( all verified [2J x")
    assert len(name) <= 220
    with pytest.raises(SourceContractError) as caught:
        GAMES.inspect(DAY, Answering({"data": [{**GAME, "date": "2025-\n\nok"}], "meta": LAST}).fetch(REQUEST))
    assert "\n" not in str(caught.value)


def test_a_date_that_had_rows_in_one_sweep_is_not_empty_in_the_next():
    client = Answering({"data": [GAME], "meta": LEADS_ON}, {"data": [], "meta": LAST})
    with pytest.raises(NotSettled, match="3 rows came in an earlier sweep, and none in this one"):
        scrape(DAY, ScrapeContext(GAMES, client, Landing(MemoryObjectStore()), "b", "0"))


@pytest.mark.parametrize(("body", "days"), [(EMPTY, 400), (GOOD, 363)], ids=["none", "rows"])
def test_what_a_cache_took_before_the_date_was_settled_is_no_answer(body, days):
    client, landing = Landed(body, age=str(days * 86_400)), Landing(MemoryObjectStore())
    with pytest.raises(NotSettled, match=r"a cache returned a response of 202.* UTC, and the date was settled at"):
        scrape(DAY, ScrapeContext(SOURCE, client, landing, "b", "0"))


@pytest.mark.parametrize("age", ["0", "3600", "31190400", "-5", "9" * 40, "soon"])
def test_what_a_cache_took_later_or_an_age_that_is_none_changes_nothing(age):
    client, landing = Landed(GOOD, age=age), Landing(MemoryObjectStore())
    manifest = scrape(DAY, ScrapeContext(SOURCE, client, landing, "b", "0"))
    assert manifest.counts["nba_bdl_games"] == len(games_on(DATE))


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_5000_digits_is_left_to_the_row_that_holds_it(sign):
    body = b'{"n":' + sign.encode() + b"9" * 5_000 + b',"m":9007199254740993}'
    assert parsed_json(body) == landed_json(body) == {"n": float(f"{sign}inf"), "m": 9007199254740993}


def test_a_packing_that_cannot_be_read_is_refused_by_label_and_content():
    with pytest.raises(SourceContractError, match=r"'br' was not asked for.* 8b 05 80 7b"):
        list(unpacked([b"\x8b\x05\x80{\x01\x02"], "br", 1000))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!---->" * 3_000 + b"x", SourceContractError),
        (b"<html>" + b"<script " * 300_000, BlockedBySource),
        (b"<!-- a --> <!-- b -->\n<html><script id='__DATA__' type=x>{}</script>", None),
    ],
    ids=["comments", "scripts", "a page"],
)
def test_a_page_is_judged_in_time_whatever_it_is_made_of(body, kind):
    """Read by a careless pattern, the first would take longer than the universe is old, the second hours."""
    if kind is None:
        assert parsed_embedded_json(body, "__DATA__") == {}
        return
    with pytest.raises(kind):
        parsed_embedded_json(body, "__DATA__")


EMPTY_MEMBER = gzip.compress(b"", mtime=0)


@pytest.mark.parametrize("inner", [bytes(3_000_000), EMPTY_MEMBER * 150_000], ids=["zeros", "empty members"])
def test_a_packing_inside_another_is_bounded_like_the_body_itself(inner):
    """A kilobyte of it would else keep a thread for hours, whatever comes out in the end."""
    body = gzip.compress(gzip.compress(inner) if inner[0] == 0 else inner)
    with pytest.raises(Truncated, match="larger than 1000000 bytes"):
        list(unpacked([body], "gzip, gzip", 1_000_000))
    assert len(beginning([body], "gzip, gzip", 1_000, ())) <= 1_000


@given(st.integers(0, len(GOOD) - 1), st.booleans())
@settings(max_examples=60)
def test_json_that_ends_early_at_any_byte_is_retried_and_never_a_broken_contract(cut, is_marked):
    with pytest.raises(SourceUnavailable):
        parsed_json((b"\xef\xbb\xbf" if is_marked else b"") + GOOD[:cut])


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 5_000, b"]", b"{}x", b'{"a":1,"a":1}', b"nul"])
def test_whole_json_of_another_shape_is_a_broken_contract_and_no_depth_is_too_deep(body):
    with pytest.raises((SourceContractError, SourceUnavailable)):
        parsed_json(body)


@pytest.mark.parametrize("body", [b'{"t":"a\xff"}', b'{"t":"\\ud800"}', b'{"t":"\xed\xa0\x80"}'])
def test_a_bad_byte_in_one_text_is_left_to_the_row_that_holds_it(body):
    text = parsed_json(body)["t"]
    assert text.encode("utf-8", "replace").decode() != text


def test_an_error_beside_data_is_no_complete_answer_and_one_alone_is_the_scrapers_business():
    for body in (b'{"data":[],"error":"timeout"}', b'{"data":[1],"errors":[{"m":1}]}'):
        with pytest.raises(SourceUnavailable, match="error beside its data"):
            parsed_json(body)
    assert parsed_json(b'{"ok":false,"error":"Table not found","status":404}')["status"] == 404
    assert parsed_json(b'{"data":[],"error":null,"errors":[]}')["data"] == []


@pytest.mark.parametrize(
    "spelled",
    [
        lambda key: key,
        lambda key: urllib.parse.quote(key, safe=""),
        lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
        lambda key: urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
        lambda key: json.dumps(key)[1:-1].replace("/", r"\/"),
        lambda key: base64.b64encode(key.encode()).decode(),
        html.escape,
    ],
    ids=["plain", "percent", "all percent", "percent twice", "JSON", "base64", "HTML"],
)
def test_a_key_that_the_source_echoes_is_masked_in_what_is_landed_however_it_is_spelled(spelled):
    key = "pl4nted+key/with&odd=chars~0123"
    body = gzip.compress(b'{"data":[],"link":"/v1?cursor=2&key=' + spelled(key).encode() + b'","n":1}' + b" " * 999)
    answer = http("200 OK", body, JSON, "Content-Encoding: gzip", f"Link: <x?k={spelled(key)}>")
    store = MemoryObjectStore()
    with RawServer(lambda number, asked: [answer]) as server:
        client = SourceClient(SOURCE, SourceAccess(server.url, {"bdl_api_key": key}), Budget(Rate()))
        with pytest.raises(PipelineError) as caught:
            scrape(
                DAY,
                ScrapeContext(scraper=SOURCE, client=client, landing=Landing(store), backfill_id="b", code_version="0"),
            )
        client.close()
    (refused,) = list(store.list("landing/"))
    kept = gzip.decompress(store.read(refused.name)[0])
    assert spelled(key).encode() not in kept
    assert b'"n":1' in kept
    assert spelled(key) not in str(caught.value) + json.dumps(dict(refused.metadata))


CHALLENGE = b"<!DOCTYPE html><html><head><title>Ett \xc3\xb6gonblick</title>" + b" " * 9_000 + b"<script>_cf_chl_opt={}"


@given(st.lists(st.integers(1, 9_000), max_size=8), st.sampled_from(["", "gzip", "x-gzip, gzip"]), st.integers(0, 40))
@settings(max_examples=60)
def test_the_verdict_on_a_large_error_body_depends_on_no_chunking_and_no_compression(sizes, encoding, damage):
    body = CHALLENGE + random.Random(1).randbytes(60_000).hex().encode()
    packed = body
    for _ in filter(None, encoding.split(",")):
        packed = gzip.compress(packed, mtime=0)
    if damage:
        packed = packed[: len(packed) - damage]
    bounds = [0, *sorted(set(itertools.accumulate(sizes)) & set(range(len(packed)))), len(packed)]
    chunks = [packed[begin:end] for begin, end in itertools.pairwise(bounds)]
    kept = beginning(chunks, encoding, 65_536, (httpx.HTTPError,))
    assert kept == beginning([packed], encoding, 65_536, (httpx.HTTPError,))
    assert body.startswith(kept)
    assert len(kept) > len(CHALLENGE)
    problem = problem_in(Answer(403, {"content-type": "text/html"}, kept, NOW), {}, "application/json")
    assert isinstance(problem, BlockedBySource)


@pytest.mark.parametrize("packing", ["", "Content-Encoding: gzip"])
def test_a_challenge_of_nine_kilobytes_is_a_block_and_not_a_dead_key(fetched, packing):
    body = gzip.compress(CHALLENGE) if packing else CHALLENGE
    with pytest.raises(BlockedBySource) as caught:
        fetched(http("403 Forbidden", body, HTML, *filter(None, [packing])))
    assert "ögonblick" in caught.value.facts["body"]


@pytest.mark.parametrize(
    "answer", [http("200 OK", GOOD, "X-Slow: " + "x" * 3_000, JSON), b"HTTP/1.1 100 Continue\r\n\r\n" * 200]
)
def test_headers_that_are_dripped_past_the_deadline_are_given_up(fetched, answer):
    def drip(number: int, asked: bytes) -> Pieces:
        return dripping(answer, lambda: fetched.server)

    with pytest.raises(SourceUnavailable, match=r"within 0\.3 s"):
        fetched(drip, timeout_s=0.3)
    assert fetched.server.sent[0] < len(answer), "it was still sending when the client had given up"
