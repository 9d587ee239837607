"""Sources side by side: which items each date must have, as oracles say, and how far each source is with each of them.

Reads only: one listing of the ledger a source, and two or three queries an oracle. Items of one reference, the table
that most oracles ask (a schedule), are joined by its own key, however a source names them itself.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from alerting.errors import ConfigurationError
from flows.planning.known_first_date import known_scraper
from flows.truth.disagreements import Disagreement, Joined, reference_of
from flows.truth.item_states import Compared
from flows.truth.standing import COUNTS, Standing, StandingOn
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.oracle import Oracle
from scrapers.partition import Partition, partitions_between


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
    joined = Joined(*reference_of([oracle for _, oracle in pairs]))
    dates: list[StandingOn] = []
    standings = []
    for scraper, oracle in pairs:
        compared = Compared(services, scraper, oracle, _partitions(scraper, first, last, now))
        joined.add(services, compared)
        mine = [compared.standing_on(one) for one in compared.partitions]
        standings.append(_summed(scraper.source, oracle, mine))
        dates += mine
    unheld = tuple(one.source for one in scrapers if not (one.oracles or one.compared))
    return SideBySide(first, last, tuple(standings), tuple(dates), tuple(joined.disagreements()), unheld)


def _summed(source: str, oracle: Oracle, dates: Sequence[StandingOn]) -> Standing:
    counts = {name: sum(getattr(one, name) for one in dates) for name in COUNTS}
    unjudged: defaultdict[str, list[str]] = defaultdict(list)
    for one in dates:
        if one.doubt:
            unjudged[one.doubt].append(one.partition.key)
    return Standing(source, oracle.source, oracle.item, dict(unjudged), **counts)


def _partitions(scraper: Scraper, first: dt.date, last: dt.date, now: dt.datetime) -> list[Partition]:
    begin = max(first, scraper.floor)
    listed = partitions_between(begin, last, scraper.zone, scraper.step) if begin <= last else []
    return [one for one in listed if scraper.settled_at(one) <= now]
