"""A body that is not what its checksum says is no answer, over a real socket."""

from __future__ import annotations

import base64
import gzip
import hashlib

import pytest
from raw_server import RawServer, http

from alerting.errors import PipelineError, SourceUnavailable
from scrapers.answers import Answer
from scrapers.transport import Call, HttpTransport

GOOD, DAMAGED = b'{"data":[{"id":1,"pts":31}]}', b'{"data":[{"id":1,"pts":37}]}'
PACKED = gzip.compress(GOOD, mtime=0)
GZIP = "Content-Encoding: gzip"


def _digest(kind: str, body: bytes) -> str:
    return base64.b64encode(hashlib.new(kind, body).digest()).decode()


def _asked(body: bytes, *headers: str, has_checksums: bool = True) -> Answer:
    with RawServer(lambda number, asked: [http("200 OK", body, *headers)]) as server:
        transport = HttpTransport(server.url, {}, 5.0, pool_size=1, notice=lambda _: None, take_cookies=lambda _: None)
        try:
            call = Call("GET", f"{server.url}/x", "application/json", {200}, 5.0, 10_000, has_checksums=has_checksums)
            return transport.exchange(call)
        finally:
            transport.close()


HEADERS = {
    "md5": f"Content-MD5: {_digest('md5', GOOD)}",
    "one of two of Google's": f"x-goog-hash: crc32c=AAAAAA==,md5={_digest('md5', GOOD)}",
    "Google's second header": f"x-goog-hash: crc32c=AAAAAA==\r\nx-goog-hash: md5={_digest('md5', GOOD)}",
    "RFC 3230": f"Digest: SHA-256={_digest('sha256', GOOD)}",
    "RFC 9530": f"Repr-Digest: sha-512=:{_digest('sha512', GOOD)}:",
    "Amazon's": f"x-amz-checksum-sha256: {_digest('sha256', GOOD)}",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_body_with_another_checksum_than_its_header_says_is_asked_for_again_and_never_parsed(header):
    assert _asked(GOOD, header).body == GOOD
    assert _asked(PACKED, header, GZIP).body == GOOD, "a server that packs afterwards"
    for body, *more in ((DAMAGED,), (gzip.compress(DAMAGED), GZIP)):
        with pytest.raises(SourceUnavailable, match="the body is damaged"):
            _asked(body, header, *more)


def test_a_checksum_of_the_packed_body_is_checked_as_well():
    header = f"Content-MD5: {_digest('md5', PACKED)}"
    assert _asked(PACKED, header, GZIP).body == GOOD
    with pytest.raises(PipelineError, match="damaged"):
        _asked(gzip.compress(DAMAGED), header, GZIP)


@pytest.mark.parametrize(
    "header", ["Content-MD5: none", "Content-MD5:", "Digest: sha-256=x, crc32=ab", "x-amz-checksum-sha256: aGFsZg==-2"]
)
def test_what_is_no_checksum_says_nothing(header):
    assert _asked(GOOD, header).body == GOOD


def test_a_hash_of_what_google_has_stored_says_nothing_of_what_it_has_unpacked():
    of_stored = f"x-goog-hash: md5={_digest('md5', PACKED)}"
    assert _asked(GOOD, of_stored, "x-goog-stored-content-encoding: gzip").body == GOOD
    assert _asked(PACKED, of_stored, "x-goog-stored-content-encoding: gzip", GZIP).body == GOOD
    with pytest.raises(SourceUnavailable, match="damaged"):
        _asked(gzip.compress(DAMAGED), of_stored, "x-goog-stored-content-encoding: gzip", GZIP)


def test_a_source_whose_checksums_are_never_right_can_be_read_all_the_same():
    wrong = f"Content-MD5: {_digest('md5', DAMAGED)}"
    assert _asked(GOOD, wrong, has_checksums=False).body == GOOD
