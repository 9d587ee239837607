"""Numbers, durations, times and ranges as a person reads them. Pure."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import textwrap
from collections.abc import Iterable
from zoneinfo import ZoneInfo

TEXT_WIDTH = 78
_WHOLE_WORD_CHARS = 200
_OPTION = re.compile(r"\s*(?:-[\w-]+)?\s*")
_CUT = re.compile(r"… \[(\d+) characters\] …")


def plural(count: float, noun: str, of_one: str = "", of_many: str = "") -> str:
    """Count, noun in the form that goes with it, and its verb: ``of_one`` for one, ``of_many`` for any other number.

    >>> plural(1, "cause"), plural(1789, "day"), plural(0, "entity")
    ('1 cause', '1,789 days', '0 entities')
    >>> plural(1, "date", "is", "are"), plural(2, "branch", "was", "were")
    ('1 date is', '2 branches were')
    >>> plural(1.0, "hour"), plural(0.5, "hour"), plural(24.0, "hour")
    ('1 hour', '0.5 hours', '24 hours')
    """
    if count == 1:
        return f"1 {noun} {of_one}".rstrip()
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {_many(noun)} {of_many}".rstrip()


def _many(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"


def current(unit: str) -> str:
    """The day or month that it is.

    >>> current("day"), current("month")
    ('today', 'this month')
    """
    return "today" if unit == "day" else f"this {unit}"


def duration(seconds: float) -> str:
    """Two units at most.

    >>> duration(0.4), duration(75), duration(7260), duration(200_000)
    ('under a second', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    if seconds < 1:
        return "under a second"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 and whole < 600 else "")
    if whole < 172_800:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")
    return f"{whole // 86_400} d" + (f" {whole % 86_400 // 3600} h" if whole % 86_400 >= 3600 else "")


def about(seconds: float) -> str:
    """For estimates.

    >>> about(130), about(20), about(5000)
    ('about 2 minutes', 'under a minute', 'about 1 h 23 min')
    """
    if seconds < 50:
        return "under a minute"
    minutes = round(seconds / 60)
    return f"about {plural(minutes, 'minute')}" if minutes < 60 else f"about {duration(seconds)}"


def size(size_bytes: float) -> str:
    """Decimal units.

    >>> size(999), size(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def dollars(usd: float) -> str:
    """US dollars; what is below a dollar with the digits that say something.

    >>> dollars(0.0), dollars(1234.5), dollars(0.00351), dollars(0.00000351)
    ('0.00 USD', '1,234.50 USD', '0.0035 USD', 'under 0.0001 USD')
    """
    if 0 < usd < 0.0001:
        return "under 0.0001 USD"
    return f"{usd:.2g} USD" if 0 < usd < 0.1 else f"{usd:,.2f} USD"


def moment(when: dt.datetime | None, zone: str = "UTC") -> str:
    """UTC first, then the source's own clock.

    >>> moment(dt.datetime(2026, 1, 9, 1, 30, tzinfo=dt.UTC), "America/New_York")
    '2026-01-09 01:30 UTC (2026-01-08 20:30 New York)'
    """
    if when is None:
        return ""
    when = when.astimezone(dt.UTC)
    text = f"{when:%Y-%m-%d %H:%M} UTC"
    try:
        local = when.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        return text
    if local.utcoffset() == dt.timedelta(0):
        return text
    place = zone.rpartition("/")[2].replace("_", " ")
    same_day = local.date() == when.date()
    return f"{text} ({local:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} {place})"


def span(start: str, end: str) -> str:
    """A range of dates as one word; "" when nothing is known.

    >>> span("2021-01-01", "2021-12-31"), span("2021-01-01", "")
    ('2021-01-01…2021-12-31', '2021-01-01')
    """
    return f"{start}…{end}" if start and end and start != end else start or end


def cut_items(items: list[str], limit: int) -> str:
    """The first ``limit`` items, and how many follow.

    >>> cut_items(["a", "b", "c"], 2)
    'a, b … and 1 more'
    """
    if len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} … and {len(items) - limit:,} more"


def shorten(text: str, limit: int) -> str:
    """Cuts the middle out of a long text and says how much; head and tail carry the meaning.

    >>> shorten("a" * 50, 30)
    'aaaaa… [40 characters] …aaaaa'

    What was cut out before counts too:

    >>> shorten(shorten("a" * 1050, 50), 30)
    'aaaaa… [1040 characters] …aaaaa'
    """
    if len(text) <= limit:
        return text
    keep = max((limit - 20) // 2, 1)
    middle = text[keep:-keep]
    gone = len(middle)
    if before := _CUT.search(middle):
        gone += int(before[1]) - len(before[0])
    return f"{text[:keep]}… [{gone} characters] …{text[-keep:]}"


def wrap(text: str, indent: str = "", width: int = TEXT_WIDTH) -> str:
    """Wraps to ``width`` columns with ``indent`` before every line but the first.

    A word of up to 200 characters stays whole, because people copy job ids and object names; longer ones break.
    """
    lines: list[str] = []
    for paragraph in text.splitlines():
        is_long = any(len(word) > _WHOLE_WORD_CHARS for word in paragraph.split())
        lines += textwrap.wrap(paragraph, width - len(indent), break_on_hyphens=False, break_long_words=is_long)
    return f"\n{indent}".join(lines)


def command_lines(command: str, width: int = TEXT_WIDTH) -> str:
    """A shell command over several lines that still pastes as one.

    ``\\`` ends a line between words. Inside single quotes the string is closed after a comma and opened again at the
    very beginning of the next line, so that the argument holds no line break: Prefect refuses one.

    >>> print(command_lines("gapless retry -p source=nba -p 'dates=2021-03-04..2021-03-19,2021-05-01'", 40))
    gapless retry -p source=nba \\
      -p 'dates=2021-03-04..2021-03-19,'\\
    '2021-05-01'
    >>> print(command_lines("gapless retry-failed nba --run bf-20260110-1 --cause C2", 36))
    gapless retry-failed nba \\
      --run bf-20260110-1 --cause C2
    >>> print(command_lines("gapless run nba -p note='retry all-retryable of bf-0f3a5c1e7b1d' -p wait=1", 37))
    gapless run nba -p note='retry '\\
    'all-retryable of bf-0f3a5c1e7b1d' \\
      -p wait=1
    """
    lines: list[str] = []
    current, quoted = "", False
    for piece, ends_quoted in _pieces(command, width - 4):
        room = width - 2 if current else width
        # A blank inside of quotes is part of the argument.
        taken = len(piece) if ends_quoted else len(piece.rstrip(" "))
        if current and len(current) + taken > room:
            lines.append(f"{current}'\\" if quoted else f"{current.rstrip(' ')} \\")
            current = "'" if quoted else "  "
        current += piece
        quoted = ends_quoted
    return "\n".join([*lines, current.rstrip(" ")])


def _pieces(command: str, room: int) -> Iterable[tuple[str, bool]]:
    """Splits after blanks outside quotes (an option and its value stay together) and after commas inside single quotes.

    What is longer than ``room`` is split after blanks inside single quotes too: the reader's screen would break it
    anywhere, and leave a backslash on a line of its own. True with a piece that ends inside of quotes.
    """
    piece, quote, blanks = "", "", [0]
    for char in command:
        piece += char
        if char in "'\"":
            quote = "" if quote == char else quote or char
        if char == " " and quote == "'":
            blanks.append(len(piece))
        ends_word = char == " " and not quote and not _OPTION.fullmatch(piece)
        breaks = ends_word or (char == "," and quote == "'")
        if breaks:
            yield from _cut(piece, blanks, room, bool(quote))
            piece, blanks = "", [0]
    if piece:
        yield from _cut(piece, blanks, room, is_quoted=False)


def _cut(piece: str, blanks: list[int], room: int, is_quoted: bool) -> Iterable[tuple[str, bool]]:
    last = blanks[-1] if len(piece.rstrip(" ")) > room else 0
    if last:
        yield from ((piece[start:end], True) for start, end in itertools.pairwise(blanks))
    yield piece[last:], is_quoted
