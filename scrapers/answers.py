"""Reads one HTTP answer: unpacks the body, tells good from bad, and names the bad one. Pure, no HTTP client here."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    ConfigurationError,
    PartitionUnavailable,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
    Truncated,
)
from alerting.redaction import redact

STATUSES: Mapping[int, type[PipelineError]] = {
    400: ConfigurationError,
    401: AuthenticationError,
    402: AuthenticationError,
    403: AuthenticationError,
    # A wrong path gives 404 for every date. Only a source that knows its 404 means "will never exist" may say so.
    404: SourceContractError,
    408: SourceUnavailable,
    410: PartitionUnavailable,
    422: ConfigurationError,
    425: SourceUnavailable,
    429: RateLimited,
}
"""What a status means unless the scraper's ``statuses`` says otherwise; 5xx is ``SourceUnavailable``, any other status
that is not 2xx ``SourceContractError``."""

EXCERPT_CHARS = 200

_KEPT_HEADERS = re.compile(
    r"date|content-type|content-encoding|etag|last-modified|link|retry-after|x-(?!.*(?:key|token|secret|auth|cookie)).*"
)
_CHALLENGE = re.compile(rb"(?i)just a moment|cf-chl|captcha|challenge-platform|anubis|access denied|are you a robot")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names), unpacked body (for an error its beginning), and the receiving instant."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: dt.datetime


def problem_in(answer: Answer, statuses: Mapping[int, type[PipelineError]], accept: str) -> PipelineError | None:
    """The error this answer is, or None for a good one.

    Args:
        answer: What came.
        statuses: The source's own meanings of statuses, looked at before :data:`STATUSES`.
        accept: Media type that the source promises; a page of HTML instead of JSON is a block, whatever its status.
    """
    wants_json = accept.startswith("application/json")
    if 200 <= answer.status < 300:
        if wants_json and _is_html(answer):
            return BlockedBySource("a web page came with status 200 where JSON was expected", **_evidence(answer))
        return None
    kind = statuses.get(answer.status) or STATUSES.get(answer.status)
    if kind is None:
        kind = SourceUnavailable if answer.status >= 500 else SourceContractError
    if answer.status == 403 and 403 not in statuses and ((wants_json and _is_html(answer)) or _is_challenge(answer)):
        kind = BlockedBySource
    return _build(kind, answer)


def _build(kind: type[PipelineError], answer: Answer) -> PipelineError:
    wish_s = retry_after_s(answer.headers.get("retry-after"), answer.received_at)
    evidence = _evidence(answer)
    if issubclass(kind, RateLimited):
        return kind("the source asked to slow down", retry_after_s=wish_s, **evidence)
    if 300 <= answer.status < 400:
        target = redact(answer.headers.get("location", ""))[:EXCERPT_CHARS]
        return kind("the source redirects; redirects are never followed", location=target, **evidence)
    if wish_s is not None:
        evidence["retry_after_s"] = wish_s
    return kind(f"the source answered {answer.status}, expected 200{_said(answer)}", **evidence)


def parsed_json(body: bytes) -> Any:
    """The JSON document in a body. Raises ``SourceContractError``; never guesses, never repairs.

    A text of which a byte or an escape is no Unicode keeps it as a lone surrogate: such a row is a reject
    (`processors.column_values`), and no reason to refuse the other rows of the page.
    """
    try:
        # Half the time of the standard library for a day of box scores.
        return from_json(body)
    except ValueError as error:
        reason = str(error)
    try:
        return json.loads(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        raise SourceContractError("the body is not JSON", reason=reason, body=excerpt(body)) from None


def retry_after_s(value: str | None, now: dt.datetime) -> float | None:
    """Seconds to wait from a ``Retry-After`` header, which holds seconds or an HTTP date; None if absent or odd.

    >>> now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> retry_after_s("2.5", now), retry_after_s("Thu, 01 Jan 2026 00:01:00 GMT", now), retry_after_s("soon", now)
    (2.5, 60.0, None)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            instant = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=dt.UTC)
        seconds = (instant - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def excerpt(body: bytes) -> str:
    """The beginning of a body as evidence: redacted, on one line, at most 200 characters."""
    text = redact(body[: 20 * EXCERPT_CHARS].decode("utf-8", "replace"))
    return " ".join(text.split())[:EXCERPT_CHARS]


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers worth keeping with a payload, redacted: never cookies or anything that names a key."""
    return {name: redact(value) for name, value in headers.items() if _KEPT_HEADERS.fullmatch(name)}


def unpacked(chunks: Iterable[bytes], encoding: str, max_bytes: int) -> Iterator[bytes]:
    """Undoes ``Content-Encoding`` (gzip or none) piece by piece.

    Done here because httpx 0.28 takes a gzip stream that ends too early for a complete body. Raises
    ``SourceUnavailable`` for a cut-off or broken stream, ``Truncated`` as soon as more than ``max_bytes`` came out,
    ``SourceContractError`` for an encoding that was not asked for.
    """
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise SourceContractError(f"content encoding {encoding[:40]!r} was not asked for, gzip was")
    pieces = chunks if encoding in ("", "identity") else _gunzipped(chunks, max_bytes)
    size_bytes = 0
    for piece in pieces:
        size_bytes += len(piece)
        if size_bytes > max_bytes:
            raise Truncated(
                f"the body is larger than {max_bytes} bytes; nothing of it was kept",
                hint="raise max_body_bytes of this scraper, or ask for less at a time",
            )
        yield piece


def _gunzipped(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    started = False
    for chunk in chunks:
        data = chunk
        while data:
            if stream.eof:  # another gzip member follows
                stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            started = True
            try:
                # The bound keeps a small body that unpacks to gigabytes from filling the memory.
                piece = stream.decompress(data, max_bytes + 1)
            except zlib.error as error:
                raise SourceUnavailable("the gzip body is damaged; nothing of it was kept", reason=str(error)) from None
            yield piece
            data = stream.unconsumed_tail or stream.unused_data
    if started and not stream.eof:
        raise SourceUnavailable("the gzip body ended too early; nothing of it was kept")


def _said(answer: Answer) -> str:
    """What the source itself says is wrong: the error text of a JSON body, or a short plain one; else ""."""
    if _is_html(answer):
        return ""
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = "" if answer.body.lstrip()[:1] in (b"{", b"[", b"<") else answer.body.decode("utf-8", "replace")
    for name in ("error", "message", "detail", "title"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    text = excerpt(found.encode("utf-8", "replace")) if isinstance(found, str) else ""
    return f": {text}" if text else ""


def _is_html(answer: Answer) -> bool:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    start = answer.body[:512].lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    return media_type in ("text/html", "application/xhtml+xml") or start.startswith((b"<!doctype", b"<html"))


def _is_challenge(answer: Answer) -> bool:
    return "cf-mitigated" in answer.headers or _CHALLENGE.search(answer.body[:20_000]) is not None


def _evidence(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "content_type": answer.headers.get("content-type", "")[:60],
        "body": excerpt(answer.body),
    }
