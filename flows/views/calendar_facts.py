"""What the pointer is shown of a square of the calendar, each text once in the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby

from markupsafe import Markup

from alerting.redaction import printable
from flows.truth.whole_history import Cell

MOST_FACTS_BYTES = 150_000
"""Facts for the pointer beyond this are left out, oldest years first: the page of one source has them."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Facts:
    """Attempts, run and reason of every cell: runs of equal cells, numbers in base 36, texts once a page."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.notes: list[str] = []
        self._at: dict[tuple[str, str], int] = {}
        self._size_bytes = 0

    def of(self, cells: Iterable[Cell | None]) -> str:
        """``length``, or ``length:attempts:run:note``, for each run of equal cells."""
        if self._size_bytes > MOST_FACTS_BYTES:
            return ""
        told = []
        for said, members in groupby(map(self._said, cells)):
            length = _base36(sum(1 for _ in members))
            told.append(f"{length}:{said}" if said else length)
        text = " ".join(told)
        self._size_bytes += len(text)
        return text

    def _said(self, cell: Cell | None) -> str:
        if cell is None or not (cell.backfill_id or cell.why):
            return ""
        run, note = self._number(self.runs, cell.backfill_id), self._number(self.notes, cell.why)
        return f"{_base36(cell.attempts)}:{run}:{note}"

    def _number(self, texts: list[str], text: str) -> str:
        if not text:
            return ""
        key = ("run" if texts is self.runs else "note", text)
        if key not in self._at:
            self._at[key] = len(texts)
            kept = printable(text[:160])
            texts.append(kept)
            self._size_bytes += len(kept) + 3
        return _base36(self._at[key])


def _base36(number: int) -> str:
    """As JavaScript's ``parseInt(text, 36)`` reads it.

    >>> _base36(0), _base36(35), _base36(36)
    ('0', 'z', '10')
    """
    text = _DIGITS[number % 36]
    while number := number // 36:
        text = _DIGITS[number % 36] + text
    return text


def as_json(data: Mapping[str, object]) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704 - holds no mark of HTML any more
