"""How long a source wants us to wait at a limit, in all the ways in which it is told."""

from __future__ import annotations

import datetime as dt

import pytest
from raw_server import RawServer, http

from alerting.errors import RateLimited, SourceUnavailable
from scrapers.base import SourceAccess
from scrapers.client import SourceClient
from scrapers.pace.budget import Budget, Clock
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.waits import limit_wait_s

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
IN_90_S = int(NOW.timestamp()) + 90


@pytest.mark.parametrize(
    ("headers", "body", "wait_s"),
    [
        ({"retry-after": "5, 10"}, b"", 10.0),
        ({"retry-after": "-5, 10"}, b"", 10.0),
        ({"retry-after": str(IN_90_S)}, b"", 90.0),
        ({"retry-after": f"{IN_90_S}000"}, b"", 90.0),
        ({"retry-after": "0", "x-ratelimit-reset": "30"}, b"", 30.0),
        ({"retry-after-ms": "1500"}, b"", 1.5),
        ({"retry-after": "1m30s"}, b"", 90.0),
        ({"retry-after": "120 seconds"}, b"", 120.0),
        ({"retry-after": "PT1H"}, b"", 3600.0),
        ({"retry-after": "about 5 minutes"}, b"", None),
        ({"retry-after": "0s"}, b"", None),
        ({}, b'{"error":{"details":[{"@type":"t/google.rpc.RetryInfo","retryDelay":"32s"}]}}', 32.0),
        ({"x-ratelimit-reset": str(IN_90_S), "x-ratelimit-remaining": "0"}, b"", 90.0),
        ({"x-rate-limit-reset": f"{IN_90_S}000"}, b"", 90.0),
        ({"x-ratelimit-reset-after": "0.7"}, b"", 0.7),
        ({"ratelimit-reset": "30"}, b"", 30.0),
        ({"ratelimit": "limit=10, remaining=0, reset=30"}, b"", 30.0),
        ({"ratelimit": '"default";r=0;t=30'}, b"", 30.0),
        ({}, b'{"message":"You are being rate limited.","retry_after":64.57}', 64.57),
        ({}, b'{"ok":false,"error_code":429,"parameters":{"retry_after":35}}', 35.0),
        ({}, b'{"retryAfterMs":2500}', 2.5),
        ({"x-ratelimit-reset": "30", "x-ratelimit-remaining": "12"}, b"", None),
        ({"ratelimit": '"burst";r=3;t=1, "day";r=0;t=30'}, b"", None),
        ({"x-ratelimit-reset": str(IN_90_S - 500)}, b"", None),
        ({"x-ratelimit-reset": "1e400"}, b'{"retry_after":1e400}', None),
        ({"x-ratelimit-reset": "9" * 60}, b'{"retry_after":-5}', None),
        ({}, b'{"retry_after":true}', None),
        ({}, b'{"retry_after":', None),
    ],
)
def test_a_wait_at_a_limit_is_read_in_every_unit_and_place(headers, body, wait_s):
    assert limit_wait_s(headers, body, NOW) == (pytest.approx(wait_s) if wait_s else None)


@pytest.mark.parametrize(
    ("answer", "kind", "slept_s"),
    [
        (http("429 Too Many Requests", b"{}", "X-RateLimit-Reset: 30"), RateLimited, 30.0),
        (http("429 Too Many Requests", b'{"retry_after":7}'), RateLimited, 7.0),
        (http("503 Service Unavailable", b'{"retry_after":7}', "X-RateLimit-Reset: 30"), SourceUnavailable, 0.0),
    ],
)
def test_the_source_is_left_alone_for_as_long_as_its_limit_says(answer, kind, slept_s):
    source, slept, now_s = scraper("bdl_box_scores"), list[float](), 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(seconds)
        now_s += seconds

    budget = Budget(Rate(), clock=Clock(lambda: now_s, lambda: NOW, sleep))
    with RawServer(lambda number, asked: [answer]) as server:
        client = SourceClient(source, SourceAccess(server.url, {"bdl_api_key": "k" * 20}), budget)
        for _ in range(2):
            with pytest.raises(kind):
                client.fetch(source.first_request(Partition.day(dt.date(2025, 1, 3), source.zone)))
        client.close()
    assert sum(slept) == pytest.approx(slept_s)
