"""Empty dates in a row that are too many to be believed: one judgement for runs, ``gaps``, ``audit`` and ``verify``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alerting.wording import plural
from flows.ledger.entry import LedgerEntry
from scrapers.base import Scraper
from scrapers.partition import Partition


def long_rests(entries: Mapping[str, LedgerEntry], partitions: Iterable[Partition], scraper: Scraper) -> dict[str, str]:
    """Partitions that came empty in a row for longer than the source rests, each with why that is not believed.

    Looks as far beside ``partitions`` as ``entries`` knows and a rest can reach; none where the scraper declares no
    rests.
    """
    rests = scraper.rests
    if rests is None:
        return {}
    found: dict[str, str] = {}
    rest, before, has_rows = list[Partition](), None, False
    for one in [*rests.widened(partitions, scraper.step), None]:
        follows = one is not None and before is not None and (before.entity, before.end) == (one.entity, one.start)
        is_empty = one is not None and _came_empty(entries.get(one.key))
        if rest and not (follows and is_empty):
            found |= _told(rest, rests.unbelieved(rest, after_rows=has_rows), rests.longest_days)
            rest = []
        if one is not None and is_empty:
            if not rest:
                has_rows = follows and before is not None and _has_rows(entries.get(before.key))
            rest.append(one)
        before = one
    return found


def _told(rest: list[Partition], unbelieved: list[Partition], longest_days: int) -> dict[str, str]:
    text = (
        f"{rest[0].key} to {rest[-1].key} came empty, and the source never rests for more than "
        f"{plural(longest_days, 'day')} then: an outage can look like this"
    )
    return {one.key: text for one in unbelieved}


def _came_empty(entry: LedgerEntry | None) -> bool:
    return entry is not None and bool(entry.attempt and entry.evidence) and not any(entry.landed.values())


def _has_rows(entry: LedgerEntry | None) -> bool:
    return entry is not None and any(entry.landed.values())
