"""Reads a CSV body as RFC 4180 has it: UTF-8 (or UTF-16 with its mark), commas, double quotes, a header. Pure.

The bytes are never repaired: what can be read in one way only is read, all else is refused for what it is.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator

from alerting.errors import SourceContractError, SourceUnavailable
from scrapers.excerpts import excerpt, is_blank


def parsed_csv(body: bytes, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a file, by column.

    Columns are found by name: they may come in any order, and more of them may come. Raises ``SourceUnavailable`` for a
    body that is empty, ends within a row or a quoted cell, or goes on as something else: a retry may get the whole one.
    ``SourceContractError`` for another header, a row of another length, a quoted cell with something behind its quotes,
    and what is no UTF-8.
    """
    if is_blank(body):
        raise SourceUnavailable("the response came with an empty body", cut_body=True)
    header, *rows = _cells(body)
    lost = [name for name in columns if name not in header]
    if lost or len(set(header)) != len(header):
        what = f"has no column {lost[0]!r}" if lost else "has a column twice"
        raise SourceContractError(f"the header of the CSV {what}", body=excerpt(body))
    found = list[dict[str, str]]()
    for number, cells in enumerate(rows, 2):
        if len(cells) != len(header):
            if len(cells) < len(header) and number == len(rows) + 1 and not body.endswith(b"\n"):
                raise _cut(body)
            if found and len(cells) < len(header) and not any(len(row) == len(header) for row in rows[number - 1 :]):
                # A server that fails while it sends goes on with its error, or its error page.
                told = f"the CSV breaks off after row {number - 1:,} and goes on as something else"
                raise SourceUnavailable(
                    f"{told}; nothing of it was taken",
                    cut_body=True,
                    body=excerpt("\n".join(cells).encode("utf-8", "replace")),
                )
            told = f"row {number} of the CSV has {len(cells)} cells, the header {len(header)}"
            raise SourceContractError(told, body=excerpt(body))
        if (len(header) > 1 and cells == header) or cells[0].startswith("\ufeff"):
            raise SourceContractError(f"in row {number} of the CSV another file begins", body=excerpt(body))
        found.append(dict(zip(header, cells, strict=True)))
    return found


def landed_csv(body: bytes) -> list[dict[str, str]]:
    """The rows of a body that ``parsed_csv`` has read before it was landed."""
    return parsed_csv(body, ())


def _cells(body: bytes) -> Iterator[list[str]]:
    encoding = "utf-16" if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        if error.end >= len(body):
            raise _cut(body) from None
        where = f"in line {body.count(10, 0, error.start) + 1}, where {error.object[error.start]:#04x} stands"
        raise SourceContractError(
            f"the CSV is no {encoding.removesuffix('-sig').upper()} {where}",
            hint="name what it is by the charset of this scraper, as cp1252",
        ) from None
    before, zero, _ = text.partition("\0")
    if zero:
        # What was never written of a file is zeros.
        where = f"in line {before.count(chr(10)) + 1}"
        raise SourceUnavailable(
            f"the CSV has a hole of zeros {where}; nothing of it was taken",
            cut_body=True,
            body=excerpt(body),
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from (cells for cells in reader if cells)
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise _cut(body) from None
        why = f"{error} in line {reader.line_num}"
        raise SourceContractError("the body is not CSV", reason=why, body=excerpt(body)) from None


def _cut(body: bytes) -> SourceUnavailable:
    return SourceUnavailable(
        f"the CSV ends too early, after {len(body):,} bytes; nothing of it was taken", cut_body=True, body=excerpt(body)
    )
