"""What one oracle expects of one source, and what the source has of it: the state of each item."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence

from flows.ledger.ledger import LedgerEntry, Verdict
from flows.planning.expectations import ask_oracle
from flows.truth.standing import COUNTS, StandingOn
from flows.wiring import Services
from processors.items import Expectation, between, by_date, dates_of, days_of, found_in, found_sql
from scrapers.base import Scraper
from scrapers.oracle import Oracle
from scrapers.partition import Partition

THERE, LANDED, MISSING, MORE, NOT_FETCHED = "there", "landed", "missing", "more", "not fetched"
"""What a source has of an item; of a date that is not done it is the date's verdict."""


_BARE = "no rows, "


class Compared:
    """What one oracle expects of one source, and what is there."""

    def __init__(self, services: Services, scraper: Scraper, oracle: Oracle, partitions: Sequence[Partition]) -> None:
        self.source, self.oracle, self.partitions = scraper.source, oracle, partitions
        self._only = scraper.only
        self._entries: Mapping[str, LedgerEntry] = {}
        self.expectations: Mapping[str, Expectation] = {}
        self._found: Mapping[dt.date, Mapping[str, str]] = {}
        if not partitions:
            return
        kit = services.source_kit(scraper.source)
        self._entries = kit.ledger.refresh(partitions[0].key, partitions[-1].key)
        self.expectations = ask_oracle(services, oracle, partitions, self._only)
        sql = found_sql(oracle, found_in(oracle, kit.processor.tables), services.warehouse.name_of)
        self._found = by_date(services.warehouse.query(sql, between(map(dates_of, partitions))))

    def named_by(self, services: Services, identity: str) -> dict[tuple[str, str], str]:
        """The items under another key of the oracle's table, by partition and their own key."""
        told = ask_oracle(services, dataclasses.replace(self.oracle, label=identity), self.partitions, self._only)
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
            counts["loaded"] += state != MORE and has_rows(state)
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


def has_rows(state: str) -> bool:
    """Whether the tables have rows of an item in that state."""
    return state not in (MISSING, LANDED, NOT_FETCHED) and not state.startswith(_BARE)


def _in_words(entry: LedgerEntry | None) -> str:
    return f"rows, {entry.verdict.value}" if entry is not None else "rows without a verdict"
