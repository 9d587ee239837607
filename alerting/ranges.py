"""Partition keys as short ranges that people read and commands parse back, without losing or adding one. Pure.

Grammar: items separated by commas; an item is a key, or ``first…last`` (``first..last`` in commands) of days
(``2021-03-04``) or months (``2021-03``), both inclusive; ``entity@`` in front belongs to both ends. A remark in
parentheses is skipped. What would collide with the grammar inside a key is percent-encoded.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterable, Iterator

_DAY = re.compile(r"(?:(.+)@)?(\d{4}-\d{2}-\d{2})", re.DOTALL)
_MONTH = re.compile(r"(?:(.+)@)?(\d{4}-\d{2})", re.DOTALL)
_RANGE = re.compile(r"(?:(.+)@)?(\d{4}-\d{2}(?:-\d{2})?)(?:…|\.\.)(\d{4}-\d{2}(?:-\d{2})?)", re.DOTALL)
_UNSAFE = re.compile(r"[%,…()'\"\\$`!\s\x00-\x1f\x7f-\x9f]|\.(?=\.)")
_ESCAPE = re.compile(r"(?:%[0-9A-F]{2})+")
_REMARK = re.compile(r"\([^()]*\)")


def compress_dates(keys: Iterable[str], *, join: str = "…", counts: bool = False) -> str:
    """Days and months become inclusive ranges, oldest first within an entity; other keys stay as they are.

    Args:
        keys: Partition keys in any order; repeats and empty strings are dropped.
        join: ``…`` for people, ``..`` for command lines (pure ASCII).
        counts: Adds ``(16 days)`` behind every range; ``expand_dates`` skips it.

    >>> compress_dates(["2021-03-05", "2021-03-04", "2021-03-06", "2021-04-01"])
    '2021-03-04…2021-03-06, 2021-04-01'
    >>> compress_dates(["lakers@2021-03-04", "lakers@2021-03-05"], join="..")
    'lakers@2021-03-04..2021-03-05'
    >>> compress_dates(["2020-12", "2021-01"], counts=True)
    '2020-12…2021-01 (2 months)'
    """
    return ", ".join(compressed_items(keys, join=join, counts=counts))


def compressed_items(keys: Iterable[str], *, join: str = "…", counts: bool = False) -> list[str]:
    """The items of ``compress_dates`` as a list."""
    runs: dict[tuple[str, str], list[int]] = {}
    plain: set[str] = set()
    for key in keys:
        if not key:
            continue
        place = _place(key)
        if place is None:
            plain.add(key)
        else:
            runs.setdefault(place[:2], []).append(place[2])
    items = []
    for (entity, unit), positions in sorted(runs.items()):
        prefix = f"{_quote(entity)}@" if entity else ""
        for first, last in _consecutive(sorted(set(positions))):
            items.append(prefix + _span(unit, first, last, join, counts))
    return items + [_quote(key) for key in sorted(plain)]


def expand_dates(text: str) -> list[str]:
    """The exact keys behind ``compress_dates``; accepts both range marks, spaces, line breaks and remarks.

    Raises ``ValueError`` for a range that ends before it begins or names a day that does not exist.

    >>> expand_dates("2021-02-27…2021-03-01 (3 days), lakers@2021-03-04")
    ['2021-02-27', '2021-02-28', '2021-03-01', 'lakers@2021-03-04']
    """
    keys: list[str] = []
    for piece in _REMARK.sub("", text).split(","):
        item = re.sub(r"\s+", "", piece)
        if item:
            keys.extend(_expand_item(item))
    return keys


def unit_name(keys: Iterable[str], count: int | None = None) -> str:
    """``day``, ``month`` or ``partition`` (with an s unless ``count`` is 1) for keys of one kind.

    >>> unit_name(["2021-03"], 2), unit_name(["2021-03-04"], 1), unit_name(["abc"], 3)
    ('months', 'day', 'partitions')
    """
    units = set()
    for key in keys:
        place = _place(key)
        units.add(place[1] if place and not place[0] else "partition")
        if len(units) > 1:
            break
    name = units.pop() if len(units) == 1 else "partition"
    return name if count == 1 else f"{name}s"


def date_of(key: str) -> str:
    """The ISO date or month inside a partition key, or an empty string.

    >>> date_of("lakers@2021-03-04"), date_of("abc")
    ('2021-03-04', '')
    """
    match = _DAY.fullmatch(key) or _MONTH.fullmatch(key)
    return match[2] if match and _place(key) else ""


@functools.lru_cache(maxsize=32_768)
def _place(key: str) -> tuple[str, str, int] | None:
    """Entity, unit, and the position on the unit's own line of integers; None for a key without a date."""
    if match := _DAY.fullmatch(key):
        try:
            return match[1] or "", "day", dt.date.fromisoformat(match[2]).toordinal()
        except ValueError:
            return None
    if match := _MONTH.fullmatch(key):
        year, month = map(int, match[2].split("-"))
        return (match[1] or "", "month", year * 12 + month - 1) if year and 1 <= month <= 12 else None
    return None


def _text(unit: str, position: int) -> str:
    if unit == "day":
        return dt.date.fromordinal(position).isoformat()
    return f"{position // 12:04d}-{position % 12 + 1:02d}"


def _consecutive(positions: list[int]) -> Iterator[tuple[int, int]]:
    first = last = positions[0]
    for position in positions[1:]:
        if position != last + 1:
            yield first, last
            first = position
        last = position
    yield first, last


def _span(unit: str, first: int, last: int, join: str, counts: bool) -> str:
    if first == last:
        return _text(unit, first)
    remark = f" ({last - first + 1:,} {unit}s)".replace(",", " ") if counts else ""
    return f"{_text(unit, first)}{join}{_text(unit, last)}{remark}"


def _expand_item(item: str) -> Iterator[str]:
    match = _RANGE.fullmatch(item)
    if match is None:
        yield _unquote(item)
        return
    entity, first_text, last_text = match.groups()
    first, last = _place(first_text), _place(last_text)
    if first is None or last is None or first[1] != last[1] or first[2] > last[2]:
        raise ValueError(f"not a range of days or months: {item!r}")
    prefix = f"{_unquote(entity)}@" if entity else ""
    for position in range(first[2], last[2] + 1):
        yield prefix + _text(first[1], position)


def _quote(text: str) -> str:
    return _UNSAFE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")), text
    )


def _unquote(text: str) -> str:
    try:
        return _ESCAPE.sub(
            lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogatepass"), text
        )
    except UnicodeDecodeError:
        raise ValueError(f"{text[:60]!r} has an escape in it that stands for no character") from None
