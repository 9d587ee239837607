"""Reads a JSON body: whole, without a repeated key, an error beside its data, or more that nobody asks for. Pure.

The bytes are never repaired. What can be read in one way only is read: a byte-order mark, UTF-16 and UTF-32. A
bad byte, or a lone surrogate, in one text becomes a lone surrogate of that text, which its row is refused for; in the
name of a field it spoils the whole.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Collection
from typing import Any

import jiter
import orjson
from pydantic_core import from_json

from alerting.errors import SourceContractError, SourceUnavailable, writable
from scrapers.envelopes import refuse_unwhole
from scrapers.excerpts import excerpt, is_blank

# Of numbers, and not of a UUID or a text that has "e-100" in it.
_LONG_EXPONENT = re.compile(rb"0*[1-9][0-9]{2,}\s*[,\]}]")
_NUMBER_BEFORE = re.compile(rb"(?:[:\[,\s]-?|[0-9.]{60})[0-9]+(?:\.[0-9]+)?\Z")
_MANY_ZEROS = b"0" * 200
_DIGIT_BUT_ZERO = re.compile(r"-?[0.]*[1-9]")
_BEGINS = re.compile(r"\s*[{\[]")
_BEGINNING_BYTES = 512
_BLANKS = b" \t\r\n"
_OTHER = object()
# A sentence of a server or a gateway, as "upstream connect error"; it may be gone with the next try.
_WORDS = re.compile(rb"\s*[A-Za-z][^\0-\x08{}\[\]<>=]{5,500}")


class TinyNumber(str):
    """The text of a number so small that a float of it is zero."""

    __slots__ = ()


def parsed_json(body: bytes, follows: Collection[str] = ()) -> Any:
    """The JSON document of an answer.

    Args:
        body: As received.
        follows: Fields that lead on or say how much there is, and that the scraper reads itself: ``meta.next_cursor``.

    Raises ``SourceUnavailable`` for a body that is empty, ends too early, or names an error beside its data: a retry
    may get the whole one. ``Truncated`` for one that says that there is more of it (see `scrapers.envelopes`).
    ``SourceContractError`` for what is no JSON, and for an object with a repeated key.
    """
    if is_blank(body):
        raise SourceUnavailable("the response came with an empty body", cut_body=True)
    document = _as_written(body)
    if document is _OTHER:
        try:
            # A third faster than the standard library, which has to be told of repeated keys by a function per object.
            document = jiter.from_json(body.removeprefix(codecs.BOM_UTF8), catch_duplicate_keys=True)
        except ValueError as error:
            document = _second_reading(body, str(error))
    if isinstance(document, dict):
        refuse_unwhole(document, follows)
    elif isinstance(document, list) and list(map(type, document)) == [dict, list]:
        # As the World Bank writes it: what is said of the rows, and the rows.
        refuse_unwhole({**document[0], "data": document[1]}, follows)
    return document


def landed_json(body: bytes) -> Any:
    """The document of a body that ``parsed_json`` has read before it was landed: the same, in half of the time.

    A number so small that a float of it is zero is its text, which a row is refused for.

    Raises ``ValueError`` for what is no JSON.
    """
    document = _as_written(body)
    if document is not _OTHER:
        return document
    if _may_underflow(body):
        return _as_python_reads_it(body)
    try:
        # Values of a column are many: to look each up among known texts costs a quarter more than to make it.
        return from_json(body, cache_strings="keys")
    except ValueError:
        return _as_python_reads_it(body)


def _as_written(body: bytes) -> Any:
    """The document of a body that is written back byte for byte; `_OTHER` for every other one.

    Then all of it was read right: a repeated key, or a number that is neither an integer of 64 bits nor a float, would
    be written otherwise. Most APIs write so, without blanks and escapes. Reading and writing take half of the time of a
    reader that looks for repeated keys.
    """
    if b"\\" in body or b'": ' in body[:_BEGINNING_BYTES]:
        return _OTHER
    try:
        document = orjson.loads(body)
        return document if orjson.dumps(document) == body.strip(_BLANKS) else _OTHER
    except (ValueError, TypeError):  # the second for what is nested too deeply to be written
        return _OTHER


def _second_reading(body: bytes, reason: str) -> Any:
    if "Detected duplicate key" in reason:
        raise SourceContractError(f"an object has a key twice: {reason}", body=excerpt(body))
    if reason.startswith("recursion limit exceeded"):
        # Its limit is 200 levels; how many Python itself reads depends on its version.
        raise SourceContractError("the body is not JSON", reason="nested too deeply", body=excerpt(body))
    # UTF-16 and UTF-32 look cut off to a reader of UTF-8.
    if reason.startswith("EOF while parsing") and b"\0" not in body:
        raise _cut(body)
    try:
        return _as_python_reads_it(body)
    except ValueError as error:
        if _ends_too_early(error):
            raise _cut(body) from None
        if isinstance(error, json.JSONDecodeError) and _breaks_off(error):
            raise _broken_off(error, body) from None
        if _WORDS.fullmatch(body):
            raise SourceUnavailable(f"words came in place of JSON: {excerpt(body)}", cut_body=True) from None
        raise SourceContractError("the body is not JSON", reason=str(error)[:200], body=excerpt(body)) from None


def _cut(body: bytes) -> SourceUnavailable:
    size = f"{len(body):,} bytes"
    return SourceUnavailable(
        f"the JSON ends too early, after {size}; nothing of it was taken", cut_body=True, body=excerpt(body)
    )


def _breaks_off(error: json.JSONDecodeError) -> bool:
    """Whether it begins well; what stands behind a whole document is another matter."""
    return error.pos > 1 and not error.msg.startswith("Extra data") and _BEGINS.match(error.doc) is not None


def _broken_off(error: json.JSONDecodeError, body: bytes) -> SourceUnavailable:
    """A server that fails while it sends goes on with its error page, another document, or zeros."""
    told = f"after {error.pos:,} of {len(error.doc):,} characters"
    return SourceUnavailable(
        f"the JSON breaks off {told} and goes on as something else; nothing of it was taken",
        cut_body=True,
        reason=error.msg,
        body=excerpt(body),
    )


def _ends_too_early(error: ValueError) -> bool:
    if isinstance(error, UnicodeDecodeError):
        # UTF-16 and UTF-32 that end within a character; a bad byte of UTF-8 is no error here.
        return error.end >= len(error.object)
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip()) > 0


def _as_python_reads_it(body: bytes) -> Any:
    encoding = json.detect_encoding(body)
    try:
        text = body.decode(encoding, "surrogateescape")
        return json.loads(text, object_pairs_hook=_without_repeats, parse_int=_integer, parse_float=_fraction)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _integer(text: str) -> int | float:
    """Infinity, which its row is refused for, where Python reads no integer (above 4,300 digits): no column has one."""
    try:
        return int(text)
    except ValueError:
        return -math.inf if text.startswith("-") else math.inf


def _fraction(text: str) -> float | str:
    """`TinyNumber` for what would be zero and is not."""
    number = float(text)
    return TinyNumber(text) if not number and _DIGIT_BUT_ZERO.match(text) else number


def _may_underflow(body: bytes) -> bool:
    """Whether a number in it may be too small for a float: the fast reader makes that a zero without a word.

    Two searches for two bytes, which take a twentieth each of its reading, from behind: forwards they take three times
    as long. Every other way looks at each number.
    """
    for mark in (b"e-", b"E-"):
        at = body.rfind(mark)
        while at >= 0:
            if (
                body[at + 2 : at + 5].isdigit()
                and _LONG_EXPONENT.match(body, at + 2)
                and _NUMBER_BEFORE.search(body[max(0, at - 64) : at])
            ):
                return True
            at = body.rfind(mark, 0, at)
    return _MANY_ZEROS in body


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    if any(writable(key) != key for key in found):
        raise ValueError("a key of an object is no Unicode")
    return found
