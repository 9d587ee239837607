"""Sources side by side: which items each date must have, as oracles say, and how far each source is with each of them.

Reads only: one listing of the ledger a source, and two or three queries an oracle. Items of one reference, the table
that most oracles ask (a schedule), are joined by its own key, however a source names them itself.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from alerting.errors import ConfigurationError
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.planning.expectations import ask_oracle
from flows.planning.known_first_date import known_scraper
from flows.wiring import Services
from processors.items import Expectation, between, by_date, dates_of, days_of, found_in, found_sql
from scrapers.base import Scraper
from scrapers.oracle import Oracle
from scrapers.partition import Partition, partitions_between

THERE, LANDED, MISSING, MORE, NOT_FETCHED = "there", "landed", "missing", "more", "not fetched"
"""What a source has of an item; of a date that is not done it is the date's verdict."""
EXTRA, MOVED, DOUBLED = "extra", "moved", "doubled"
"""What is wrong with an item, beside `MISSING`."""

_BARE = "no rows, "


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Items.

    Attributes:
        expected: Those that the oracle says must be there.
        landed: On dates whose answer is in the bucket, as far as that is known: what is in the tables, and all of
            dates that are not loaded yet.
        loaded: Those that have rows.
        verified: Those of verified dates.
        more: Items with rows that nobody expects.
    """

    expected: int = 0
    landed: int = 0
    loaded: int = 0
    verified: int = 0
    more: int = 0


COUNTS = tuple(one.name for one in dataclasses.fields(Counts))


@dataclass(frozen=True, slots=True)
class Standing(Counts):
    """How far one source is with what one oracle expects of it. ``unjudged`` are dates of which the oracle is not
    believed, by reason."""

    source: str
    oracle: str
    item: str
    unjudged: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StandingOn(Counts):
    """The same of one partition, with its verdict ("" for none yet) and the error that it has.

    With a ``doubt`` the oracle is not believed of it, and nothing is counted.
    """

    partition: Partition
    source: str
    oracle: str
    item: str
    verdict: str = ""
    error: str = ""
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An item of one date that a source lacks, or has and should not: what each source that knows of it has.

    Attributes:
        date: Key of the partition.
        item: Its name for people.
        states: By source.
        kinds: By source that is at odds: `MISSING` or `EXTRA`; `MOVED` where it lacks the item here and has it on
            another date, or the other way round; `DOUBLED` where it has it on another date, too, and should there.
        note: On which other date it is expected; "" where it is on none.
        key: What the reference calls it; "" is the same as ``item``.
        starts_on: First date of the partition.
        others: Other dates in question, by source that is at odds.
    """

    date: str
    item: str
    states: Mapping[str, str]
    kinds: Mapping[str, str]
    note: str = ""
    key: str = ""
    starts_on: dt.date = dt.date.min
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Sources over a range (inclusive). ``unheld`` are those of which no oracle says anything."""

    first: dt.date
    last: dt.date
    standings: tuple[Standing, ...]
    dates: tuple[StandingOn, ...]
    disagreements: tuple[Disagreement, ...]
    unheld: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every expected item is there and verified, nothing else is, and nothing is left unjudged."""
        held = all(one.verified == one.expected and not one.unjudged for one in self.standings)
        return held and not self.disagreements


def read_side_by_side(
    services: Services, sources: Sequence[str], first: dt.date, last: dt.date, now: dt.datetime
) -> SideBySide:
    """What ``sources`` have of each item that is expected from ``first`` to ``last``, of dates settled at ``now``.

    Raises ``ConfigurationError`` where nothing is expected of any of them.
    """
    scrapers = [known_scraper(services, name) for name in sources]
    pairs = [(one, oracle) for one in scrapers for oracle in (*one.oracles, *one.compared)]
    if not pairs:
        raise ConfigurationError(
            f"no other source says which items {', '.join(sources)} must have: there is nothing to compare",
            stage="coverage",
            hint="declare an Oracle: docs/add-a-source.md",
        )
    joined = _Joined(*_reference([oracle for _, oracle in pairs]))
    dates: list[StandingOn] = []
    standings = []
    for scraper, oracle in pairs:
        compared = _Compared(services, scraper, oracle, _partitions(scraper, first, last, now))
        joined.add(services, compared)
        mine = [compared.standing_on(one) for one in compared.partitions]
        standings.append(_summed(scraper.source, oracle, mine))
        dates += mine
    unheld = tuple(one.source for one in scrapers if not (one.oracles or one.compared))
    return SideBySide(first, last, tuple(standings), tuple(dates), tuple(joined.disagreements()), unheld)


class _Joined:
    """What every source has of each item, by date and by the name that the reference has for it."""

    def __init__(self, table: tuple[str, str], identity: str) -> None:
        self._table, self._identity = table, identity
        self._states: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        self._names: dict[str, str] = {}
        self._due: defaultdict[str, set[str]] = defaultdict(set)
        self._starts: dict[str, dt.date] = {}

    def add(self, services: Services, compared: _Compared) -> None:
        """The items of one source."""
        oracle, source = compared.oracle, compared.source
        is_joined = (oracle.source, oracle.table) == self._table
        other_names = compared.named_by(services, self._identity) if is_joined and oracle.key != self._identity else {}
        states = {one.key: compared.states(one) for one in compared.partitions}
        lacking = _only_lack(states, other_names)
        for partition in compared.partitions:
            self._starts[partition.key] = partition.start
            for item, state in states[partition.key].items():
                known = other_names.get((partition.key, item), item)
                if state == MORE:
                    known = lacking.get(item, item) if is_joined else f"{item} ({source})"
                self._states[partition.key, known][source] = state
                if state != MORE and is_joined:
                    self._due[known].add(partition.key)
                label = compared.expectations[partition.key].items.get(item, "")
                self._names[known] = max(self._names.get(known, known), label, key=len)

    def disagreements(self) -> Iterator[Disagreement]:
        """Items that a source lacks, or has and should not, by date."""
        on: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for (date, item), states in self._states.items():
            for source, state in states.items():
                on[source, item][date] = state
        for (date, item), states in sorted(self._states.items()):
            kinds = {
                source: _kind(date, on[source, item], self._due[item])
                for source, state in states.items()
                if state in (MISSING, MORE)
            }
            if kinds:
                yield Disagreement(
                    date,
                    self._names[item],
                    states,
                    {source: kind for source, (kind, _) in kinds.items()},
                    _elsewhere(states, self._due[item] - {date}),
                    item,
                    self._starts[date],
                    {source: others for source, (_, others) in kinds.items() if others},
                )


def _only_lack(states: Mapping[str, Mapping[str, str]], other_names: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Names that the reference has for items which a source lacks on exactly one date, by the source's own name.

    Where a source names items by their teams, the one that it has on a wrong date is taken for that one.
    """
    lacking: defaultdict[str, list[str]] = defaultdict(list)
    for date, items in states.items():
        for item, state in items.items():
            if state == MISSING and (date, item) in other_names:
                lacking[item].append(other_names[date, item])
    return {item: names[0] for item, names in lacking.items() if len(names) == 1}


def _kind(date: str, on: Mapping[str, str], due: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """What is wrong with an item of one source on ``date``, and the other dates in question. Pure.

    Args:
        date: On which the source lacks it, or has it and should not.
        on: State of the item by date, of this source.
        due: Dates on which it is expected.

    >>> _kind("01-01", {"01-01": "more", "01-03": "missing"}, {"01-03"})
    ('moved', ('01-03',))
    >>> _kind("01-01", {"01-01": "more", "01-03": "there"}, {"01-03"})
    ('doubled', ('01-03',))
    >>> _kind("01-03", {"01-03": "missing"}, {"01-03"}), _kind("01-01", {"01-01": "more"}, ())
    (('missing', ()), ('extra', ()))
    """
    if on[date] == MISSING:
        others = tuple(sorted(other for other, state in on.items() if state == MORE))
        return (MOVED, others) if others else (MISSING, ())
    there = tuple(sorted(other for other in due if other in on and _has_rows(on[other])))
    if there:
        return DOUBLED, there
    others = tuple(sorted(due))
    return (MOVED, others) if others else (EXTRA, ())


def _summed(source: str, oracle: Oracle, dates: Sequence[StandingOn]) -> Standing:
    counts = {name: sum(getattr(one, name) for one in dates) for name in COUNTS}
    unjudged: defaultdict[str, list[str]] = defaultdict(list)
    for one in dates:
        if one.doubt:
            unjudged[one.doubt].append(one.partition.key)
    return Standing(source, oracle.source, oracle.item, dict(unjudged), **counts)


def _reference(oracles: Sequence[Oracle]) -> tuple[tuple[str, str], str]:
    """Source and table that most oracles ask, and the key by which most of these name its items."""
    table = Counter((one.source, one.table) for one in oracles).most_common(1)[0][0]
    return table, Counter(one.key for one in oracles if (one.source, one.table) == table).most_common(1)[0][0]


def _elsewhere(states: Mapping[str, str], dates: set[str]) -> str:
    return f"expected on {', '.join(sorted(dates))}" if dates and MORE in states.values() else ""


def _partitions(scraper: Scraper, first: dt.date, last: dt.date, now: dt.datetime) -> list[Partition]:
    begin = max(first, scraper.floor)
    listed = partitions_between(begin, last, scraper.zone, scraper.step) if begin <= last else []
    return [one for one in listed if scraper.settled_at(one) <= now]


class _Compared:
    """What one oracle expects of one source, and what is there."""

    def __init__(self, services: Services, scraper: Scraper, oracle: Oracle, partitions: Sequence[Partition]) -> None:
        self.source, self.oracle, self.partitions = scraper.source, oracle, partitions
        self._entries: Mapping[str, LedgerEntry] = {}
        self.expectations: Mapping[str, Expectation] = {}
        self._found: Mapping[dt.date, Mapping[str, str]] = {}
        if not partitions:
            return
        kit = services.source_kit(scraper.source)
        self._entries = kit.ledger.refresh(partitions[0].key, partitions[-1].key)
        self.expectations = ask_oracle(services, oracle, partitions)
        sql = found_sql(oracle, found_in(oracle, kit.processor.tables), services.warehouse.name_of)
        self._found = by_date(services.warehouse.query(sql, between(map(dates_of, partitions))))

    def named_by(self, services: Services, identity: str) -> dict[tuple[str, str], str]:
        """The items under another key of the oracle's table, by partition and their own key."""
        told = ask_oracle(services, dataclasses.replace(self.oracle, label=identity), self.partitions)
        return {(key, item): name for key, one in told.items() for item, name in one.items.items()}

    def states(self, partition: Partition) -> dict[str, str]:
        """What the source has of every item that is expected or there; nothing where the oracle is not believed."""
        said = self.expectations[partition.key]
        if said.doubt:
            return {}
        entry = self._entries.get(partition.key)
        there = {item for day in days_of(dates_of(partition)) for item in self._found.get(day, {})}
        states = {item: _state(entry, is_there=item in there) for item in said.items}
        return states | dict.fromkeys(sorted(there - said.items.keys()), MORE)

    def standing_on(self, partition: Partition) -> StandingOn:
        """One partition."""
        counts: Counter[str] = Counter()
        for state in self.states(partition).values():
            counts["more" if state == MORE else "expected"] += 1
            counts["verified"] += state == THERE
            counts["loaded"] += state != MORE and _has_rows(state)
            counts["landed"] += state == LANDED
        counts["landed"] += counts["loaded"]
        entry = self._entries.get(partition.key)
        return StandingOn(
            partition,
            self.source,
            self.oracle.source,
            self.oracle.item,
            **{name: counts[name] for name in COUNTS},
            verdict=entry.verdict.value if entry else "",
            error=entry.error if entry else "",
            doubt=self.expectations[partition.key].doubt,
        )


def _state(entry: LedgerEntry | None, *, is_there: bool) -> str:
    if is_there:
        return THERE if entry is not None and entry.verdict is Verdict.VERIFIED else _in_words(entry)
    if entry is not None and entry.verdict is Verdict.UNAVAILABLE:
        return f"{_BARE}{entry.verdict.value}"
    if entry is None or entry.is_pending or entry.verdict is Verdict.PLANNED:
        return NOT_FETCHED
    if entry.verdict in (Verdict.LANDED, Verdict.LOADED):
        return LANDED
    if entry.verdict.is_good or entry.loaded:
        return MISSING
    return f"{_BARE}{entry.verdict.value}"


def _has_rows(state: str) -> bool:
    return state not in (MISSING, LANDED, NOT_FETCHED) and not state.startswith(_BARE)


def _in_words(entry: LedgerEntry | None) -> str:
    return f"rows, {entry.verdict.value}" if entry is not None else "rows without a verdict"
