"""Answers that reach a cap: the partition is asked again in smaller parts, until each part is below it. Pure.

A part is a half-open ``range`` of the smallest steps that one request can name: hours of a day, or bands of prices. The
scraper says how many steps a partition has (``parts``) and how a part is asked for (``part_request``). Which part is
cut, and where, is decided here, from the answers alone: a killed attempt that reads its landed pages again comes to
the same parts.

Calls: 2 x parts - 1. Where the scraper tells the step of each row and the source gives rows in order of time, the parts
are the fewest that can be: a cut lies where the capped answer ended. Otherwise a part is cut in the middle.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from alerting.errors import CoverageLow, NothingPublished, NotSettled, SourceContractError, Truncated
from alerting.wording import plural
from scrapers.base import Findings, Request, Scraper
from scrapers.partition import Partition


class Reading:
    """The answers to one request and its next pages, and whether they agree with each other.

    Attributes:
        part: What was asked for.
        rows: Rows of the source's first table so far; ``total`` is what the source announced for this part,
            ``at_least`` where it stops counting.
        keys: Identities of the rows, ``confirmed`` those of the second reading.
        listed: Items that pages of lists name, None without such a page; ``absent`` are rightly not there.
        is_cut: Its place was taken by two smaller parts; its rows do not count.
    """

    def __init__(self, part: range) -> None:
        self.part = part
        self.found: list[Findings] = []
        self.rows = 0
        self.total: int | None = None
        self.at_least = 0
        self.keys: set[str] = set()
        self.confirmed: set[str] = set()
        self.listed: set[str] | None = None
        self.absent: set[str] = set()
        self.where: list[int] = []
        self.is_cut = False

    def add(self, findings: Findings, table: str) -> None:
        """One more page; ``table`` is the source's first. Raises ``NotSettled``, ``SourceContractError``."""
        self.found.append(findings)
        self.rows += findings.counts.get(table, 0)
        self.where += findings.where
        if any(step not in self.part for step in findings.where):
            stray = next(step for step in findings.where if step not in self.part)
            raise SourceContractError(f"asked for steps {shown(self.part)}, got a row of step {stray}")
        if findings.source_total is not None:
            if self.total not in (None, findings.source_total):
                raise NotSettled(f"the source announced {plural(self.total, 'row')}, then {findings.source_total}")
            self.total = findings.source_total
        self.at_least = max(self.at_least, findings.at_least)
        if findings.lists is not None:
            self.listed = (self.listed or set()) | set(findings.lists)
        self.absent.update(findings.absent)
        seen = self.confirmed if findings.confirms else self.keys
        before = len(seen)
        seen.update(findings.keys)
        if len(seen) != before + len(findings.keys):
            raise NotSettled("a row came on two pages: pages shifted while they were read")

    def is_short(self, cap: int, *, can_split: bool) -> bool:
        """Whether rows lie, or may lie, beyond what the source gives for this part.

        Exactly ``cap`` rows are as suspicious as more: a source that cuts in silence gives just these.
        """
        if cap and (self.rows >= cap or (self.total or 0) > cap):
            return True
        has_ended = self.found[-1].next_request is None
        return can_split and has_ended and self.total is not None and self.total > self.rows

    def conclude(self, *, is_whole: bool) -> None:
        """Whether all pages together are one state of the source; ``NotSettled`` when they are not.

        ``NothingPublished`` for an empty smaller part without a proof that it is empty.
        """
        if any(one.confirms for one in self.found) and self.keys != self.confirmed:
            gone, added = len(self.keys - self.confirmed), len(self.confirmed - self.keys)
            raise NotSettled(f"{gone} of {plural(len(self.keys), 'row')} gone at the second reading, {added} added")
        if self.listed is not None and self.listed != self.keys | self.absent:
            missing, more = (
                sorted(self.listed - self.keys - self.absent),
                sorted((self.keys | self.absent) - self.listed),
            )
            raise CoverageLow(
                f"{plural(len(self.listed), 'item', 'is', 'are')} listed: {len(missing):,} of them did not come"
                f"{f' ({missing[0]} ...)' if missing else ''}, {len(more):,} came that are not listed"
                f"{f' ({more[0]} ...)' if more else ''}"
            )
        if self.keys and self.total is not None and self.rows != self.total:
            raise NotSettled(f"the source announced {plural(self.total, 'row')} and gave {self.rows}")
        if self.rows < self.at_least:
            raise NotSettled(f"the source announced at least {plural(self.at_least, 'row')} and gave {self.rows}")
        if not is_whole and not any(any(one.counts.values()) or one.empty_evidence for one in self.found):
            raise NothingPublished(f"steps {shown(self.part)} came empty, and nothing proves that they are")


class Parts:
    """What an attempt at one partition asks next, and what its answers come to.

    Attributes:
        next: What is to be asked; None at the end.
        reading: Always 0: no request comes twice.
        is_live: Of no meaning here.
        total: What the source announced, None when it did not; only at the end.
    """

    def __init__(self, partition: Partition, scraper: Scraper) -> None:
        self._partition, self._scraper = partition, scraper
        # A span is cut into shorter ones, by the one who asked for it.
        self._whole = range(1) if partition.is_span else scraper.parts(partition)
        self._readings = [Reading(self._whole)]
        self._to_ask: list[range] = []
        self.total: int | None = None
        self.next: Request | None = scraper.first_request(partition)
        self.reading = 0
        self.is_live = True

    @property
    def rows(self) -> int:
        """Of all tables, so far."""
        kept = (reading for reading in self._readings if not reading.is_cut)
        return sum(count for reading in kept for one in reading.found for count in one.counts.values())

    def counts(self, tables: Sequence[str]) -> dict[str, int]:
        """Rows per table."""
        found = [one for reading in self._readings if not reading.is_cut for one in reading.found]
        return {table: sum(one.counts.get(table, 0) for one in found) for table in tables}

    def kept(self) -> list[bool]:
        """Of each page, whether its rows count."""
        return [not reading.is_cut for reading in self._readings for _ in reading.found]

    def found(self) -> list[Findings]:
        """Of each page."""
        return [one for reading in self._readings for one in reading.found]

    def answers(self, request: Request) -> bool:
        """Whether a landed page answers what would be asked now; pages of the whole may be of another size."""
        if self.next is None or len(self._readings) == 1:
            return self.next is not None
        return request.asks_as(self.next)

    def add(self, findings: Findings) -> None:
        """Takes the answer to ``next``. Raises ``Truncated``, ``NotSettled``, ``SourceContractError``."""
        reading = self._readings[-1]
        reading.add(findings, self._scraper.tables[0])
        self.next = findings.next_request
        if reading.is_short(self._scraper.result_cap, can_split=len(self._whole) > 1):
            self._cut(reading)
        elif self.next is None:
            reading.conclude(is_whole=reading.part == self._whole)
        else:
            return
        self._begin_part()

    def _cut(self, reading: Reading) -> None:
        """Two smaller parts take the place of one at the cap; ``Truncated`` when it cannot be smaller."""
        if len(reading.part) < 2:
            cap = self._scraper.result_cap
            what = f"steps {shown(reading.part)} of {len(self._whole)}" if len(self._whole) > 1 else "the partition"
            raise Truncated(
                f"{what} came with {plural(reading.rows, 'row')}, the source gives at most {cap or reading.rows:,}: "
                "what lies beyond is missing; landed pages are kept as evidence, nothing of them is loaded",
                hint="give parts() of this scraper finer steps, or use another filter",
                announced=reading.total,
            )
        reading.is_cut = True
        first, second = halves(reading.part, reading.where)
        self._to_ask += [second, first]

    def _begin_part(self) -> None:
        self.next = None
        if self._to_ask:
            part = self._to_ask.pop()
            self._readings.append(Reading(part))
            self.next = self._scraper.part_request(self._partition, part)
        else:
            self.total = agreed_total(self._readings)


def halves(part: range, where: Sequence[int] = ()) -> tuple[range, range]:
    """Two parts that together are ``part``, which has at least two steps.

    Args:
        part: What was answered with a capped list.
        where: The step of each row, in the order of the answer, as far as known. Rows in order end where the source
            cut, so the part on their side of the cut is known to be below the cap.

    >>> halves(range(0, 24)), halves(range(0, 24), [0, 3, 3, 9]), halves(range(0, 24), [23, 23, 20])
    ((range(0, 12), range(12, 24)), (range(0, 9), range(9, 24)), (range(0, 21), range(21, 24)))
    """
    cut = part.start + len(part) // 2
    if where:
        if all(left <= right for left, right in itertools.pairwise(where)):
            cut = where[-1]
        elif all(left >= right for left, right in itertools.pairwise(where)):
            cut = where[-1] + 1
        else:
            cut = sorted(where)[len(where) // 2]
    at = min(max(cut, part.start + 1), part.stop - 1) - part.start
    return part[:at], part[at:]


def agreed_total(readings: Sequence[Reading]) -> int | None:
    """What the source announced for the partition, None when it did not; ``NotSettled`` when the parts contradict.

    A row that the capped answer showed must be in one of its parts: else the narrower requests do not cover it.
    """
    kept = [reading for reading in readings if not reading.is_cut]
    if len(readings) == 1:
        (only,) = readings
        return len(only.confirmed) if only.total is None and only.confirmed else only.total
    keys = set[str]().union(*(reading.keys for reading in kept))
    if len(keys) != sum(len(reading.keys) for reading in kept):
        raise NotSettled("a row came in two parts: the source changed, or the parts overlap")
    lost = set[str]().union(*(reading.keys for reading in readings)) - keys
    if lost:
        raise NotSettled(f"{plural(len(lost), 'row')} of an answer at the cap in none of its parts")
    rows, announced = sum(reading.rows for reading in kept), readings[0].total
    if announced is not None and announced != rows:
        raise NotSettled(f"the source announced {plural(announced, 'row')}, its {len(kept)} parts have {rows}")
    totals = [reading.total for reading in kept if reading.total is not None]
    return sum(totals) if len(totals) == len(kept) else announced


def shown(part: range) -> str:
    """A part for people, its end inclusive.

    >>> shown(range(12, 24))
    '12 to 23'
    """
    return f"{part.start} to {part.stop - 1}"
