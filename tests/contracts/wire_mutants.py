"""Wrong answers of the transport: what a server, a proxy or a cut connection makes of a good body, and what each is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

from raw_server import http

JSON, HTML = "Content-Type: application/json", "Content-Type: text/html"


HARMLESS = "the same rows"


Wire = Callable[[bytes], bytes]


def ok(body: bytes, *headers: str) -> bytes:
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
    "a part called the whole": (lambda body: ok(body, JSON, "Content-Range: bytes 0-10/52000"), "Truncated"),
    "a redirect": (_status("302 Found", "Location: http://127.0.0.1:9/"), "302"),
    "a redirect to no address": (_status("302 Found", "Location: javascript:alert(1)"), "302"),
    "a problem by its type": (lambda body: ok(body, "Content-Type: application/problem+json"), "SourceUnavailable"),
    "the status of a server behind it": (
        lambda body: ok(body, JSON, "Status: 503 Service Unavailable"),
        "SourceUnavailable",
    ),
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
    "a word before the answer": (lambda body: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(body), HARMLESS),
    "in pieces, and cut": (lambda body: _pieces(body, b""), "SourceUnavailable"),
    "in pieces": (lambda body: _pieces(body, b"0\r\nX-Sum: 1\r\n\r\n"), HARMLESS),
    "two lengths": (
        lambda body: http("200 OK", body, JSON, f"Content-Length: {len(body)}", "Content-Length: 3", length=False),
        "SourceUnavailable",
    ),
    "a wrong checksum": (
        lambda body: ok(gzip.compress(body)[:-8] + bytes(8), JSON, "Content-Encoding: gzip"),
        "SourceUnavailable",
    ),
    "nothing, packed": (lambda body: ok(gzip.compress(b""), JSON, "Content-Encoding: gzip"), "SourceUnavailable"),
    "packed twice": (
        lambda body: ok(gzip.compress(gzip.compress(body)), JSON, "Content-Encoding: gzip, gzip"),
        HARMLESS,
    ),
    "a guard before its JSON": (lambda body: ok(b")]}',\n" + body), "SourceContractError"),
    "for another page to call": (lambda body: ok(b"callback(" + body + b")"), "SourceContractError"),
    "busy": (_status("503 Service Unavailable", "Retry-After: 0"), "503"),
    "a status nobody knows": (_status("599 What"), "599"),
    "a challenge": (_status("200 OK", "cf-mitigated: challenge"), "BlockedBySource"),
    "a challenge as 503": (_status("503 Service Unavailable", "cf-mitigated: challenge"), "BlockedBySource"),
    "a challenge by its script": (
        lambda body: http("403 Forbidden", b"<html>" + b" " * 9_000 + b"_cf_chl_opt", HTML),
        "BlockedBySource",
    ),
    "a web page": (lambda body: ok(b"<!doctype html><title>Un moment</title>", HTML), "BlockedBySource"),
    "a web page called JSON": (lambda body: ok(b"<html></html>"), "BlockedBySource"),
    "nothing": (lambda body: ok(b""), "SourceUnavailable"),
    "blanks": (lambda body: ok(b" \n"), "SourceUnavailable"),
    "less than announced": (
        lambda body: http("200 OK", body[:-9], JSON, f"Content-Length: {len(body)}", length=False),
        "SourceUnavailable",
    ),
    "half of a gzip stream": (
        lambda body: ok(_half(gzip.compress(body)), JSON, "Content-Encoding: gzip"),
        "SourceUnavailable",
    ),
    "an unknown packing": (lambda body: ok(b"\x8b\x05\x80\x00", JSON, "Content-Encoding: br"), "SourceContractError"),
    "no HTTP": (lambda body: b"SSH-2.0-OpenSSH_9.6\r\n", "SourceUnavailable"),
    "JSON called a page": (lambda body: ok(body, HTML), HARMLESS),
    "a charset as packing": (lambda body: ok(body, JSON, "Content-Encoding: utf-8"), HARMLESS),
    "a byte-order mark": (lambda body: ok(b"\xef\xbb\xbf" + body), HARMLESS),
    "UTF-16": (lambda body: ok(body.decode().encode("utf-16")), HARMLESS),
    "gzip and zeros": (lambda body: ok(gzip.compress(body) + bytes(900), JSON, "Content-Encoding: gzip"), HARMLESS),
    "gzip without a label": (lambda body: ok(gzip.compress(body)), HARMLESS),
    "a quarter": (lambda body: ok(body[: len(body) // 4]), "SourceUnavailable"),
    "a half": (lambda body: ok(body[: len(body) // 2]), "SourceUnavailable"),
    "all but the last byte": (lambda body: ok(body.rstrip()[:-1]), "SourceUnavailable"),
    "a half, and an error page": (
        lambda body: ok(body[: len(body) // 2] + b"<html>504 Gateway Time-out</html>"),
        "SourceUnavailable",
    ),
    "a half, and another document": (
        lambda body: ok(body[: len(body) // 2] + b'{"error":"timeout"}'),
        "SourceUnavailable",
    ),
    "a half, and zeros": (lambda body: ok(body[: len(body) // 2] + bytes(900)), "SourceUnavailable"),
    "twice": (lambda body: ok(body + body), "SourceContractError"),
    "with a word behind it": (lambda body: ok(body + b"warning"), "SourceContractError"),
    "a thousand brackets": (lambda body: ok(b"[" * 1_200), "SourceContractError"),
    "its first key twice": (
        lambda body: ok(b"{" + json.dumps(next(iter(json.loads(body)))).encode() + b":null," + body.lstrip()[1:]),
        "SourceContractError",
    ),
}
