"""The secrets that this process knows, and the forms in which a text may hold them."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping
from functools import lru_cache

from alerting.unescaping import ANY, EACH, QUOTED_PRINTABLE, Span, spans_before, unescaped

MIN_CHARS = 4
"""A shorter text may as well stand in the data: masking it would make every text unreadable."""
_MIN_ENCODED_CHARS = 8
_MAX_PASSING = 256
_MAX_LAYERS = 3
_SIGNS = re.compile(r"[%&\\]")

_lock = threading.Lock()
_known: dict[str, tuple[str, ...]] = {}
_passing: list[str] = []


def register_secret(value: str) -> None:
    """From now on ``value`` is masked wherever it appears in this process, in whatever encoding.

    Escaped for URLs, HTML, JSON, Python or mail, once or several times; in base64 at any alignment; in hexadecimal.
    Values under `MIN_CHARS` characters are ignored.
    """
    global _known
    with _lock:
        for secret in {value, value.strip()}:
            if len(secret) >= MIN_CHARS and secret not in _known:
                # A new dictionary: readers go on with the old one, without a lock.
                _known = {**_known, secret: encodings(secret)}


def register_passing_secret(value: str) -> None:
    """Like ``register_secret`` for what a server hands out (cookies): of these the last `_MAX_PASSING` are kept."""
    global _known
    register_secret(value)
    with _lock:
        if value in _known and value not in _passing:
            _passing.append(value)
            if len(_passing) > _MAX_PASSING:
                gone = _passing.pop(0)
                _known = {secret: forms for secret, forms in _known.items() if secret != gone}


@lru_cache(maxsize=64)
def encodings(secret: str) -> tuple[str, ...]:
    """The secret itself, and what base64 and hexadecimal make of it. Escapes are not here: texts are read through them.

    >>> encodings("pl4nted")[:3]
    ('pl4nted', 'cGw0bnRlZ', 'BsNG50ZW')
    """
    data = secret.encode("utf-8", "replace")
    forms = [secret]
    for offset, unsure in ((0, 0), (1, 2), (2, 3)):
        # Characters at the edges also hold bits of the neighbours.
        encoded = base64.b64encode(b"\0" * offset + data)[unsure : (offset + len(data)) * 8 // 6].decode()
        forms += [encoded, encoded.replace("+", "-").replace("/", "_")]
    forms += [data.hex(), data.hex().upper()]
    if " " in secret:
        forms.append(secret.replace(" ", "+"))
    kept = (form for form in forms if form == secret or len(form) >= _MIN_ENCODED_CHARS)
    return tuple(dict.fromkeys(kept))


def literal_spans(text: str) -> list[Span]:
    """Where ``text`` holds a registered secret; what is escaped in several ways at once is the caller's to undo."""
    known = _known
    if not known:
        return []
    spans = [span for forms in known.values() for form in forms if form in text for span in _places(form, text)]
    # A secret that itself has a sign of escapes is lost where all kinds of them are undone at once.
    for escape in (QUOTED_PRINTABLE, *(EACH if any(_SIGNS.search(secret) for secret in known) else ())):
        spans += _below(text, list(known), escape, 2)
    return spans


def _below(text: str, secrets: list[str], escape: re.Pattern[str], layers: int) -> list[Span]:
    plain = unescaped(text, escape)
    if plain == text:
        return []
    found = [span for secret in secrets if secret in plain for span in _places(secret, plain)]
    if layers > 1:
        found += _below(plain, secrets, escape, layers - 1)
    return spans_before(text, found, escape) if found else []


def known_secrets() -> Mapping[str, tuple[str, ...]]:
    """Every registered secret with its forms; another object as soon as one comes or goes."""
    return _known


def longest_known() -> int:
    """Characters of the longest form of a registered secret."""
    return max((len(form) for forms in _known.values() for form in forms), default=0)


def masked_in(body: bytes, secret: str, mask: bytes = b"***") -> bytes:
    """``body`` without ``secret``, in whatever encoding it stands there; every other byte stays as it is.

    >>> masked_in(b"next?key=Tr0ub4dor%263%2Fx&page=2", "Tr0ub4dor&3/x")
    b'next?key=***&page=2'
    """
    forms = [form.encode("utf-8", "replace").decode("latin-1") for form in encodings(secret)]
    text = body.decode("latin-1")
    spans = _layered(text, forms, _MAX_LAYERS)
    if not spans:
        return body
    pieces, at = [], 0
    for start, end in merged(spans):
        pieces += [body[at:start], mask]
        at = end
    return b"".join([*pieces, body[at:]])


def _layered(text: str, forms: list[str], layers: int) -> list[Span]:
    spans = [span for form in forms if form in text for span in _places(form, text)]
    escapes = (ANY, QUOTED_PRINTABLE, *(EACH if _SIGNS.search(forms[0]) else ()))
    for escape in escapes if layers else ():
        plain = unescaped(text, escape)
        if plain != text and (below := _layered(plain, forms, layers - 1)):
            spans += spans_before(text, below, escape)
    return spans


def merged(spans: list[Span]) -> list[Span]:
    """In order, without overlaps; those that touch are one.

    >>> merged([(5, 9), (0, 2), (2, 3), (6, 7)])
    [(0, 3), (5, 9)]
    """
    together: list[Span] = []
    for start, end in sorted(spans):
        if together and start <= together[-1][1]:
            together[-1] = (together[-1][0], max(end, together[-1][1]))
        else:
            together.append((start, end))
    return together


def _places(form: str, text: str) -> list[Span]:
    return [match.span() for match in re.finditer(re.escape(form), text)]
