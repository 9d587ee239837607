"""Takes secrets out of texts and structures before they are stored, logged or mailed.

Three ways lead to a secret, and each also leads through the text's escapes: it is registered (``secret_literals``), it
has a known shape (``secret_shapes``), or it stands under a telling name (``secret_names``, ``secret_values``).
"""

from __future__ import annotations

import dataclasses
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from alerting.randomness import looks_random
from alerting.secret_literals import known_secrets, literal_spans, longest_known, merged, register_secret
from alerting.secret_names import is_plural, kind_of_name
from alerting.secret_shapes import shape_spans
from alerting.secret_values import named_spans
from alerting.unescaping import Span, spans_before, unescaped

__all__ = [
    "MASK",
    "RedactingFilter",
    "one_line",
    "printable",
    "redact",
    "redact_every_record",
    "redact_value",
    "register_secret",
    "visible",
]

MASK = "***"
_MAX_LAYERS = 4
_MAX_DEPTH = 24
_OVERLAP_CHARS = 8_192
_MOST_REMEMBERED, _MOST_REMEMBERED_CHARS = 4_096, 500
"""Texts, and characters of each: the same facts go into the record, the mail, the artifacts and the events of a run."""
MAX_LOG_CHARS = 200_000
"""Of a log record's message and traceback; the Prefect server takes a megabyte of JSON."""
_remembered: tuple[Mapping[str, tuple[str, ...]], dict[tuple[str, int | None], str]] = ({}, {})
_TURNING = "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_UNPRINTABLE = re.compile(f"[\x00-\x1f\x7f-\x9f{_TURNING}]+")
_STEERING = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_TURNING}]")


def one_line(text: str, max_chars: int | None = None) -> str:
    """Redacted, on one line, without control characters and without marks that turn the writing direction.

    ``max_chars`` as in `redact`.

    >>> one_line("a\\r\\nBcc: b")
    'a Bcc: b'
    """
    return _UNPRINTABLE.sub(" ", redact(text, max_chars)).strip()


def visible(text: str) -> str:
    """What steers a terminal or turns the writing direction, written as its code.

    >>> visible("a\\x1b]0;b\\x07\\u202ec")
    'a\\\\u001b]0;b\\\\u0007\\\\u202ec'
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable(text: str, max_chars: int | None = None) -> str:
    """Redacted (``max_chars`` as in `redact`) and `visible`: what a terminal, a mail's text or an artifact may show."""
    return visible(redact(text, max_chars))


def redact(text: str, max_chars: int | None = None) -> str:
    """The text with every secret replaced by ``***``; names stay, so that a reader sees what was there.

    Args:
        text: Anything.
        max_chars: Keeps so many characters of ``text``. What is beyond is searched no further than a secret reaches
            that begins before the cut, and a secret is never cut in two.

    >>> redact("GET https://api.test/v4?apiKey=abc123&date=2024-01-01 -> 401")
    'GET https://api.test/v4?apiKey=***&date=2024-01-01 -> 401'
    >>> redact("Authorization: Bearer abcdef, primary key=game_id in postgres://me:pw@host/db")
    'Authorization: ***, primary key=game_id in postgres://***@host/db'
    """
    if len(text) > _MOST_REMEMBERED_CHARS:
        return _masked(text, max_chars)
    masked, asked = _masked_with(known_secrets()), (text, max_chars)
    found = masked.get(asked)
    if found is None:
        found = _masked(text, max_chars)
        if len(masked) >= _MOST_REMEMBERED:
            masked.clear()
        masked[asked] = found
    return found


def _masked_with(known: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, int | None], str]:
    """What was masked while just these secrets were known; empty as soon as one comes or goes."""
    global _remembered
    remembered = _remembered
    if remembered[0] is not known:
        # A thread that is still at it with the secrets before writes into a dictionary that nobody reads any more.
        remembered = _remembered = (known, {})
    return remembered[1]


def _masked(text: str, max_chars: int | None) -> str:
    cut = len(text) if max_chars is None else max_chars
    if cut < len(text):
        text = text[: cut + max(_OVERLAP_CHARS, 6 * longest_known())]
    if not text.isascii():
        # A lone surrogate (a wrongly decoded byte) cannot be stored or sent.
        text = text.encode("utf-8", "replace").decode()
    spans = _spans(text, _MAX_LAYERS)
    if not spans:
        return text[:cut]
    pieces, at = [], 0
    for start, end in merged(spans):
        if start >= cut:
            break
        pieces += [text[at:start], MASK]
        at = end
    return "".join([*pieces, text[at : max(at, cut)]])


def _spans(text: str, layers: int) -> list[Span]:
    spans = literal_spans(text) + shape_spans(text) + named_spans(text)
    if layers:
        plain = unescaped(text)
        if plain != text and (below := _spans(plain, layers - 1)):
            spans += spans_before(text, below)
    return [(start, end) for start, end in spans if text[start:end] != MASK]


def redact_value(value: Any, name: Any = "") -> Any:
    """A JSON-ready copy: strings redacted, keys too, and everything below a key that names a secret masked.

    Understands mappings (headers of any library among them), lists of pairs, ``{"name": ..., "value": ...}``, bytes,
    dataclasses and models.

    >>> redact_value({"headers": {b"X-Api-Key": b"abc"}, "n": 3, "pairs": [("token", "x"), ("page", "2")]})
    {'headers': {'X-Api-Key': '***'}, 'n': 3, 'pairs': [['token', '***'], ['page', '2']]}
    """
    return _copied(value, as_text(name) if name else "", _MAX_DEPTH)


def _copied(value: Any, name: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if name and _is_secret(value, name):
        return MASK
    if isinstance(value, int | float):
        return value
    if isinstance(value, str | bytes | bytearray | memoryview):
        return redact(value if type(value) is str else as_text(value))
    if depth == 0:
        return redact(as_text(value), 300)
    if not isinstance(value, list | tuple | set | frozenset):
        if items := _items(value):
            return _copied_items(items, depth)
        return {} if isinstance(value, Mapping) else redact(as_text(value))
    given = list(value)
    if len(given) == 2 and isinstance(given[0], str | bytes) and kind_of_name(as_text(given[0])):
        return [redact(as_text(given[0])), _copied(given[1], as_text(given[0]), depth - 1)]
    return [_copied(item, name, depth - 1) for item in given]


def _items(value: Any) -> list[tuple[Any, Any]]:
    """Names and values of whatever has some: mappings, header objects, dataclasses, models."""
    if type(value) is dict:
        return list(value.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    many = getattr(value, "multi_items", None) or getattr(value, "items", None)
    if callable(many) and not isinstance(value, type):
        try:
            pairs: Iterable[Any] = many()
            return [(key, item) for key, item in pairs]
        except Exception:  # an object that only looks like a mapping
            return []
    return []


def _copied_items(items: list[tuple[Any, Any]], depth: int) -> dict[str, Any]:
    copied: dict[str, Any] = {}
    for key, item in items:
        text = key if type(key) is str else as_text(key)
        made, place = item, redact(text)
        # Most of what is told is not told: a look at the name would say as much.
        if not (item is None or item is False or item is True):
            made = _copied(item, _named(items, text) if text.lower() in _OF_VALUES else text, depth - 1)
        if place in copied and copied[place] != made:  # a header that came twice
            made = [*copied[place], made] if isinstance(copied[place], list) else [copied[place], made]
        copied[place] = made
    return copied


_OF_VALUES = ("value", "val")


def _named(items: list[tuple[Any, Any]], text: str) -> str:
    """What ``{"name": ..., "value": ...}`` calls its value; ``text`` where it does not say."""
    said = {as_text(key).lower(): item for key, item in items}
    named = said.get("name", said.get("key", said.get("header", "")))
    return as_text(named) if isinstance(named, str | bytes) else text


def _is_secret(value: Any, name: str) -> bool:
    kind = kind_of_name(name)
    if not kind or value in ("", b""):
        return False
    if isinstance(value, int | float):
        return kind == "certain" and not is_plural(name)
    if kind == "likely":
        return isinstance(value, str | bytes) and looks_random(as_text(value))
    return not (isinstance(value, str) and value.lower() in ("none", "null", MASK))


def as_text(value: Any) -> str:
    """For people; never raises, whatever an object's own ``__str__`` does."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


class RedactingFilter(logging.Filter):
    """Put on a handler or logger, it redacts every record: message, arguments, traceback, extra fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record through, and never raises."""
        redact_record(record)
        return True


def redact_record(record: logging.LogRecord) -> logging.LogRecord:
    """The record, without secrets. Where it holds none it stays as it was, arguments too. Never raises."""
    try:
        _redact_record(record)
    except Exception as error:
        # Whatever is wrong with it, nothing of it may pass unseen.
        record.msg, record.args = f"<log record could not be redacted: {type(error).__name__}>", None
        record.exc_info = record.exc_text = record.stack_info = None
    return record


def _redact_record(record: logging.LogRecord) -> None:
    args = record.args
    if args and not isinstance(args, Mapping) and any(not isinstance(arg, _PLAIN) for arg in args):
        # As a structure, before its repr turns it into text.
        record.args = tuple(arg if isinstance(arg, _PLAIN) else _argument(arg) for arg in args)
    elif isinstance(args, Mapping):
        record.args = {key: arg if isinstance(arg, _PLAIN) else _argument(arg, str(key)) for key, arg in args.items()}
    try:
        message = record.getMessage()
    except Exception:  # too few arguments, %d of a text ...
        message = f"{as_text(record.msg)} {redact_value(record.args)}"
        record.msg, record.args = message, None
    clean = printable(message, MAX_LOG_CHARS)
    if clean != message or not isinstance(record.msg, str):
        record.msg, record.args = clean, None
    if record.exc_info:
        raised = record.exc_info if isinstance(record.exc_info, tuple) else sys.exc_info()
        if not record.exc_text:
            record.exc_text = logging.Formatter().formatException(raised) if raised[0] else ""
        clean = printable(record.exc_text, MAX_LOG_CHARS)
        if clean != record.exc_text:
            record.exc_info = None
        record.exc_text = clean
    elif record.exc_text:
        record.exc_text = printable(record.exc_text, MAX_LOG_CHARS)
    if record.stack_info:
        record.stack_info = printable(str(record.stack_info))
    for name in record.__dict__.keys() - _STANDARD:
        value = record.__dict__[name]
        if isinstance(value, str | bytes | Mapping | list | tuple | BaseException):
            record.__dict__[name] = redact_value(value, name)


_PLAIN = (str, int, float, type(None))
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


def _argument(value: Any, name: str = "") -> Any:
    """A structure redacted; anything else as the text it would become."""
    if isinstance(value, Mapping | list | tuple | set | frozenset | bytes) or _items(value):
        return redact_value(value, name)
    return value


def redact_every_record() -> None:
    """From now on every log record of this process is made without secrets, whoever logs it and whoever takes it.

    A filter would have to sit on each logger, and Prefect makes one per worker, run and module.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def made(*args: Any, **rest: Any) -> logging.LogRecord:
        return redact_record(make(*args, **rest))

    made.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(made)
