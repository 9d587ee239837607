"""The whole history of sources as one page of HTML: no request to anywhere, no script but its own.

A year of days is a table of twelve lines and 31 columns, one letter a day; a source of months or of several entities
has a line a year and a letter a month; whole entities have a letter each. Letters of one look lie in one element, so
that ten years of eight sources stay below 300 kB. What a day was made of (attempts, run) is a list of runs of equal
days, from which the page's script tells about the cell under the pointer, with links and the next command.
"""

from __future__ import annotations

import base64
import calendar
import dataclasses
import datetime as dt
import hashlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from alerting.coverage import LOOKS, Look, look_of
from alerting.ranges import compressed_items, expand_dates
from alerting.redaction import printable
from alerting.wording import cut_items
from flows.truth.inventory import first_date_of
from flows.truth.whole_history import UNREADABLE, Attention, Cell, History
from flows.views.calendar_facts import Facts, as_json
from scrapers.partition import VARIANT_MARK

_SHOWN_GROUPS, _SHOWN_WORDS = 12, 12
_ACCEPT = "--accept-shrink --reason WHY"
_TEMPLATES = Path(__file__).parent / "templates"
_CONSOLE = "https://console.cloud.google.com/storage/browser/"
# One byte beside the letter itself for what most cells are.
_TAGS = {"v": "b", "e": "i", "r": "u"}
_RANK = {look.letter: rank for rank, look in enumerate(LOOKS)}


@dataclasses.dataclass(frozen=True, slots=True)
class Links:
    """Where a page leads: ``above`` it, to the page of a partition (``details`` begins its path), to the bucket
    (``objects`` is what a browser opens in place of ``gs://bucket``). "" where there is none."""

    objects: str = ""
    details: str = ""
    above: str = ""

    @classmethod
    def of_bucket(cls, root_uri: str) -> Links:
        """The storage browser of Google's console."""
        return cls(objects=f"{_CONSOLE}{quote(root_uri.removeprefix('gs://'))}")


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """Lines of letters; ``label_width`` columns of each are its name. ``facts`` is for the page's script.

    ``kind``: a letter is a ``day``, a ``month``, several ``days`` of a month, or a ``whole`` entity.
    """

    lines: Markup
    kind: str
    columns: int
    label_width: int
    year: str = ""
    entity: str = ""
    variants: str = ""
    facts: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Year:
    """One year of days: folded it is a letter a month, unfolded a letter a day."""

    grid: Grid
    months: Markup
    told: str
    is_open: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """What a person may do, as a command; ``when`` it is right, "" for the only way."""

    command: str
    when: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A line below a calendar: what needs attention, for which reason, and the ways out."""

    look: Look
    count: int
    why: str
    ranges: str
    ways: tuple[Way, ...]
    run: str


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """One source."""

    name: str
    title: str
    headline: str
    missing: int
    years: tuple[Year, ...]
    grids: tuple[Grid, ...]
    groups: tuple[Group, ...]
    more: int


def calendar_page(histories: Sequence[History], links: Links, now: dt.datetime) -> str:
    """The page, without a secret; ``now`` is aware."""
    facts = Facts()
    sections = [_section(history, facts, is_alone=len(histories) == 1) for history in histories]
    known = {label for history in histories for label in history.counts}
    page: str = (
        templates()
        .get_template("calendar.html.j2")
        .render(
            sections=sections,
            looks=[look for look in LOOKS if look.label in known],
            tags=_TAGS,
            links=links,
            facts=as_json({"runs": facts.runs, "notes": facts.notes, "links": dataclasses.asdict(links)}),
            script=Markup(script()),  # noqa: S704 - our own file
            policy=policy(),
            now=f"{now.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC",
        )
    )
    return page


@cache
def script() -> str:
    """The page's own script."""
    return (_TEMPLATES / "calendar.js").read_text(encoding="utf-8")


@cache
def policy() -> str:
    """A Content-Security-Policy that lets nothing run but the page's own script."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; form-action 'none'; "
        "base-uri 'none'"
    )


@cache
def templates() -> Environment:
    """The pages of this folder; everything in them is escaped."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def ways_for(source: str, state: str, keys: Sequence[str]) -> tuple[Way, ...]:
    """What a person may do about partitions in that state; none where nothing is to be done."""
    if not look_of(state).needs_attention:
        return ()
    if state == "shrunk":
        again, accept = (_run_command(source, keys, how) for how in ("--reason gap_repair", _ACCEPT))
        return Way(again, "If the source is wrong"), Way(accept, "If it is right; else leave it, the old rows stay")
    return (Way(_command_for(source, state, keys)),)


def _command_for(source: str, state: str, keys: Sequence[str]) -> str:
    if state == "staged":
        return f"gapless reviews --source {source}"
    if state == UNREADABLE:
        return f"gapless reconcile {source} --apply"
    if state.startswith("failed"):
        return f"gapless retry-failed {source} --reason errors"
    if any(first_date_of(key) is None for key in keys):
        return _run_command(source, keys, "--reason gap_repair")
    if state == "doubted":
        # A run takes a proven empty date for done.
        dates = sorted(key.rpartition("@")[2] for key in expand_dates(", ".join(_items(keys))))
        return f"gapless repair {source} {_first(dates[0])} {_last(dates[-1])} --reason gap_repair"
    if any("@" in key for key in keys):
        return f"gapless repair {source} --reason gap_repair"
    return _run_command(source, keys, "--reason gap_repair")


def _run_command(source: str, keys: Sequence[str], how: str) -> str:
    """Only what its line is about: dates between them may be nobody's, or in this state for another reason."""
    whole = [key for key in keys if first_date_of(key) is None]
    if whole:
        return f"gapless run {source} --entities {shlex.quote(','.join(sorted(whole)[:_SHOWN_WORDS]))} {how}"
    items = _items(keys)
    dates = sorted(key.rpartition("@")[2] for key in expand_dates(", ".join(items)))
    listed = f" --dates {shlex.quote(','.join(items))}" if len(items) > 1 or "@" in items[0] else ""
    return f"gapless run {source} {_first(dates[0])} {_last(dates[-1])}{listed} {how}"


def _items(keys: Sequence[str]) -> list[str]:
    return compressed_items(keys, join="..")[:_SHOWN_WORDS]


def _first(key: str) -> str:
    return key if len(key) == 10 else f"{key}-01"


def _last(key: str) -> str:
    if len(key) == 10:
        return key
    return f"{key}-{calendar.monthrange(int(key[:4]), int(key[5:7]))[1]}"


# -- sections ---------------------------------------------------------------------------------------------------


def _section(history: History, facts: Facts, *, is_alone: bool) -> Section:
    by_entity = history.by_entity
    years: list[Year] = []
    grids: list[Grid] = []
    if history.step == "whole":
        grids = [_whole_grid(history.cells, facts)] if history.cells else []
    elif history.step == "day" and len(by_entity) <= 1:
        years = list(_years(history.cells, facts, is_alone=is_alone))
    else:
        kind = "month" if history.step == "month" else "days"
        grids = [_month_grid(entity, cells, facts, kind) for entity, cells in by_entity.items()]
    attention = history.attention()
    return Section(
        history.source,
        printable(history.title),
        history.headline,
        history.missing,
        tuple(years),
        tuple(grids),
        tuple(_group(history.source, one) for one in attention[:_SHOWN_GROUPS]),
        max(0, len(attention) - _SHOWN_GROUPS),
    )


def _group(source: str, one: Attention) -> Group:
    keys = [cell.partition.key for cell in one.cells]
    ranges = cut_items(one.ranges.split(", "), _SHOWN_WORDS)
    why = printable(one.why or one.state)
    ways = tuple(Way(printable(way.command), way.when) for way in ways_for(source, one.state, keys))
    return Group(look_of(one.state), len(keys), why, printable(ranges), ways, printable(one.last_run))


def _years(cells: Sequence[Cell], facts: Facts, *, is_alone: bool) -> Iterator[Year]:
    """Newest first, because what is asked about most is recent."""
    by_year = [(year, list(members)) for year, members in groupby(cells, lambda cell: cell.partition.start.year)]
    for year, members in reversed(by_year):
        at = {cell.partition.start: cell for cell in members}
        lines, all_days, telling = [], list[Cell | None](), list[Cell | None]()
        for month in range(1, 13):
            length = calendar.monthrange(year, month)[1]
            days = [at.get(dt.date(year, month, day)) for day in range(1, length + 1)]
            lines.append(Markup("{} {}").format(calendar.month_abbr[month], _marked(_letters(days))))
            telling.append(_telling(day for day in days if day))
            all_days += days
        bad = sum(cell.needs_attention for cell in members)
        told = f"{len(members) - bad:,} of {len(members):,}"
        grid = Grid(Markup("\n").join(lines), "day", 31, 4, year=str(year), facts=facts.of(all_days))
        yield Year(grid, _marked(_letters(telling)), told, is_open=is_alone or bad > 0)


def _month_grid(entity: str, cells: Sequence[Cell], facts: Facts, kind: str) -> Grid:
    """A line a year and a letter a month: of its days the one that tells most, where the source has days."""
    months = {
        month: list(members) for month, members in groupby(cells, lambda cell: cell.partition.start.replace(day=1))
    }
    lines, all_months = [], list[Cell | None]()
    for year in range(cells[-1].partition.start.year, cells[0].partition.start.year - 1, -1):
        found = [_telling(months.get(dt.date(year, month, 1), ())) for month in range(1, 13)]
        lines.append(Markup("{} {}").format(year, _marked(_letters(found))))
        all_months += found
    return Grid(Markup("\n").join(lines), kind, 12, 5, entity=printable(entity), facts=facts.of(all_months))


def _whole_grid(cells: Sequence[Cell], facts: Facts) -> Grid:
    """A line an entity, a letter for each of its variants, the name behind them."""
    variants = sorted({cell.partition.entity_and_variant[1] for cell in cells})
    by_name: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        name, variant = cell.partition.entity_and_variant
        by_name.setdefault(name, {})[variant] = cell
    lines, in_order = [], list[Cell | None]()
    for name, members in by_name.items():
        row = [members.get(variant) for variant in variants]
        lines.append(Markup("{} {}").format(_marked(_letters(row)), printable(name)))
        in_order += row
    told = ",".join(f"{VARIANT_MARK}{variant}" if variant else "" for variant in variants)
    return Grid(Markup("\n").join(lines), "whole", len(variants), 0, variants=told, facts=facts.of(in_order))


# -- letters ----------------------------------------------------------------------------------------------------


def _letters(cells: Iterable[Cell | None]) -> str:
    return "".join(look_of(cell.state).letter if cell else " " for cell in cells)


def _telling(cells: Iterable[Cell]) -> Cell | None:
    """The cell that stands for all: the worst where one needs attention, else one of the most frequent look."""
    by_letter = _grouped(cells)
    if not by_letter:
        return None
    worst = min(by_letter, key=lambda letter: _RANK[letter])
    if worst.islower():
        worst = max(by_letter, key=lambda letter: len(by_letter[letter]))
    return by_letter[worst][0]


def _grouped(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(look_of(cell.state).letter, []).append(cell)
    return found


def _marked(letters: str) -> Markup:
    """Letters of one look in one element.

    >>> _marked("vvFv  e")
    Markup('<b>vv</b><b class=F>F</b><b>v</b>  <i>e</i>')
    """
    parts = []
    for letter, members in groupby(letters):
        text = "".join(members)
        tag = _TAGS.get(letter)
        if letter == " ":
            parts.append(text)
        else:
            parts.append(f"<{tag}>{text}</{tag}>" if tag else f"<b class={letter}>{text}</b>")
    return Markup("".join(parts))  # noqa: S704 - made of the letters of the looks
