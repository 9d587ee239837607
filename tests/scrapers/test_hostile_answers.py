"""What answers say beside their data: that leads on, is old, forges a line, or gives a key away."""

from __future__ import annotations

import base64
import gzip
import html
import json
import urllib.parse

import pytest
from answering import DATE, DAY, EMPTY, GOOD, JSON, NOW, REQUEST, SOURCE, Answering, Landed
from hypothesis import given
from hypothesis import strategies as st
from raw_server import RawServer, http

from alerting.errors import (
    BlockedBySource,
    NotSettled,
    PipelineError,
    SourceContractError,
    SourceUnavailable,
    Truncated,
)
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.season import games_on
from scrapers.base import Findings, Page, Request, SourceAccess
from scrapers.client import SourceClient
from scrapers.html_bodies import parsed_embedded_json
from scrapers.landing import Landing
from scrapers.pace.budget import Budget
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape


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


@pytest.mark.parametrize("body", [GOOD, EMPTY], ids=["rows", "none"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("link", '<https://a.example/?p=2>; rel="next"'),
        ("link", "<https://a.example/?p=2>;REL=next"),
        ("x-next-page", "2"),
        ("x-total-pages", "3"),
        ("x-ms-continuation", "MjM0"),
        ("x-has-more", "True"),
        ("x-pagination", '{"TotalCount":57,"CurrentPage":1,"HasNext":true}'),
        ("x-total-count", "5000"),
        ("x-soda2-truncated", "true"),
        ("link", '</1>; rel="first", </2>; title="a, b; c"; rel="prefetch next"'),
        ("next-page", "2"),
        ("next-range", "id ..; max=200"),
        ("x-next-page-token", "abc"),
        ("x-nextpage", "2"),
        ("x-more-pages", "true"),
        ("total-count", "5000"),
        ("pagination-count", "5000"),
        ("x-content-range", "items 0-2/5000"),
        ("x-complete", "false"),
        ("x-pagination", '{"totalPages":3,"currentPage":1}'),
        ("x-pagination", '{"TotalCount":5000}'),
        ("x-pagination", '{"nextPageLink":"/2"}'),
        ("x-total-count", "1,234"),
        ("x-result-count", "500"),
        ("x-pages", "3"),
        ("x-partial-response", "1"),
    ],
)
def test_a_next_page_that_only_a_header_names_is_not_left_behind(body, name, value):
    client, landing = Landed(body, **{name: value}), Landing(MemoryObjectStore())
    with pytest.raises(Truncated, match=f"a header says that there is more, '{name}: "):
        scrape(DAY, ScrapeContext(SOURCE, client, landing, "b", "0"))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-next-page": "", "x-total-pages": "1", "x-page": "1"},
        {"x-has-more": "false", "x-pagination": '{"HasNext":false}', "x-next-cursor": "null"},
        {"link": '</p/1>; rel="prev"', "x-total-pages": "many", "retry-after": "0"},
        {"x-total-count": "0", "x-truncated": "false", "warning": '299 - "deprecated"'},
        {"link": '</0>; rel="self"; title="; rel=next"', "x-complete": "true", "x-pagination": '{"totalPages":1}'},
        {"link": '</0>; rel="prev", </7>; rel="next-archive"', "x-content-range": "items */0", "next-page": ""},
        {"x-pagination": "many", "pagination-count": "0", "total-count": "0"},
    ],
    ids=str,
)
def test_headers_of_the_last_page_are_those_of_all_of_it(headers):
    for body in (GOOD, EMPTY):
        scrape(DAY, ScrapeContext(SOURCE, Landed(body, **headers), Landing(MemoryObjectStore()), "b", "0"))


def test_no_rows_and_a_wish_to_be_asked_again_are_no_proof_that_there_are_none():
    """Azure and Microsoft Graph say so with 200 of what is still made."""
    context = ScrapeContext(SOURCE, Landed(EMPTY, **{"retry-after": "30"}), Landing(MemoryObjectStore()), "b", "0")
    with pytest.raises(SourceUnavailable, match=r"wants to be asked again in 30\.0 s: that is no proof"):
        scrape(DAY, context)
    stale = Landed(EMPTY, warning='110 - "Response is Stale"')
    with pytest.raises(SourceUnavailable, match="calls them stale"):
        scrape(DAY, ScrapeContext(SOURCE, stale, Landing(MemoryObjectStore()), "b", "0"))
    rows = ScrapeContext(SOURCE, Landed(GOOD, **{"retry-after": "30"}), Landing(MemoryObjectStore()), "b", "0")
    assert scrape(DAY, rows).counts["nba_bdl_games"] > 0


GAMES = scraper("bdl_games")
GAME = {
    **{"id": 7, "date": str(DATE), "status": "Final"},
    **{"home_team": {"id": 1, "abbreviation": "BOS"}, "visitor_team": {"id": 2, "abbreviation": "NYK"}},
}
LEADS_ON, LAST = {"next_cursor": 7, "per_page": 25}, {"per_page": 25}


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


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!---->" * 3_000 + b"x", SourceContractError),
        (b"<html>" + b"<script " * 300_000, SourceUnavailable),
        (b"<html>" + b"<script " * 300_000 + b"</html>", BlockedBySource),
        (b"<!-- a --> <!-- b -->\n<html><script id='__DATA__' type=x>{}</script>", None),
        (b'<html><SCRIPT type="x"ID = __DATA__ defer>{}</SCRIPT>', None),
        (b'<html><script id="__DATA__2">{}</script></html>', BlockedBySource),
        (b'<html><script data-id="__DATA__">{}</script></html>', BlockedBySource),
        (b"<html><script " + b' id="__DATA__"' * 200_000, SourceUnavailable),
        (b"<html>" + b"<script x=\"'" * 200_000, SourceUnavailable),
        (b"<html>" + b"<script>" * 300_000, SourceUnavailable),
        (b"<html>" + b"<!--" * 500_000, SourceUnavailable),
        (b"<html><script x='a>b' y=\"id=__DATA__\" id='__DATA__'>{}</script>", None),
        (b"<html><script id=__DATA__>{}</script x><p title='<script id=__DATA__>'>", None),
        (b"<html><!-- <script id='__DATA__'>[]</script> --><script id='__DATA__'>{}</script>", None),
        (b"<html><!--><script id='__DATA__'>{}</script><!-- -->", None),
        (b"<html><script>'<script id=__DATA__>[]'</script><script id='__DATA__'>{}</script>", None),
        (b"<html><!-- <script id='__DATA__'>{}</script> --></html>", BlockedBySource),
        (b"<html><template><script id='__DATA__'>{}</script></template></html>", BlockedBySource),
        (b"<html><textarea><script id='__DATA__'>{}</script></textarea></html>", BlockedBySource),
        (b"<html><noscript><script id='__DATA__'>{}</script></noscript></html>", BlockedBySource),
    ],
    ids=lambda one: f"{one[:60]!r}" if isinstance(one, bytes) else one and one.__name__,
)
def test_a_page_is_judged_in_time_whatever_it_is_made_of(body, kind):
    """Read by a careless pattern, the first would take longer than the universe is old, the second hours."""
    if kind is None:
        assert parsed_embedded_json(body, "__DATA__") == {}
        return
    with pytest.raises(kind):
        parsed_embedded_json(body, "__DATA__")


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


PAGE = (
    b"<!DOCTYPE html><html><head><title>Slutpriser</title></head>"
    b"<body><p>x</p><script id='__DATA__'>{}</script></body></html>"
)


@given(st.integers(16, len(PAGE) - len(b"</script></body></html>")))
def test_a_page_that_ends_early_is_retried_wherever_it_ends_and_is_no_block(cut):
    with pytest.raises(SourceUnavailable) as caught:
        parsed_embedded_json(PAGE[:cut], "__DATA__")
    assert caught.value.facts["cut_body"]


def test_a_challenge_that_ends_early_is_one_all_the_same():
    with pytest.raises(BlockedBySource):
        parsed_embedded_json("<!DOCTYPE html><html><head><title>Μια στιγμή…</title></head><body>".encode(), "__DATA__")
