from __future__ import annotations

import datetime as dt
import gzip
import logging
import pickle
import socket
import threading
import traceback
from typing import ClassVar

import pytest

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    BudgetExhausted,
    ConfigurationError,
    PartitionUnavailable,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
    Truncated,
)
from scrapers import transport
from scrapers.auth import SecretParam
from scrapers.base import Request, SourceAccess
from scrapers.client import SourceClient
from scrapers.pace.budget import Budget, Clock
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper

DATE = dt.date(2025, 1, 3)
KEY = "planted-key-0123456789"
REQUEST = Request("/v1/box_scores", (("date", DATE.isoformat()),))


class Keyed(type(scraper("bdl_box_scores"))):
    """The same source with its key in the query string, where logs and exceptions like to show it."""

    source = "keyed"
    auth = SecretParam("api_key", "bdl_api_key")


class Unpacking(type(scraper("bdl_box_scores"))):
    source = "small"
    max_body_bytes = 1000


class Forgiving(type(scraper("bdl_box_scores"))):
    source = "forgiving"
    statuses: ClassVar = {404: PartitionUnavailable, 402: RateLimited}


def test_a_good_answer_is_unpacked_timed_and_counted(client_of, upstream, box_scores):
    client = client_of()
    page = client.fetch(REQUEST, 7)
    findings = box_scores.inspect(Partition.day(DATE, box_scores.zone), page)
    assert findings.counts["nba_bdl_player_stats"] == 34 * findings.counts["nba_bdl_games"] > 0
    assert (page.number, page.status, page.headers["content-encoding"]) == (7, 200, "gzip")
    assert page.fetched_at.tzinfo is not None
    assert client.calls == upstream.calls.report()["total"] == 1
    assert 0 < client.received_bytes < len(page.body) / 5
    assert len(page.packed) == client.received_bytes
    assert gzip.decompress(page.packed) == page.body


TROUBLES = [
    ({"kind": "429"}, RateLimited),
    ({"kind": "500"}, SourceUnavailable),
    ({"kind": "status", "code": 503}, SourceUnavailable),
    ({"kind": "status", "code": 408}, SourceUnavailable),
    ({"kind": "status", "code": 422}, ConfigurationError),
    ({"kind": "status", "code": 402}, AuthenticationError),
    ({"kind": "status", "code": 403}, AuthenticationError),
    ({"kind": "status", "code": 404}, SourceContractError),
    ({"kind": "status", "code": 410}, PartitionUnavailable),
    ({"kind": "status", "code": 418}, SourceContractError),
    ({"kind": "401"}, AuthenticationError),
    ({"kind": "html403"}, BlockedBySource),
    ({"kind": "html200"}, BlockedBySource),
    ({"kind": "redirect"}, SourceContractError),
    ({"kind": "reset"}, SourceUnavailable),
    ({"kind": "truncated_gzip"}, SourceUnavailable),
    ({"kind": "truncated_body"}, SourceUnavailable),
]


@pytest.mark.parametrize(("rule", "kind"), TROUBLES, ids=lambda value: str(value))
def test_every_trouble_has_its_class_of_error(client_of, upstream, rule, kind):
    upstream.trouble(rule)
    with pytest.raises(PipelineError) as caught:
        client_of().fetch(REQUEST)
    assert type(caught.value) is kind
    assert (caught.value.source, caught.value.stage) == ("bdl_box_scores", "scrape")
    assert caught.value.facts["endpoint"] == "/v1/box_scores"
    assert upstream.calls.report()["total"] == 1, "the client never retries by itself"


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_an_answer_that_never_ends_is_given_up_at_the_deadline(client_of, upstream, kind):
    upstream.trouble({"kind": kind})
    with pytest.raises(SourceUnavailable, match=r"within 0\.3 s"):
        client_of(timeout_s=0.3).fetch(REQUEST)


def test_a_closed_port_is_an_unavailable_source(client_of):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceUnavailable):
        client_of(base_url=f"http://127.0.0.1:{port}").fetch(REQUEST)


def test_a_body_beyond_the_cap_is_truncated_and_not_kept(client_of):
    with pytest.raises(Truncated, match="1000 bytes"):
        client_of(scraper=Unpacking).fetch(REQUEST)


@pytest.mark.parametrize(("code", "kind"), [(404, PartitionUnavailable), (402, RateLimited)])
def test_a_source_gives_a_status_its_own_meaning(client_of, upstream, code, kind):
    upstream.trouble({"kind": "status", "code": code})
    with pytest.raises(kind):
        client_of(scraper=Forgiving).fetch(REQUEST)


@pytest.mark.parametrize("secrets", [{}, {"bdl_api_key": " \n"}, {"other": "x"}])
def test_without_a_key_no_call_is_made(client_of, upstream, secrets):
    with pytest.raises(AuthenticationError, match="bdl_api_key is not set"):
        client_of(secrets=secrets).fetch(REQUEST)
    assert upstream.calls.report()["total"] == 0


def test_the_line_end_of_a_key_file_does_not_matter_and_a_broken_key_is_never_shown(client_of, upstream):
    assert client_of(secrets={"bdl_api_key": f"{KEY}\r\n"}).fetch(REQUEST).status == 200
    with pytest.raises(ConfigurationError) as caught:
        client_of(secrets={"bdl_api_key": "half-a\nplanted-key"}).fetch(REQUEST)
    assert "planted" not in str(caught.value)


class StoppedClock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self.clock = Clock(lambda: self.now_s, lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC), self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def test_retry_after_pauses_the_whole_source_and_the_refused_call_is_no_spend(client_of, upstream):
    time = StoppedClock()
    budget = Budget(Rate(per_day=1), clock=time.clock)
    client = client_of(budget=budget)
    upstream.trouble({"kind": "429", "retry_after_s": 17, "times": 1})
    with pytest.raises(RateLimited) as caught:
        client.fetch(REQUEST)
    assert caught.value.retry_after_s == 17
    assert client.fetch(Request("/v1/box_scores", (("date", "2025-01-04"),))).status == 200
    assert time.slept == [17]
    with pytest.raises(BudgetExhausted):
        client.fetch(REQUEST)
    assert upstream.calls.report()["total"] == 2


def test_a_429_that_names_no_time_pauses_one_second_first(client_of, upstream):
    time = StoppedClock()
    client = client_of(budget=Budget(Rate(), clock=time.clock))
    upstream.trouble({"kind": "429", "times": 1})
    with pytest.raises(RateLimited) as caught:
        client.fetch(REQUEST)
    assert caught.value.retry_after_s is None
    client.fetch(REQUEST)
    assert time.slept == [1.0]


def test_a_limit_told_beside_an_empty_list_pauses_the_source(client_of, upstream):
    body = b'{"data":[],"error":"Rate limit exceeded","retry_after":30}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    raw = head % len(body) + body
    upstream.trouble({"kind": "raw", "raw": raw.decode(), "times": 1})
    time = StoppedClock()
    client = client_of(budget=Budget(Rate(), clock=time.clock))
    with pytest.raises(RateLimited) as limited:
        client.fetch(REQUEST)
    assert limited.value.retry_after_s == 30
    client.fetch(REQUEST)
    assert time.slept == [30]


def test_a_pause_beyond_the_patience_comes_back_as_rate_limited_without_a_call(client_of, upstream):
    time = StoppedClock()
    client = client_of(budget=Budget(Rate(), clock=time.clock), patience_s=60)
    upstream.trouble({"kind": "status", "code": 503, "retry_after_s": 3600, "times": 1})
    with pytest.raises(SourceUnavailable):
        client.fetch(REQUEST)
    with pytest.raises(RateLimited) as caught:
        client.fetch(REQUEST)
    assert caught.value.retry_after_s == 3600
    assert (time.slept, upstream.calls.report()["total"]) == ([], 1)


def _everything_said_about(error: BaseException) -> str:
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    # An exception of httpx holds its request, and that the key: it must not be chained to ours.
    request = getattr(error.__cause__, "request", None)
    return shown + repr(pickle.dumps(error)) + (f"{request.url} {request.headers.raw}" if request else "")


@pytest.mark.parametrize("source", [Keyed, scraper("bdl_box_scores")], ids=["in the query", "in a header"])
@pytest.mark.parametrize("rule", [None, *(rule for rule, _ in TROUBLES), {"kind": "hang"}], ids=str)
def test_the_key_is_in_no_exception_and_no_log(client_of, upstream, caplog, source, rule):
    for name in ("", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        upstream.trouble(*([rule] if rule else []))
        try:
            page = client_of(scraper=source, timeout_s=0.3 if rule == {"kind": "hang"} else 5.0).fetch(REQUEST)
            said = repr(page)
        except PipelineError as error:
            said = _everything_said_about(error)
    assert KEY not in said
    assert KEY not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("httpx")]


def test_an_echoed_key_does_not_reach_the_page(box_scores):
    body = b'{"next": "https://api.test/?cursor=2&key=' + KEY.encode() + b'"}'
    with _one_answer(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    ) as url:
        client = SourceClient(box_scores, SourceAccess(url, {"bdl_api_key": KEY}), Budget(Rate()))
        assert client.fetch(REQUEST).body == b'{"next": "https://api.test/?cursor=2&key=***"}'


def test_cookies_are_not_kept_and_an_honest_name_is_sent(box_scores):
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=1\r\n"
        b"X-Api-Key: k\r\nX-Total: 5\r\nContent-Length: 2\r\n\r\n{}"
    )
    with _one_answer(answer) as url:
        client = SourceClient(box_scores, SourceAccess(url, {"bdl_api_key": KEY}), Budget(Rate()))
        assert client.fetch(REQUEST).headers == {"content-type": "application/json", "x-total": "5"}
    assert url.asked.startswith(b"GET /v1/box_scores?date=2025-01-03 HTTP/1.1\r\n")
    assert b"User-Agent: gapless/" in url.asked
    assert b"Accept: application/json" in url.asked


class _Url(str):
    asked: bytes = b""


class _one_answer:
    """A server for one connection that sends these bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def __enter__(self) -> _Url:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._url = _Url(f"http://127.0.0.1:{self._server.getsockname()[1]}")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self._url

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            self._url.asked = connection.recv(65536)
            connection.sendall(self._answer)

    def __exit__(self, *_: object) -> None:
        # Wakes an accept() that nobody came to.
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._server.close()


@pytest.mark.parametrize("path", ["https://elsewhere.test/v1", "//elsewhere.test/v1", "v1"])
def test_a_request_cannot_carry_the_key_to_another_host(client_of, upstream, path):
    with pytest.raises(ConfigurationError):
        client_of().fetch(Request(path))
    assert upstream.calls.report()["total"] == 0


def test_one_client_serves_many_threads_and_counts_exactly(client_of, upstream):
    client = client_of()
    errors: list[Exception] = []

    def work(offset: int) -> None:
        for day in range(5):
            date = DATE + dt.timedelta(days=5 * offset + day)
            try:
                client.fetch(Request("/v1/box_scores", (("date", date.isoformat()),)))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    report = upstream.calls.report()
    assert client.calls == report["total"] == 40
    assert set(report["by_date"].values()) == {1}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin",
        "/v1/%2e%2E/x",
        "/v1/a?b=c",
        "/v1/a#b",
        "/v1//x",
        "/v1/a%2fb",
        "/v1/a\\b",
        "/v1/a\r\nX: y",
        "/v1/.",
    ],
)
def test_a_path_that_an_answer_made_lead_elsewhere_is_not_asked_for_and_stops_only_its_date(client_of, upstream, path):
    with pytest.raises(SourceContractError, match="leads elsewhere; no call was made"):
        client_of().fetch(Request(path))
    assert upstream.calls.report()["total"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "ftp://user:planted-password-0123@proxy.example"),
        ("HTTPS_PROXY", "http://user:planted-password-0123@proxy.example:port"),
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("SSLKEYLOGFILE", "/nonexistent/keys"),
    ],
)
def test_a_proxy_or_certificates_that_nobody_can_use_are_a_setting_and_no_traceback(
    client_of, monkeypatch, name, value
):
    transport._certificates.cache_clear()
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="no connection can be made") as caught:
        client_of(base_url="https://api.example.org")
    transport._certificates.cache_clear()
    assert name in caught.value.hint
    assert "planted-password" not in str(caught.value)
