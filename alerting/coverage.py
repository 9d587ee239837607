"""The coverage calendar: which days are there and which are not, at one look. Pure.

Up to six years of days are drawn as a row per month and a cell per day; more years, and partitions of a month, as a
row per year and a cell per month.
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from alerting.ranges import date_of

MAX_DAY_YEARS = 6
DAY_COLUMNS = 31


@dataclass(frozen=True, slots=True)
class Look:
    """One class of verdicts: ``letter`` and ``colour`` say the same; a capital needs attention."""

    label: str
    letter: str
    colour: str
    verdicts: tuple[str, ...]
    needs_attention: bool = False

    @property
    def glyph(self) -> str:
        """What stands in a cell of a mail: only what needs attention is lettered."""
        return self.letter if self.needs_attention else ""


# Worst first. A plan knows no rests and no doubts, only the calendar of a source does.
LOOKS = (
    Look("failed", "F", "#b3261e", ("failed_permanent", "failed_retryable", "failed"), needs_attention=True),
    Look("blocked", "B", "#8e24aa", ("blocked",), needs_attention=True),
    Look(
        "incomplete",
        "I",
        "#e0962a",
        ("partial", "truncated", "shrunk", "landed", "loaded", "running", "unreadable"),
        needs_attention=True,
    ),
    Look("waits for approval", "A", "#1a6fb0", ("staged",), needs_attention=True),
    Look("not attempted", "N", "#6e7781", ("planned", "paused"), needs_attention=True),
    Look("empty for too long", "D", "#c2185b", ("doubted",), needs_attention=True),
    Look("proven empty", "e", "#a8dcb5", ("empty_ok",)),
    Look("rest", "r", "#d6eadb", ("rest",)),
    Look("not at source", "u", "#afb8c1", ("unavailable",)),
    Look("before the first date", "p", "#d8dee4", ("before_first",)),
    Look("verified", "v", "#2f9e58", ("verified",)),
)
_LOOK_OF = {verdict: look for look in LOOKS for verdict in look.verdicts}
_RANK = {look.label: rank for rank, look in enumerate(LOOKS)}


@dataclass(frozen=True, slots=True)
class Run:
    """``length`` neighbouring cells of one look; None is a cell outside the plan."""

    length: int
    look: Look | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A month (or a year); ``complete`` when nothing needs attention, ``uniform`` when every cell looks the same."""

    label: str
    runs: tuple[Run, ...]
    complete: bool
    uniform: Look | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A year of months, or all years."""

    title: str
    rows: tuple[Row, ...]
    columns: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Blocks to draw and the legend of the looks that occur, with their number of partitions."""

    blocks: tuple[Block, ...] = ()
    legend: tuple[tuple[Look, int], ...] = ()


def look_of(verdict: str) -> Look:
    """Unknown verdicts look incomplete."""
    return _LOOK_OF.get(verdict, LOOKS[2])


def build_coverage(verdicts: Mapping[str, str], most_day_years: int = MAX_DAY_YEARS) -> Coverage:
    """From partition key -> verdict. Entities of one date share a cell, which shows the worst of them.

    More years than ``most_day_years`` are drawn by month.
    """
    counts = Counter(look_of(verdict).label for verdict in verdicts.values())
    legend = tuple((look, counts[look.label]) for look in LOOKS if counts[look.label])
    dated: dict[str, Look] = {}
    for key, verdict in verdicts.items():
        date = date_of(key)
        if date:
            dated[date] = min(dated.get(date, LOOKS[-1]), look_of(verdict), key=lambda look: _RANK[look.label])
    years = sorted({date[:4] for date in dated})
    by_day = any(len(date) == 10 for date in dated)
    if not dated:
        return Coverage((), legend)
    if by_day and len(years) <= most_day_years:
        months = {date[:7] for date in dated}
        return Coverage(tuple(_year_of_days(year, months, dated) for year in years), legend)
    return Coverage((_years_of_months(years, dated),), legend)


def _year_of_days(year: str, months: Container[str], dated: Mapping[str, Look]) -> Block:
    rows = []
    for month in range(1, 13):
        if (name := f"{year}-{month:02d}") not in months:
            continue
        days = calendar.monthrange(int(year), month)[1]
        cells = [dated.get(f"{name}-{day:02d}") for day in range(1, days + 1)]
        if any(cells):
            runs = tuple(_runs(cells))
            rows.append(
                Row(calendar.month_abbr[month], runs, _complete(cells), runs[0].look if len(runs) == 1 else None)
            )
    return Block(year, tuple(rows), DAY_COLUMNS)


def _years_of_months(years: list[str], dated: Mapping[str, Look]) -> Block:
    months: dict[str, list[Look]] = {}
    for date, look in dated.items():
        months.setdefault(date[:7], []).append(look)
    rows = []
    for year in years:
        cells: list[Look | None] = []
        texts = []
        for month in range(1, 13):
            looks = months.get(f"{year}-{month:02d}", [])
            bad = sum(look.needs_attention for look in looks)
            cells.append(min(looks, key=lambda look: _RANK[look.label]) if looks else None)
            texts.append(str(bad) if bad and len(looks) > 1 else "")
        runs = tuple(Run(1, cell, text) for cell, text in zip(cells, texts, strict=True))
        rows.append(Row(year, runs, _complete(cells)))
    return Block("", tuple(rows), 12)


def _in_one_row(block: Block) -> Row | None:
    """A whole year of one look, or one in which nothing needs attention, as one bar; None for any other year."""
    if len(block.rows) < 12:
        return None
    looks = {run.look.label: run.look for row in block.rows for run in row.runs if run.look}
    if len(looks) == 1 and all(row.uniform for row in block.rows):
        (only,) = looks.values()
        return Row(block.title, (Run(block.columns, only, only.glyph),), not only.needs_attention, only)
    if all(row.complete for row in block.rows):
        best = LOOKS[-1] if LOOKS[-1].label in looks else next(iter(looks.values()))
        return Row(block.title, (Run(block.columns, best),), True)
    return None


def shortened(coverage: Coverage) -> Coverage:
    """For the page: years that need no row per month take one row each, neighbours in one table."""
    blocks: list[Block] = []
    for block in coverage.blocks:
        row = _in_one_row(block) if block.columns == DAY_COLUMNS else None
        if row is None:
            blocks.append(block)
        elif blocks and not blocks[-1].title:
            blocks[-1] = Block("", (*blocks[-1].rows, row), block.columns)
        else:
            blocks.append(Block("", (row,), block.columns))
    return Coverage(tuple(blocks), coverage.legend)


def _complete(cells: list[Look | None]) -> bool:
    return all(cell is None or not cell.needs_attention for cell in cells)


def _runs(cells: list[Look | None]) -> Iterator[Run]:
    for look, members in groupby(cells):
        yield Run(len(list(members)), look, look.glyph if look else "")


def coverage_text(coverage: Coverage) -> list[str]:
    """The same picture in text: months with holes are drawn, those of one look are named."""
    lines: list[str] = []
    for block in coverage.blocks:
        if block.columns == 12:
            lines += ["       J F M A M J J A S O N D"]
            lines += [f"  {row.label} " + " ".join(_mark(run) for run in row.runs) for row in block.rows]
            continue
        shown = [row for row in block.rows if not row.complete and not row.uniform]
        if shown:
            lines.append(f"  {block.title} 1........10........20........30.")
            lines += [f"  {row.label}  {''.join(_mark(run) * run.length for run in row.runs)}" for row in shown]
        for look in LOOKS:
            if alike := [row.label for row in block.rows if not row.complete and row.uniform is look]:
                lines.append(f"  {block.title} {look.label}: {_month_list(alike)}")
        if whole := [row.label for row in block.rows if row.complete]:
            lines.append(f"  {block.title} complete: {_month_list(whole)}")
    if coverage.legend:
        lines.append("  " + "   ".join(f"{look.letter} {look.label} {count:,}" for look, count in coverage.legend))
    return lines


def _mark(run: Run) -> str:
    return run.look.letter if run.look else " "


def _month_list(labels: list[str]) -> str:
    order = list(calendar.month_abbr)
    groups: list[list[str]] = []
    for label in labels:
        if groups and order.index(groups[-1][-1]) + 1 == order.index(label):
            groups[-1].append(label)
        else:
            groups.append([label])
    return ", ".join(group[0] if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups)
