"""Over a real socket: an answer that is not the complete one is named for what it is, and is evidence of nothing."""

from __future__ import annotations

import gzip
import zlib
from typing import ClassVar

import pytest
from answering import DAY, EMPTY, GOOD, JSON, NOW, SOURCE
from raw_server import Pieces, dripping, http

from alerting.errors import (
    AuthenticationError,
    ConfigurationError,
    NothingPublished,
    PipelineError,
    SourceContractError,
    SourceUnavailable,
    Truncated,
)
from alerting.memory_store import MemoryObjectStore
from scrapers.answers import Answer, problem_in
from scrapers.base import Page, Request
from scrapers.landing import Landing
from scrapers.scrape import ScrapeContext, scrape

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
    "a conflict of the moment": (http("409 Conflict", b"{}", JSON), SourceUnavailable),
    "a call that a proxy gave up": (http("499 Client Closed Request", b""), SourceUnavailable),
    "an ended session": (http("440 Login Time-out", b""), AuthenticationError),
    "a proxy that wants a password": (http("407 Proxy Authentication Required", b""), ConfigurationError),
    "an error that Amazon names": (
        http("200 OK", EMPTY, JSON, "x-amzn-ErrorType: ThrottlingException"),
        SourceUnavailable,
    ),
    "an error that Azure names": (http("200 OK", GOOD, JSON, "x-ms-error-code: ServerBusy"), SourceUnavailable),
    "another server's call": (http("421 Misdirected Request", b""), SourceUnavailable),
    "chunks that end early behind whole JSON": (
        f"HTTP/1.1 200 OK\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n{len(EMPTY):x}\r\n".encode() + EMPTY + b"\r\n",
        SourceUnavailable,
    ),
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
    "a redirect to nonsense": (http("302 Found", b"", "Location: http://[::bad/\xff"), SourceContractError),
}


@pytest.mark.parametrize(("answer", "kind"), WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_is_not_complete_is_named_for_what_it_is(fetched, answer, kind):
    with pytest.raises(PipelineError) as caught:
        fetched(answer)
    assert type(caught.value) is kind, caught.value


def test_a_range_of_all_there_is_is_no_part(fetched):
    """PostgREST names no unit, and */0 where there is nothing."""
    for told in ("*/0", "0-24/25", "items 0-24/25"):
        assert fetched(http("200 OK", EMPTY, JSON, f"Content-Range: {told}")).body == EMPTY
    with pytest.raises(Truncated):
        fetched(http("200 OK", EMPTY, JSON, "Content-Range: 0-24/3573458"))


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


@pytest.mark.parametrize(
    "answer", [http("200 OK", GOOD, "X-Slow: " + "x" * 3_000, JSON), b"HTTP/1.1 100 Continue\r\n\r\n" * 200]
)
def test_headers_that_are_dripped_past_the_deadline_are_given_up(fetched, answer):
    def drip(number: int, asked: bytes) -> Pieces:
        return dripping(answer, lambda: fetched.server)

    with pytest.raises(SourceUnavailable, match=r"within 0\.3 s"):
        fetched(drip, timeout_s=0.3)
    assert fetched.server.sent[0] < len(answer), "it was still sending when the client had given up"
