"""Every partition of a source since its first known date, each with one state: what the calendar draws.

Read from the ledger's listing, never by partition: about four calls for ten years of days, and one listing of all
stored plans for all sources together. Nothing is counted in BigQuery; that is the audit's part.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from alerting.coverage import look_of
from alerting.errors import StateUnreadable
from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.ledger.entry import LedgerEntry, Verdict
from flows.ledger.rests import long_rests
from flows.planning.known_first_date import known_scraper
from flows.planning.plan import BEFORE_FIRST, unless_askable_again, why_unaskable
from flows.planning.stored_plan import planned_by_source
from flows.truth.inventory import first_date_of, last_dates, whole_partitions
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.partition import Partition, Step, partitions_between
from scrapers.threads import threads

BEFORE, REST, DOUBTED, UNREADABLE = "before_first", "rest", "doubted", "unreadable"
"""States beside the verdicts: before the source's first date; rightly empty outside of its season; empty for longer
than the source ever rests; with a ledger object that cannot be read."""
NEVER_ASKED = "never requested"
_NOT_AT_SOURCE = (BEFORE, Verdict.UNAVAILABLE.value)
_SOURCES_AT_ONCE = 8
_DAILY = "daily-"


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One partition. ``state`` is its verdict, or one of the states above; ``planned`` too where somebody asked for it
    and the ledger knows nothing of it. ``why`` is one line, "" for what is well."""

    partition: Partition
    state: str
    why: str = ""
    attempts: int = 0
    backfill_id: str = ""
    updated_at: dt.datetime | None = None

    @property
    def needs_attention(self) -> bool:
        """Whether something is missing here, or doubted."""
        return look_of(self.state).needs_attention


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """One source. ``cells`` lie by entity and date; what nobody asked for, and what is not settled, has none.

    ``unreadable`` has a line for each object that could not be read, with the command that mends it.
    """

    source: str
    title: str
    step: Step
    cells: tuple[Cell, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def by_entity(self) -> dict[str, list[Cell]]:
        """Cells of each entity; "" where the source has none."""
        found: defaultdict[str, list[Cell]] = defaultdict(list)
        for cell in self.cells:
            found["" if self.step == "whole" else cell.partition.entity].append(cell)
        return dict(found)

    @property
    def states(self) -> dict[str, str]:
        """Partition key -> state."""
        return {cell.partition.key: cell.state for cell in self.cells}

    @property
    def counts(self) -> Counter[str]:
        """Cells by the label of their look."""
        return Counter(look_of(cell.state).label for cell in self.cells)

    @property
    def missing(self) -> int:
        """How many cells need attention."""
        return sum(cell.needs_attention for cell in self.cells)

    @property
    def headline(self) -> str:
        """The whole history in one line.

        >>> History("nba", "", "day", ()).headline
        'nothing is known yet'
        """
        lost = f"; {plural(len(self.unreadable), 'object')} cannot be read" if self.unreadable else ""
        if not self.cells:
            return f"nothing is known{lost or ' yet'}"
        keys = [cell.partition.key.rpartition("@")[2] for cell in self.cells]
        span = "" if self.step == "whole" else f", {min(keys)} to {max(keys)}"
        good = len(self.cells) - self.missing
        none = sum(cell.state in _NOT_AT_SOURCE for cell in self.cells)
        gone = f", {none:,} of them not at the source" if none else ""
        return f"{good:,} of {plural(len(self.cells), 'partition')} done{gone}{span}{lost}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``states`` as inclusive ranges."""
        by_state: defaultdict[str, list[str]] = defaultdict(list)
        for key, state in self.states.items():
            by_state[state].append(key)
        return {
            "source": self.source,
            "headline": self.headline,
            "partitions": len(self.cells),
            "need_attention": self.missing,
            "states": {state: compress_dates(keys) for state, keys in sorted(by_state.items())},
            "unreadable": list(self.unreadable),
        }

    def attention(self) -> list[Attention]:
        """What needs attention, grouped by state and reason, the largest group first."""
        grouped: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
        for cell in self.cells:
            if cell.needs_attention:
                grouped[cell.state, cell.why].append(cell)
        return [
            Attention(state, why, tuple(cells))
            for (state, why), cells in sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0]))
        ]


@dataclasses.dataclass(frozen=True, slots=True)
class Attention:
    """Partitions in one state for one reason."""

    state: str
    why: str
    cells: tuple[Cell, ...]

    @property
    def ranges(self) -> str:
        """Their keys, as people read them."""
        return compress_dates(cell.partition.key for cell in self.cells)

    @property
    def last_run(self) -> str:
        """The run that touched them last, "" when none did."""
        known = [(cell.updated_at, cell.backfill_id) for cell in self.cells if cell.backfill_id and cell.updated_at]
        return max(known)[1] if known else ""


def read_histories(services: Services, sources: Sequence[str], now: dt.datetime) -> list[History]:
    """The history of each source, in their order.

    Raises ``ConfigurationError`` for an unknown one. State that cannot be read is named in its history.
    """
    for source in sources:
        services.source_kit(source)
    unreadable: list[StateUnreadable] = []
    planned = planned_by_source(services.store, sources, unreadable)

    def read(source: str) -> History:
        of_plans = [error for error in unreadable if error.source in ("", source)]
        return _read(services, source, planned.get(source, set()), now, of_plans)

    with threads(_SOURCES_AT_ONCE) as pool:
        return list(pool.map(read, sources))


def _read(
    services: Services, source: str, planned: set[str], now: dt.datetime, unreadable: list[StateUnreadable]
) -> History:
    scraper = services.source_kit(source).scraper
    history = History(source, scraper.title, scraper.step, ())
    try:
        scraper, of_entries = known_scraper(services, source), list[StateUnreadable]()
        entries = services.source_kit(source).ledger.refresh(unreadable=of_entries)
        unreadable += of_entries
        broken = {error.partition for error in of_entries}
        begin = services.settings.audit_from.get(source)
        history = history_of(scraper, entries, planned | broken, now, begin)
        cells = [_lost_cell(one) if one.partition.key in broken else one for one in history.cells]
        history = dataclasses.replace(history, cells=tuple(cells))
    except StateUnreadable as error:
        unreadable.append(error)
    return dataclasses.replace(history, unreadable=tuple(map(str, unreadable)))


def _lost_cell(cell: Cell) -> Cell:
    return dataclasses.replace(cell, state=UNREADABLE, why="its ledger object cannot be read")


def within(history: History, scraper: Scraper, first: dt.date, last: dt.date, now: dt.datetime) -> History:
    """The dates of ``first`` to ``last`` (inclusive), with those that nobody asked for and that are settled. Pure.

    All of a source whose entities have no dates.
    """
    if history.step == "whole":
        return history
    cells = [one for one in history.cells if one.partition.start <= last and one.partition.end > first]
    begin, end = max(first, scraper.floor), min(last, scraper.last_settled(now))
    earliest = scraper.earliest(now)
    known = {one.partition.key for one in cells}
    for entity, last_of_it in last_dates(scraper, history.states, end).items():
        until = min(end, last_of_it)
        asked_for = partitions_between(begin, until, scraper.zone, scraper.step, entity) if begin <= until else []
        unknown = (one for one in asked_for if one.key not in known)
        cells += [
            _unaskable(scraper, one, earliest) or Cell(one, Verdict.PLANNED.value, NEVER_ASKED) for one in unknown
        ]
    cells.sort(key=lambda one: (one.partition.entity, one.partition.start))
    return dataclasses.replace(history, cells=tuple(cells))


def history_of(
    scraper: Scraper,
    entries: Mapping[str, LedgerEntry],
    planned: Collection[str],
    now: dt.datetime,
    audit_from: dt.date | None = None,
) -> History:
    """The history by the ledger's ``entries``. Pure.

    Args:
        scraper: The source's facts, with its known first date.
        entries: Of the whole ledger.
        planned: Keys that a backfill ever planned.
        now: Aware UTC.
        audit_from: Every settled date since then must be there, asked for or not.
    """
    partitions = _partitions(scraper, {*entries, *planned}, now, audit_from)
    doubts = long_rests(entries, partitions, scraper) if scraper.step != "whole" else {}
    since = min([*_daily_since(entries.values()), *([audit_from] if audit_from else [])], default=dt.date.max)
    earliest = scraper.earliest(now)
    found = []
    for one in partitions:
        entry = unless_askable_again(entries.get(one.key), why_unaskable(scraper, one, earliest))
        if entry is not None:
            found.append(_known_cell(scraper, one, entry, doubts.get(one.key, "")))
        elif cell := _unaskable(scraper, one, earliest):
            found.append(cell)
        elif one.is_whole or one.key in planned or one.key in entries or one.start >= since:
            found.append(Cell(one, Verdict.PLANNED.value, "never attempted"))
    return History(scraper.source, scraper.title, scraper.step, tuple(found))


def _unaskable(scraper: Scraper, partition: Partition, earliest: dt.date) -> Cell | None:
    """Of a date that the source will never answer for; None of any other."""
    if why := why_unaskable(scraper, partition, earliest):
        return Cell(partition, BEFORE if why.startswith(BEFORE_FIRST) else Verdict.UNAVAILABLE.value, why)
    return None


def _partitions(scraper: Scraper, keys: Iterable[str], now: dt.datetime, audit_from: dt.date | None) -> list[Partition]:
    if scraper.step == "whole":
        return whole_partitions(scraper, keys)
    keys = list(keys)
    dated = [date for key in keys if (date := first_date_of(key))]
    begin, last = min([*dated, *([audit_from] if audit_from else [])], default=None), scraper.last_settled(now)
    if begin is None:
        return []
    if begin.year == scraper.floor.year and begin > scraper.floor:
        begin = scraper.floor
    # The year of the source's first date is drawn from its beginning.
    begin = begin.replace(month=1, day=1) if begin <= scraper.floor else begin
    # What was landed of a date that counts as settled no more is shown all the same.
    last = max([last, *dated])
    return [
        one
        for entity, end in last_dates(scraper, keys, last).items()
        for one in partitions_between(begin, end, scraper.zone, scraper.step, entity)
        if one.start <= end
    ]


def _known_cell(scraper: Scraper, partition: Partition, entry: LedgerEntry, doubt: str) -> Cell:
    state, why = entry.verdict.value, ""
    if entry.verdict is Verdict.UNAVAILABLE:
        why = entry.evidence or entry.error
        state = BEFORE if why.startswith(BEFORE_FIRST) else state
    elif entry.verdict is Verdict.EMPTY_OK:
        is_rest = scraper.rests is not None and not scraper.rests.is_on(partition.start)
        state, why = (DOUBTED, doubt) if doubt else (REST if is_rest else state, "")
    elif entry.is_pending:
        why = entry.evidence
    elif entry.verdict is Verdict.STAGED:
        why = f"rows of {entry.backfill_id} wait for approval"
    elif not entry.verdict.is_good:
        why = f"{entry.error_type}, old rows kept" if entry.keeps_verified_rows else entry.error_type
    elif entry.open_items and not entry.open_accepted:
        why = f"loaded without {entry.open_items}"
    return Cell(partition, state, why, entry.attempts, entry.backfill_id, entry.updated_at)


def _daily_since(entries: Iterable[LedgerEntry]) -> list[dt.date]:
    return [
        date for entry in entries if entry.backfill_id.startswith(_DAILY) and (date := first_date_of(entry.partition))
    ]
