"""Links first, details later: a source whose items another one has listed (``Scraper.feeds_on``).

What the lister landed of a partition are the items of the same partition here, each asked for by a call of its own. An
item has a version, which is what the lister shows of it: one that changed there is asked for again, and of all others
the landed page stays good, whichever attempt landed it, also one that was killed. So neither a kill nor another list
costs a call twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alerting.errors import SourceContractError
from scrapers.base import Findings, Request, Scraper
from scrapers.landing import Landing
from scrapers.manifest import Manifest, PageRecord
from scrapers.partition import Partition

VERSION_MARK = "@"
"""In the cursor of a page, between its item and the version for which it was read."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the lister has of one partition: the version of each item, and the hash of all of it."""

    items: Mapping[str, str]
    content_hash: str


def listed_in(manifest: Manifest, lister: Scraper, landing: Landing) -> Listed:
    """The items that the lister landed, read from its pages by its own ``inspect``. Raises ``LandingDamaged``."""
    partition = manifest.as_partition()
    found: dict[str, str] = {}
    for number, record in enumerate(manifest.pages, start=1):
        if not record.holds_rows:
            continue
        findings = lister.inspect(partition, record.as_page(number, landing.read_page(record)))
        gone = set(record.superseded)
        found |= {row.key: row.digest for row in findings.swept if partition.contains(row.date) and row.key not in gone}
        found |= dict.fromkeys(() if findings.swept else findings.keys, "")
    return Listed(found, manifest.content_hash)


class Feed:
    """What an attempt at the details of one partition asks next, and what its answers come to.

    Attributes:
        next: What is to be asked; None at the end.
        reading: Always 0: no item is asked for twice.
        is_live: Not used.
    """

    def __init__(self, scraper: Scraper, partition: Partition, items: Mapping[str, str]) -> None:
        self._scraper = scraper
        self._partition = partition
        self._items = items
        self._left = dict(items)
        self._found: list[Findings] = []
        self._absent = 0
        self.next: Request | None = None
        self.reading = 0
        self.is_live = True
        self._go_on()

    @property
    def rows(self) -> int:
        """Of the first table, so far."""
        return sum(one.counts.get(self._scraper.tables[0], 0) for one in self._found)

    @property
    def total(self) -> int | None:
        """Items that were listed, without those that are rightly not there."""
        return len(self._items) - self._absent

    def counts(self, tables: Sequence[str]) -> dict[str, int]:
        """Rows per table."""
        return {table: sum(one.counts.get(table, 0) for one in self._found) for table in tables}

    def kept(self) -> list[bool]:
        """Every page has an item of its own."""
        return [True] * len(self._found)

    def found(self) -> list[Findings]:
        """Of each page."""
        return self._found

    def answers(self, request: Request) -> bool:
        """Whether a landed page is that of an item still to be asked for, in the version that is listed now."""
        return request.item in self._left and request.cursor == _cursor(request.item, self._left[request.item])

    def add(self, findings: Findings) -> None:
        """The answer for one item. Raises ``SourceContractError`` for that of another one."""
        told = (*findings.keys, *findings.absent)
        if len(told) != 1 or told[0] not in self._left:
            raise SourceContractError(f"asked for one listed item, got {', '.join(told[:3]) or 'none'}")
        self._found.append(findings)
        self._absent += len(findings.absent)
        del self._left[told[0]]
        self._go_on()

    def _go_on(self) -> None:
        item = next(iter(self._left), None)
        self.next = None
        if item is not None:
            request = self._scraper.item_request(self._partition, item)
            self.next = replace(request, item=item, cursor=_cursor(item, self._left[item]))

    def in_order_of_items(self, records: Sequence[PageRecord]) -> list[PageRecord]:
        """``records`` in the order in which their items would be asked for: one to an item."""
        by_cursor = {record.cursor: record for record in records}
        wanted = (_cursor(item, version) for item, version in self._items.items())
        return [by_cursor[cursor] for cursor in wanted if cursor in by_cursor]


def _cursor(item: str, version: str) -> str:
    return f"{item}{VERSION_MARK}{version}" if version else item
