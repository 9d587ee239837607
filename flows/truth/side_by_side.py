"""Sources side by side: which items each date must have, as oracles say, and how far each source is with each of them.

Reads only: one listing of the ledger a source, and two or three queries an oracle. Items of one reference, the table
that most oracles ask (a schedule), are joined by its own key, however a source names them itself.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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

_ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one source is with what one oracle expects of it, in items.

    Attributes:
        landed: On dates whose answer is in the bucket, as far as that is known: what is in the tables, and all of
            dates that are not loaded yet.
        loaded: Those that have rows.
        verified: Those of verified dates.
        more: Items with rows that nobody expects.
        unjudged: Dates of which the oracle is not believed, by reason.
    """

    source: str
    oracle: str
    item: str
    expected: int = 0
    landed: int = 0
    loaded: int = 0
    verified: int = 0
    more: int = 0
    unjudged: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An item of one date that a source lacks, or has and should not: what each source that knows of it has.

    ``note`` says on which other date it is expected; "" where it is on none.
    """

    date: str
    item: str
    states: Mapping[str, str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Sources over a range (inclusive). ``unheld`` are those of which no oracle says anything."""

    first: dt.date
    last: dt.date
    standings: tuple[Standing, ...]
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
    table, identity = _reference([oracle for _, oracle in pairs])
    rows: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    names: dict[str, str] = {}
    due: defaultdict[str, set[str]] = defaultdict(set)
    standings = []
    for scraper, oracle in pairs:
        partitions = _partitions(scraper, first, last, now)
        compared = _Compared(services, scraper, oracle, partitions)
        is_joined = (oracle.source, oracle.table) == table
        other_names = compared.named_by(services, identity) if is_joined and oracle.key != identity else {}
        standings.append(compared.standing())
        for partition in partitions:
            for item, state in compared.states(partition).items():
                known = other_names.get((partition.key, item), item)
                shown = known if is_joined or state != MORE else f"{item} ({scraper.source})"
                rows[partition.key, shown][scraper.source] = state
                if state != MORE and is_joined:
                    due[shown].add(partition.key)
                label = compared.expectations[partition.key].items.get(item, "")
                names[shown] = max(names.get(shown, shown), label, key=len)
    unlike = [
        Disagreement(date, names[item], states, _elsewhere(states, due[item] - {date}))
        for (date, item), states in sorted(rows.items())
        if {MISSING, MORE} & {*states.values()}
    ]
    unheld = tuple(one.source for one in scrapers if not (one.oracles or one.compared))
    return SideBySide(first, last, tuple(standings), tuple(unlike), unheld)


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
        self.source, self.oracle, self._partitions = scraper.source, oracle, partitions
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
        told = ask_oracle(services, dataclasses.replace(self.oracle, label=identity), self._partitions)
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

    def standing(self) -> Standing:
        """All partitions together."""
        counts: Counter[str] = Counter()
        unjudged: defaultdict[str, list[str]] = defaultdict(list)
        for one in self._partitions:
            if why := self.expectations[one.key].doubt:
                unjudged[why].append(one.key)
            for state in self.states(one).values():
                counts["more" if state == MORE else "expected"] += 1
                counts["verified"] += state == THERE
                counts["loaded"] += state not in (MORE, MISSING, LANDED, NOT_FETCHED) and not _is_bare(state)
                counts["landed"] += state == LANDED
        counts["landed"] += counts["loaded"]
        known = {name: counts[name] for name in ("expected", "landed", "loaded", "verified", "more")}
        return Standing(self.source, self.oracle.source, self.oracle.item, **known, unjudged=dict(unjudged))


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


_BARE = "no rows, "


def _is_bare(state: str) -> bool:
    return state.startswith(_BARE)


def _in_words(entry: LedgerEntry | None) -> str:
    return f"rows, {entry.verdict.value}" if entry is not None else "rows without a verdict"
