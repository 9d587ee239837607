"""Ten thousand hostile values in headers, dates and sizes: no parser lets another exception out than ours."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import random
from collections.abc import Iterator

import pytest
from raw_server import RawServer, http

from alerting.errors import PipelineError, RateLimited, SourceUnavailable
from alerting.memory_store import MemoryObjectStore
from scrapers.answers import Answer, kept_headers, mislabelled, problem_in
from scrapers.base import Page, SourceAccess
from scrapers.bodies import unpacked
from scrapers.client import SourceClient
from scrapers.pace.budget import Budget, Clock
from scrapers.pace.quota import SharedQuota
from scrapers.partition import Partition
from scrapers.rate import QuotaHeaders, Rate
from scrapers.registry import scraper
from scrapers.waits import LONGEST_WISH_S, retry_after_s

NOW = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)
VALUES = 10_000
WORDS = """
0 -5 -0 +3 2.5 1e3 1e308 -1e308 inf -inf nan 0x10 1_000 ٣٠ １２ 99999999999999999999 9999-12-31 20250203 2025-02-30
bytes items */52000 0-10/11 0-10/52000 18446744073709551616-1/0 gzip utf-8 br deflate,gzip,gzip,gzip,gzip,gzip
application/json text/html;charset=utf-16 multipart/byteranges;boundary=x challenge captcha soon True null [] {}
"""
SEEDS = [
    *WORDS.split(),
    "Sat, 28 Nov 2026 00:00:30 GMT",
    "Sat, 28 Nov 2026 00:00:30 +99999999999999999999",
    "Sat, 28 Nov 2026 00:00:30 -0000",
    "Sat, 28 Nov 0000 00:00:30 GMT",
    "Sat, 28 Nov 99999 25:61:61 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    '<http://x/?_next=a>; rel="next", <',
    '<http://[::bad/?_next=%ff>; rel="next"',
    "",
    " ",
]
HEADERS = """
retry-after content-range content-type content-encoding link date location cf-mitigated x-amzn-waf-action
x-ratelimit-remaining ratelimit-remaining x-requests-remaining x-reset etag x-total content-length
x-ratelimit-reset ratelimit retry-after-ms
"""
NAMES = HEADERS.split()
STATUSES = (200, 202, 204, 206, 301, 400, 401, 403, 404, 410, 418, 429, 500, 503, 599)


def hostile(chance: random.Random) -> Iterator[str]:
    """Seeds, and seeds cut, doubled, mixed and sprinkled with characters that no header should hold."""
    yield from SEEDS
    while True:
        text = chance.choice(SEEDS)
        for _ in range(chance.randint(0, 3)):
            at = chance.randint(0, len(text))
            other = chance.choice(
                [chance.choice(SEEDS), chr(chance.randrange(0x20, 0x3000)), "\ud800", "9" * 400, "\0"]
            )
            text = chance.choice([text[:at] + other + text[at:], text[:at], text + text, other])
        yield text[:5_000]


@pytest.mark.long
def test_no_value_of_a_header_a_date_or_a_size_escapes_as_another_exception():
    chance = random.Random(20261128)
    values = hostile(chance)
    quota = SharedQuota(MemoryObjectStore(), "s", Rate(per_day=9), clock=Clock(now=lambda: NOW))
    box_scores, civic = scraper("bdl_box_scores"), scraper("civic_band")
    day, town = Partition.day(dt.date(2025, 1, 3), box_scores.zone), Partition.whole("alameda.ca~agendas", "UTC")
    for number in range(VALUES):
        value, other = next(values), next(values)
        wish_s = retry_after_s(value, NOW)
        assert wish_s is None or 0 < wish_s <= LONGEST_WISH_S
        headers = {chance.choice(NAMES): value, chance.choice(NAMES): other}
        answer = Answer(chance.choice(STATUSES), headers, other.encode("utf-8", "replace"), NOW)
        problem = problem_in(answer, {}, "application/json")
        assert problem is None or (isinstance(problem, PipelineError) and len(str(problem)) < 2_000)
        mislabelled(answer, "application/json")
        assert json.dumps(kept_headers(headers)).encode()
        quota.believe(QuotaHeaders("x-requests-remaining", "day", "x-reset"), headers)
        with contextlib.suppress(PipelineError):
            list(unpacked([answer.body], value, 1_000))
        game = {"date": value, "status": other, "home_team": {"abbreviation": value, "players": other}}
        documents = (
            (box_scores, day, {"data": [{**game, "visitor_team": {"abbreviation": other, "players": []}}]}),
            (civic, town, {"ok": True, "rows": [{"id": value}], "truncated": False, "count": other, "next": value}),
            (civic, town, {"ok": True, "rows": [{"id": value}], "truncated": False, "count": number % 3}),
        )
        for source, partition, document in documents:
            body = json.dumps(document).encode()
            page = Page(source.first_request(partition), 1, 200, headers, body, NOW, 0.1)
            with contextlib.suppress(PipelineError):
                source.inspect(partition, page)


NO_WISH = ["0", "-5", "0.0", "-0", "Sat, 28 Nov 2020 00:00:30 GMT", "9" * 300, "99999999999", "nan", "inf", "1e5", "٣٠"]


@pytest.mark.parametrize("value", [*NO_WISH, "Sat, 28 Nov 2026 00:00:30 +99999999999999999999"])
def test_a_wish_that_is_none_does_not_let_the_other_calls_out_at_once(value):
    """The pause is our own then, and doubles: a refused call is no spend, so nothing else would slow them down."""
    source = scraper("bdl_box_scores")
    slept: list[float] = []
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(seconds)
        now_s += seconds

    budget = Budget(Rate(), clock=Clock(lambda: now_s, lambda: NOW, sleep))
    answer = http("429 Too Many Requests", b"{}", f"Retry-After: {value}".encode().decode("latin-1"))
    with RawServer(lambda number, asked: [answer]) as server:
        client = SourceClient(source, SourceAccess(server.url, {"bdl_api_key": "k" * 20}), budget)
        request = source.first_request(Partition.day(dt.date(2025, 1, 3), source.zone))
        for _ in range(3):
            with pytest.raises(RateLimited) as caught:
                client.fetch(request)
            assert caught.value.retry_after_s is None
        client.close()
    assert sum(slept) >= 2.0


def test_a_wait_above_a_day_is_shown_as_an_instant():
    source = scraper("bdl_box_scores")
    budget = Budget(Rate(), clock=Clock(now=lambda: NOW))
    answer = http("503 Service Unavailable", b"", "Retry-After: 259200")
    with RawServer(lambda number, asked: [answer]) as server:
        client = SourceClient(source, SourceAccess(server.url, {"bdl_api_key": "k" * 20}), budget)
        request = source.first_request(Partition.day(dt.date(2025, 1, 3), source.zone))
        with pytest.raises(SourceUnavailable) as told:
            client.fetch(request)
        with pytest.raises(RateLimited, match=r"not before 2026-\d\d-\d\d \d\d:\d\d UTC") as waiting:
            client.fetch(request)
        client.close()
    assert "259200" not in str(told.value) + str(waiting.value)
    assert str(told.value.facts["retry_at"]).endswith("UTC")
