"""Items that a source lacks, or has and should not: joined over sources, and what is wrong with each."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flows.truth.item_states import MISSING, MORE, Compared, has_rows
from flows.wiring import Services
from scrapers.oracle import Oracle

EXTRA, MOVED, DOUBLED = "extra", "moved", "doubled"
"""What is wrong with an item, beside `MISSING`."""


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


class Joined:
    """What every source has of each item, by date and by the name that the reference has for it."""

    def __init__(self, table: tuple[str, str], identity: str) -> None:
        self._table, self._identity = table, identity
        self._states: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        self._names: dict[str, str] = {}
        self._due: defaultdict[str, set[str]] = defaultdict(set)
        self._starts: dict[str, dt.date] = {}

    def add(self, services: Services, compared: Compared) -> None:
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
    there = tuple(sorted(other for other in due if other in on and has_rows(on[other])))
    if there:
        return DOUBLED, there
    others = tuple(sorted(due))
    return (MOVED, others) if others else (EXTRA, ())


def reference_of(oracles: Sequence[Oracle]) -> tuple[tuple[str, str], str]:
    """Source and table that most oracles ask, and the key by which most of these name its items."""
    table = Counter((one.source, one.table) for one in oracles).most_common(1)[0][0]
    return table, Counter(one.key for one in oracles if (one.source, one.table) == table).most_common(1)[0][0]


def _elsewhere(states: Mapping[str, str], dates: set[str]) -> str:
    return f"expected on {', '.join(sorted(dates))}" if dates and MORE in states.values() else ""
