"""Limits, dead keys and bot defences over a real socket, told apart whatever the status, script and language."""

from __future__ import annotations

import gzip
import itertools
import random
from dataclasses import replace

import httpx
import pytest
from answering import HTML, JSON, KEY, NOW, REQUEST, SOURCE
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import RawServer, http

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    ConfigurationError,
    NothingPublished,
    PartitionUnavailable,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
)
from scrapers.answers import Answer, problem_in
from scrapers.base import SourceAccess
from scrapers.bodies import beginning
from scrapers.client import SourceClient
from scrapers.pace.budget import Budget
from scrapers.rate import Rate

WRONG: dict[str, tuple[bytes, type[PipelineError]]] = {
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
    "a limit as 404": (http("404 Not Found", b'{"error":"too many requests"}', JSON), RateLimited),
    "a limit by a wish in milliseconds": (http("403 Forbidden", b"{}", JSON, "Retry-After-Ms: 1500"), RateLimited),
    "a limit by a wish of its own name": (http("403 Forbidden", b"{}", JSON, "X-Retry-After: 15"), RateLimited),
    "a limit by a wish in the body": (http("403 Forbidden", b'{"retry_after":12}', JSON), RateLimited),
    "a limit by a wish in the body of a 400": (http("400 Bad Request", b'{"retryAfter":"12"}', JSON), RateLimited),
    "a dead key that tells when another limit is lifted": (
        http("403 Forbidden", b"{}", JSON, "X-RateLimit-Reset: 30"),
        AuthenticationError,
    ),
    "a dead key and a wish in the body that is none": (
        http("403 Forbidden", b'{"retry_after":-5}', JSON),
        AuthenticationError,
    ),
    "a limit with nothing left, of two": (
        http("403 Forbidden", b"{}", JSON, "X-RateLimit-Remaining: 99, 0"),
        RateLimited,
    ),
    "a limit with nothing left, in its window": (
        http("403 Forbidden", b"{}", JSON, "X-RateLimit-Remaining: 0;w=60"),
        RateLimited,
    ),
    "a limit in UTF-16": (http("403 Forbidden", '{"message":"Too many requests"}'.encode("utf-16"), JSON), RateLimited),
    "a limit in Windows-1251": (
        http(
            "403 Forbidden", "Слишком много запросов".encode("cp1251"), "Content-Type: text/plain; charset=windows-1251"
        ),
        RateLimited,
    ),
    "a limit in GBK": (
        http("400 Bad Request", '{"msg":"请求过于频繁"}'.encode("gbk"), "Content-Type: application/json; charset=gbk"),
        RateLimited,
    ),
    "a challenge in Shift JIS": (
        http(
            "503 Service Unavailable",
            "<title>しばらくお待ちください</title>".encode("shift_jis"),
            "Content-Type: text/html; charset=Shift_JIS",
        ),
        BlockedBySource,
    ),
    "a challenge in Greek, which nobody has listed": (
        http("503 Service Unavailable", "<title>Μια στιγμή…</title>".encode(), HTML),
        BlockedBySource,
    ),
    "a challenge in Hindi, as a server's fault": (
        http("500 Internal Server Error", "<title>एक क्षण...</title>".encode(), HTML),
        BlockedBySource,
    ),
    "a challenge whose title is of entities": (
        http("415 Unsupported Media Type", b"<title>Just&#32;a&nbsp;&#x6d;oment&hellip;</title>", HTML),
        BlockedBySource,
    ),
    "a challenge where a file is not there": (
        http("404 Not Found", "<title>Um momento…</title>".encode(), HTML),
        BlockedBySource,
    ),
    "a checkpoint as a limit": (
        http("429 Too Many Requests", b"<title>Vercel Security Checkpoint</title>", HTML),
        BlockedBySource,
    ),
    "a server's fault in many words": (
        http("500 Internal Server Error", b"<title>Error 500: something went wrong...</title>", HTML),
        SourceUnavailable,
    ),
    "a block with a status that HTTP does not have": (
        http("999 Request denied", b"<html><script>window.location</script>", HTML),
        BlockedBySource,
    ),
    "a status that HTTP does not have": (http("799 X", b"{}", JSON), SourceUnavailable),
    "a limit with a status that HTTP does not have": (http("999 X", b"slow down, too many requests"), RateLimited),
    "a limit of another platform": (http("430 Shopify", b"slow down"), RateLimited),
    "nothing there, and nothing left": (
        http("404 Not Found", b"{}", JSON, "X-RateLimit-Remaining: 0", "Retry-After: 5"),
        SourceContractError,
    ),
    "a wrong question, and nothing left": (
        http("400 Bad Request", b"{}", JSON, "X-RateLimit-Remaining: 0"),
        ConfigurationError,
    ),
    "calm wanted": (http("420 Enhance Your Calm", b""), RateLimited),
    "a limit with words only": (http("429 Too Many Requests", b"slow down, please"), RateLimited),
    "an ordinary 503": (http("503 Service Unavailable", b"<html><h1>503</h1></html>", HTML), SourceUnavailable),
}


@pytest.mark.parametrize(("answer", "kind"), WRONG.values(), ids=WRONG.keys())
def test_a_refusal_is_named_for_what_it_is(fetched, answer, kind):
    with pytest.raises(PipelineError) as caught:
        fetched(answer)
    assert type(caught.value) is kind, caught.value


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


LIMITS_OF_A_DECLARED_STATUS = {
    "a wish": (b"{}", {"retry-after": "5"}),
    "words of calls": (b'{"message":"Too many requests"}', {}),
}


@pytest.mark.parametrize(("body", "headers"), LIMITS_OF_A_DECLARED_STATUS.values(), ids=LIMITS_OF_A_DECLARED_STATUS)
@pytest.mark.parametrize("status", [400, 401, 422])
def test_a_limit_is_one_whatever_the_source_says_that_the_status_means(status, body, headers):
    """Else a date would be called gone for good, or a source would be left for days, for a call too many."""
    for declared in (PartitionUnavailable, BlockedBySource, NothingPublished):
        answer = Answer(status, headers, body, NOW)
        assert type(problem_in(answer, {status: declared}, "application/json")) is RateLimited


def test_words_that_may_mean_another_limit_leave_a_declared_status_its_meaning():
    answer = Answer(422, {}, b'{"message":"the limit of the history is reached"}', NOW)
    assert type(problem_in(answer, {422: PartitionUnavailable}, "application/json")) is PartitionUnavailable
    assert type(problem_in(answer, {}, "application/json")) is RateLimited


@pytest.mark.parametrize("body", [b'{"error":"Too many requests"}', b"Rate limit exceeded"])
def test_a_file_that_a_limit_keeps_from_us_is_not_one_that_does_not_exist(fetched, body):
    with RawServer(lambda number, asked: [http("404 Not Found", body, JSON)]) as server:
        client = SourceClient(SOURCE, SourceAccess(server.url, {"bdl_api_key": KEY}), Budget(Rate()))
        with pytest.raises(RateLimited):
            client.fetch(replace(REQUEST, absent_ok=True))
        client.close()


@pytest.mark.parametrize("body", [b"Too many requests", b'"Rate limit exceeded"', "请求过于频繁".encode()])
def test_a_limit_in_plain_words_is_one_where_a_web_page_is_expected(body):
    answer = Answer(200, {"content-type": "text/html"}, body, NOW)
    assert type(problem_in(answer, {}, "text/html")) is RateLimited
    page = Answer(200, {"content-type": "text/html"}, b"<html><body><p>Too many requests</p></body></html>", NOW)
    assert problem_in(page, {}, "text/html") is None, "its reader judges a page"
