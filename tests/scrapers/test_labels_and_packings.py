"""Labels that are not true of a body, and packings: what is unambiguous is read, all else refused."""

from __future__ import annotations

import gzip
import logging

import pytest
from answering import DATE, DAY, GOOD, HTML, JSON, REQUEST, SOURCE
from raw_server import http

from alerting.errors import (
    SourceContractError,
    Truncated,
)
from deployments.local.upstreams.season import games_on
from scrapers.bodies import beginning, storable, unpacked

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


def test_a_packing_that_cannot_be_read_is_refused_by_label_and_content():
    with pytest.raises(SourceContractError, match=r"'br' was not asked for.* 8b 05 80 7b"):
        list(unpacked([b"\x8b\x05\x80{\x01\x02"], "br", 1000))


EMPTY_MEMBER = gzip.compress(b"", mtime=0)


@pytest.mark.parametrize("inner", [bytes(3_000_000), EMPTY_MEMBER * 150_000], ids=["zeros", "empty members"])
def test_a_packing_inside_another_is_bounded_like_the_body_itself(inner):
    """A kilobyte of it would else keep a thread for hours, whatever comes out in the end."""
    body = gzip.compress(gzip.compress(inner) if inner[0] == 0 else inner)
    with pytest.raises(Truncated, match="larger than 1000000 bytes"):
        list(unpacked([body], "gzip, gzip", 1_000_000))
    assert len(beginning([body], "gzip, gzip", 1_000, ())) <= 1_000
