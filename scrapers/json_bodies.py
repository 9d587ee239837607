"""Reads a JSON body: whole, without a repeated key, and without an error beside its data. Pure.

The bytes are never repaired. What can be read in one way only is read: a byte-order mark, UTF-16 and UTF-32. A
bad byte, or a lone surrogate, in one text becomes a lone surrogate of that text, which its row is refused for; in the
name of a field it spoils the whole.
"""

from __future__ import annotations

import codecs
import json
from typing import Any

import jiter
from pydantic_core import from_json

from alerting.errors import SourceContractError, SourceUnavailable, writable
from scrapers.excerpts import excerpt

_ERRORS = ("error", "errors")
# What an answer says beside its error when it has nothing else to say.
_OF_AN_ERROR = {*_ERRORS, "ok", "success", "status", "code", "title", "message", "detail", "type", "timestamp"}


def parsed_json(body: bytes) -> Any:
    """The JSON document of an answer.

    Raises ``SourceUnavailable`` for a body that is empty, ends too early, or names an error beside its data: a retry
    may get the whole one. ``SourceContractError`` for what is no JSON, and for an object with a repeated key.
    """
    if not body.lstrip(b"\xef\xbb\xbf \t\r\n\0"):
        raise SourceUnavailable("the answer came with an empty body", cut_body=True)
    try:
        # A third faster than the standard library, which has to be told of repeated keys by a function per object.
        document = jiter.from_json(body.removeprefix(codecs.BOM_UTF8), catch_duplicate_keys=True)
    except ValueError as error:
        document = _second_reading(body, str(error))
    if isinstance(document, dict):
        _refuse_error_beside_data(document)
    return document


def landed_json(body: bytes) -> Any:
    """The document of a body that ``parsed_json`` has read before it was landed: the same, in half of the time.

    Raises ``ValueError`` for what is no JSON.
    """
    try:
        return from_json(body)
    except ValueError:
        return _as_python_reads_it(body)


def _second_reading(body: bytes, reason: str) -> Any:
    if "Detected duplicate key" in reason:
        raise SourceContractError(f"an object has a key twice: {reason}", body=excerpt(body))
    # UTF-16 and UTF-32 look cut off to a reader of UTF-8.
    if reason.startswith("EOF while parsing") and b"\0" not in body:
        raise _cut(body)
    try:
        return _as_python_reads_it(body)
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError) and _ends_too_early(error):
            raise _cut(body) from None
        raise SourceContractError("the body is not JSON", reason=str(error)[:200], body=excerpt(body)) from None


def _cut(body: bytes) -> SourceUnavailable:
    size = f"{len(body):,} bytes"
    return SourceUnavailable(
        f"the JSON ends too early, after {size}; nothing of it was taken", cut_body=True, body=excerpt(body)
    )


def _ends_too_early(error: json.JSONDecodeError) -> bool:
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip()) > 0


def _as_python_reads_it(body: bytes) -> Any:
    encoding = json.detect_encoding(body)
    try:
        return json.loads(body.decode(encoding, "surrogateescape"), object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    if any(writable(key) != key for key in found):
        raise ValueError("a key of an object is no Unicode")
    return found


def _refuse_error_beside_data(document: dict[str, Any]) -> None:
    said = next((document[name] for name in _ERRORS if document.get(name)), None)
    if said is not None and any(name not in _OF_AN_ERROR for name in document):
        text = excerpt(str(said)[:1000].encode("utf-8", "replace"))
        raise SourceUnavailable(f"the answer names an error beside its data: {text}")
