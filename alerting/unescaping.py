"""Reads a text through its escapes, and finds in the escaped text what was found in the plain one. Pure.

Percent, HTML, JSON, Python and quoted-printable escapes are known; what is escaped twice is read twice.
"""

from __future__ import annotations

import bisect
import html
import re
from collections.abc import Sequence
from functools import lru_cache

Span = tuple[int, int]

# Each begins with a set of characters, and not with alternatives: so a search runs over a text that has none of them.
_PERCENT_REST = r"[0-9A-Fa-f]{2}(?:%[0-9A-Fa-f]{2})*+"
_ENTITY_REST = r"(?:\#\d{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});"
_BACKSLASH_REST = (
    r"(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}"
    r"|x[0-9A-Fa-f]{2}(?:\\x[0-9A-Fa-f]{2})*+|[\"'/\\nrtbf])"
)
ANY = re.compile(rf"[%&\\](?:(?<=%){_PERCENT_REST}|(?<=&){_ENTITY_REST}|(?<=\\){_BACKSLASH_REST})")
"""The escapes of addresses, HTML, JSON and Python."""
EACH = (re.compile("%" + _PERCENT_REST), re.compile("&" + _ENTITY_REST), re.compile(r"\\" + _BACKSLASH_REST))
QUOTED_PRINTABLE = re.compile(r"=(?:\r?\n|[0-9A-F]{2}(?:=[0-9A-F]{2})*+)")
_BEGIN_WITH = {
    ANY.pattern: "%&\\",
    QUOTED_PRINTABLE.pattern: "=",
    **{escape.pattern: sign for escape, sign in zip(EACH, "%&\\", strict=True)},
}
_SINGLE = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def unescaped(text: str, escape: re.Pattern[str] = ANY) -> str:
    """One layer of escapes less.

    >>> unescaped('%22a%22'), unescaped("&quot;a&#x22;"), unescaped(r'{\\"a\\": \\u0022b\\x22}')
    ('"a"', '"a"', '{"a": "b"}')
    >>> unescaped("1=3D1", QUOTED_PRINTABLE), [unescaped(r"%41&#66;\\x43", escape) for escape in EACH]
    ('1=1', ['A&#66;\\\\x43', '%41B\\\\x43', '%41&#66;C'])
    """
    # Most bodies have none of these, and are looked through for them in a fiftieth of the time.
    if not any(sign in text for sign in _BEGIN_WITH[escape.pattern]):
        return text
    return escape.sub(_plain, text)


def spans_before(text: str, spans: Sequence[Span], escape: re.Pattern[str] = ANY) -> list[Span]:
    """Where in ``text`` the spans of ``unescaped(text, escape)`` came from."""
    plain_starts, plain_ends, starts, ends = [0], [0], [0], [0]
    shift = 0
    for match in escape.finditer(text):
        at = match.start()
        for char, width in _units(match.group()):
            plain_starts.append(at - shift)
            starts.append(at)
            plain_ends.append(at - shift + len(char))
            at += width
            ends.append(at)
            shift += width - len(char)

    def start_of(place: int) -> int:
        unit = bisect.bisect_right(plain_starts, place) - 1
        return starts[unit] if place < plain_ends[unit] else ends[unit] + place - plain_ends[unit]

    def end_of(place: int) -> int:
        unit = bisect.bisect_right(plain_starts, place) - 1
        return ends[unit] if place < plain_ends[unit] else ends[unit] + place - plain_ends[unit] + 1

    return [(start_of(start), end_of(end - 1)) for start, end in spans]


def _plain(match: re.Match[str]) -> str:
    return "".join(char for char, _ in _units(match.group()))


@lru_cache(maxsize=4096)
def _units(escape: str) -> tuple[tuple[str, int], ...]:
    """The characters that an escape stands for, each with the number of characters it was written in."""
    first = escape[0]
    if first == "&":
        return ((html.unescape(escape), len(escape)),)
    if first == "=" and escape[1] in "\r\n":
        return (("", len(escape)),)
    if first == "\\" and escape[1] == "u":
        codes = bytes.fromhex(escape.replace("\\u", ""))
        return ((codes.decode("utf-16-be", "replace"), len(escape)),)
    if first == "\\" and escape[1] != "x":
        return ((_SINGLE.get(escape[1], escape[1]), 2),)
    width = 4 if first == "\\" else 3
    data = bytes(int(escape[at : at + 2], 16) for at in range(width - 2, len(escape), width))
    decoded = data.decode("utf-8", "surrogateescape")
    return tuple((_storable(char), width * len(char.encode("utf-8", "surrogateescape"))) for char in decoded)


def _storable(char: str) -> str:
    # A byte that is no UTF-8 is its own character, as in Latin-1.
    return chr(ord(char) - 0xDC00) if "\udc80" <= char <= "\udcff" else char
