"""Takes secrets out of text before it is stored, logged or mailed. Masks by name, by shape, and by known value."""

from __future__ import annotations

import base64
import logging
import re
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any

MASK = "***"

_NAMES = (
    r"(?:x[-_])?(?:api|app|access|account|auth|private|secret|subscription|encryption)[-_]?key(?:[-_]id)?"
    r"|(?:access|refresh|id|auth|session|csrf|xsrf|bearer|security|x-amz-security)[-_]?token|token"
    r"|(?:client|app|shared|api)[-_]?secret|secret|pass(?:word|wd|phrase)|pwd|credentials?"
    r"|(?:x-(?:goog|amz)-)?(?:signature|credential)|sig|session[-_]?id|sid|jwt|webhook[-_]?url"
)
_VALUE = r"""(?:\\?"[^"\\]*\\?"|\\?'[^'\\]*\\?'|[^\s&"',;<>)}\]\\]+)"""
_NAMED = re.compile(rf"""(?i)(?<![a-z0-9])({_NAMES})(\\?["']?\s*(?:=|:|%3D)\s*)({_VALUE})""")
# `key=` alone is also an honest word ("partition key=2021-01-03"): a date there stays readable.
_KEY = re.compile(
    r"""(?i)(?<![a-z0-9_-])(key)(\\?["']?(?:=|%3D|\\?["']\s*:\s*))(?!\d{4}-\d\d)([^\s&"',;<>)}\]]+|"[^"]*")"""
)
_HEADER = re.compile(
    r"""(?i)(?<![a-z0-9])((?:proxy-)?authorization|(?:set-)?cookies?)(\\?["']?\s*[:=]\s*\\?["']?)([^\r\n"']+)"""
)
_SHAPES = (
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^/\s@]{1,512}@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)\b(bearer)\s+(?!tokens?\b|auth)[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {MASK}"),
    (re.compile(r"(?i)\b(basic|token|digest)\s+(?=[^\s]*[\d=])[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"), MASK),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"), MASK),
    (re.compile(r"\b(?:AIza[\w-]{30,}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{8,}|ya29\.[\w-]{8,}|AKIA[0-9A-Z]{16})"), MASK),
    (re.compile(r"\bsk-[\w-]{16,}"), MASK),
    (
        re.compile(r"(hooks\.slack\.com/services|discord(?:app)?\.com/api/webhooks|webhook\.office\.com)/[^\s\"'<>]+"),
        rf"\1/{MASK}",
    ),
)

_MASKS = (*((pattern, rf"\1\2{MASK}") for pattern in (_HEADER, _NAMED, _KEY)), *_SHAPES)

_lock = threading.Lock()
_literals: set[str] = set()
_literal_pattern: re.Pattern[str] | None = None


def register_secret(value: str) -> None:
    """From now on ``value`` is masked wherever it appears in this process, also URL-quoted or in base64.

    Values under 4 characters are ignored: masking them would make every text unreadable.
    """
    global _literal_pattern
    if len(value) < 4:
        return
    encoded = base64.b64encode(value.encode()).decode().rstrip("=")
    with _lock:
        _literals.update({value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), encoded})
        ordered = sorted(_literals, key=len, reverse=True)
        _literal_pattern = re.compile("|".join(re.escape(literal) for literal in ordered))


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def one_line(text: str) -> str:
    """Redacted, on one line, without control characters and without marks that turn the writing direction.

    >>> one_line("a\\r\\nBcc: b")
    'a Bcc: b'
    """
    return _UNPRINTABLE.sub(" ", redact(text)).strip()


def redact(text: str) -> str:
    """The text with every secret replaced by ``***``; names stay, so that a reader sees what was there.

    >>> redact("GET https://api.test/v4?apiKey=abc123&date=2024-01-01 -> 401")
    'GET https://api.test/v4?apiKey=***&date=2024-01-01 -> 401'
    >>> redact("Authorization: Bearer abcdef, password in postgres://me:pw@host/db")
    'Authorization: ***'
    """
    if not text.isascii():
        # A lone surrogate (a wrongly decoded byte) cannot be stored or sent.
        text = text.encode("utf-8", "replace").decode()
    if _literal_pattern is not None:
        text = _literal_pattern.sub(MASK, text)
    for pattern, mask in _MASKS:
        # Nearly every text holds none of them, and a search costs half of a substitution that finds nothing.
        if pattern.search(text):
            text = pattern.sub(mask, text)
    return text


_SENSITIVE_NAME = re.compile(rf"(?i)(?:.*[-_.])?(?:{_NAMES}|key|(?:proxy-)?authorization|(?:set-)?cookies?)")


def redact_value(value: Any, name: str = "") -> Any:
    """A JSON-ready copy: strings redacted, keys too, and everything below a key that names a secret masked.

    >>> redact_value({"headers": {"X-Api-Key": "abc"}, "n": 3})
    {'headers': {'X-Api-Key': '***'}, 'n': 3}
    """
    if name and value not in (None, "", True, False) and _SENSITIVE_NAME.fullmatch(name):
        return MASK
    if isinstance(value, Mapping):
        return {redact(str(key)): redact_value(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


class RedactingFilter(logging.Filter):
    """Put on a handler, it redacts every record's message and traceback text."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record through."""
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True
