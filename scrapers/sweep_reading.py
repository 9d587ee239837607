"""Bands of a sweep: everything a source has, read in pieces that each stay below its cap. Pure.

For sources that cannot be asked for a date, so that one reading fills many partitions (``Scraper.sweeps``,
:mod:`scrapers.sweeps`). A band is a half-open range of steps on each axis by which such a source can be narrowed:
living area, then price. A band that reaches the cap gives way to two halves of its first axis that has several steps,
cut at the median of the rows that its page showed.

A source may include both ends of a band: a row on the edge comes in two bands then, and is one row. It may also move
while it is read for hours:

* A band is settled when it gave as many different rows as it announced at its first page. One that did not is read
  again, and no other one. With ``Scraper.grows`` more rows are welcome: what is added while a band is read shifts its
  pages, so that rows come twice; the new ones are those of the next sweep.
* The halves of a band that was cut must have what the whole of it announced and showed. Where they do not, its page is
  asked for once more (a row may have been taken back meanwhile); then the first pages of its bands, of which those are
  read again that have moved. What is still missing then has no value on the axis of the cut, so that no half of it has
  it: the band is cut by the next axis, too. What no axis reaches lies in no band, which is an error.

Which request comes next follows from the answers alone: a killed attempt that reads its landed pages again comes to the
same place.

Calls: a page for each band that was cut, beside the pages with the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from alerting.errors import CoverageLow, NothingPublished, NotSettled, SourceContractError, Truncated
from alerting.wording import plural
from scrapers.bands import Band
from scrapers.base import Findings, Request, Scraper, Swept

READINGS = 4
"""How often a band is read that moves each time."""


class _Reading:
    """The pages of one band. ``is_kept``: its rows count."""

    def __init__(self, band: Band, *, is_glance: bool = False) -> None:
        self.band = band
        self.is_glance = is_glance
        self.is_kept = False
        self.found: list[Findings] = []
        self.rows: dict[str, Swept] = {}
        self.total: int | None = None
        self.has_shifted = False

    def add(self, findings: Findings, *, grows: bool) -> None:
        """One more page. Raises ``SourceContractError`` for a row that was not asked for."""
        self.found.append(findings)
        for row in findings.swept:
            if not self.band.may_have(row.where):
                raise SourceContractError(f"asked for {self.band}, got {row.key} at {row.where}")
        if len(self.found) == 1:
            self.total = findings.source_total
        before = len(self.rows)
        self.rows.update((row.key, row) for row in findings.swept)
        came_twice = len(self.rows) != before + len(findings.swept)
        if not grows and (came_twice or findings.source_total != self.total):
            self.has_shifted = True

    def is_at(self, cap: int) -> bool:
        """Whether rows lie, or may lie, beyond what the source gives. Exactly so many are as suspicious as more."""
        return bool(cap) and max(self.total or 0, sum(len(one.swept) for one in self.found)) >= cap

    def is_settled(self, *, grows: bool) -> bool:
        """Whether all of it came: only after its last page."""
        if self.total is None:
            return not self.has_shifted and len(self.rows) == sum(len(one.swept) for one in self.found)
        return len(self.rows) >= self.total if grows else not self.has_shifted and len(self.rows) == self.total

    @property
    def steps(self) -> list[tuple[int | None, ...]]:
        """Of its rows."""
        return [row.where for row in self.rows.values()]


@dataclass(slots=True)
class _Cut:
    """A band whose place two halves took, cut at ``axis``: what it announced and showed, how often it was looked at."""

    band: Band
    total: int | None
    shown: frozenset[str]
    axis: int
    glances: int = 0
    has_looked_below: bool = False


class Sweep:
    """What an attempt at a sweep asks next, and what its answers come to; see the module.

    Attributes:
        next: What is to be asked; None at the end.
        reading: Counts the readings, so that a request may come again in another one.
        is_live: False while landed pages are read again: then no band counts as read too often.
    """

    def __init__(self, scraper: Scraper) -> None:
        self._scraper = scraper
        self._stack: list[Band | _Cut | _Reading] = [Band(of, scraper.axes) for of in reversed(scraper.sweeps)]
        self._pages: list[_Reading] = []
        self._leaves: dict[Band, _Reading] = {}
        self._readings: Counter[Band] = Counter()
        # Axes up to this one do not reach all rows of the band.
        self._after: dict[Band, int] = {}
        self._looking: _Cut | None = None
        self._at: _Reading
        self.next: Request | None = None
        self.reading = 0
        self.is_live = True
        self._begin()

    @property
    def rows(self) -> int:
        """Different rows so far."""
        return len({key for leaf in self._leaves.values() for key in leaf.rows})

    @property
    def total(self) -> int | None:
        """What was found; the source announces it by bands, whose edges overlap."""
        return self.rows

    def counts(self, tables: Sequence[str]) -> dict[str, int]:
        """Rows per table, each once."""
        return {table: self.rows if table == tables[0] else 0 for table in tables}

    def kept(self) -> list[bool]:
        """Of each page, whether its rows count."""
        return [reading.is_kept for reading in self._pages]

    def found(self) -> list[Findings]:
        """Of each page."""
        counted: Counter[int] = Counter()
        found = []
        for reading in self._pages:
            found.append(reading.found[counted[id(reading)]])
            counted[id(reading)] += 1
        return found

    def answers(self, request: Request) -> bool:
        """Whether a landed page answers what would be asked now."""
        return self.next is not None and request.asks_as(self.next)

    def add(self, findings: Findings) -> None:
        """Takes the answer to ``next``. Raises ``NotSettled``, ``CoverageLow``, ``Truncated``."""
        reading = self._at
        self._pages.append(reading)
        reading.add(findings, grows=self._scraper.grows)
        if reading.is_glance:
            self._look(reading)
        elif reading.is_at(self._scraper.result_cap):
            self._cut(reading)
        elif findings.next_request is not None and not reading.has_shifted:
            self.next = findings.next_request
            return
        else:
            self._conclude(reading)
        self._begin()

    # -- one band ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """What lies on top of the stack: a band to read, one to look at again, or one whose halves are read."""
        self.next = None
        while self._stack and self.next is None:
            top = self._stack.pop()
            if isinstance(top, _Cut):
                if self._is_covered(top, top.shown, top.total, added=0):
                    continue
                self._looking = top
                top = _Reading(top.band, is_glance=True)
            self._at = top if isinstance(top, _Reading) else _Reading(top)
            self.next = self._scraper.band_request(self._at.band)
            self.reading += 1

    def _cut(self, reading: _Reading) -> None:
        band, steps = reading.band, reading.steps
        after = self._after.get(band, -1)
        axis, halves = band.cut_at(steps, after), band.halves(steps, after)
        if axis is None or halves is None:
            cap, total = self._scraper.result_cap, reading.total
            raise Truncated(
                f"{reading.band} has {total or len(reading.rows)} rows, the source gives at most {cap} and cannot be "
                "asked for less: what lies beyond is missing; landed pages are kept as evidence, nothing is loaded",
                hint="give the axes of this scraper finer steps, or add one",
                announced=total,
            )
        self._leaves.pop(band, None)
        self._halve(_Cut(band, reading.total, frozenset(reading.rows), axis), halves, after)

    def _halve(self, cut: _Cut, halves: tuple[Band, Band], after: int) -> None:
        self._stack.append(cut)
        self._stack += reversed(halves)
        self._after |= dict.fromkeys(halves, after)

    def _conclude(self, reading: _Reading) -> None:
        if reading.is_settled(grows=self._scraper.grows):
            if not reading.rows and not all(one.empty_evidence for one in reading.found):
                raise NothingPublished(f"{reading.band} came empty, and nothing proves that it is")
            if before := self._leaves.get(reading.band):
                before.is_kept = False
            reading.is_kept = True
            self._leaves[reading.band] = reading
            return
        self._readings[reading.band] += 1
        if self.is_live and self._readings[reading.band] >= READINGS:
            raise NotSettled(
                f"{reading.band} moved during each of {READINGS} readings: announced {reading.total}, gave "
                f"{len(reading.rows)}; bands that are settled are kept",
                hint="run it again when the source is quiet",
            )
        self._stack.append(reading.band)

    # -- a band and its halves -----------------------------------------------------------------------------------

    def _look(self, glance: _Reading) -> None:
        """At the page of a band that was asked for once more."""
        cut, self._looking = self._looking, None
        if cut is None:
            leaf = self._leaves.get(glance.band)
            if leaf is None or glance.total != len(leaf.rows) or not glance.rows.keys() <= leaf.rows.keys():
                self._stack.append(glance.band)
            return
        cut.glances += 1
        shown = frozenset(glance.rows)
        new = shown - self._keys_in(cut.band) - cut.shown if self._scraper.grows else frozenset[str]()
        if self._is_covered(cut, shown - new, glance.total, added=len(new)):
            return
        axis, halves = cut.band.cut_at(glance.steps, cut.axis), cut.band.halves(glance.steps, cut.axis)
        if cut.has_looked_below and axis is not None and halves is not None:
            self._halve(_Cut(cut.band, glance.total, shown, axis), halves, cut.axis)
            return
        if cut.has_looked_below:
            keys = self._keys_in(cut.band)
            missing = sorted(shown - keys)
            raise CoverageLow(
                f"{cut.band}: announced {glance.total}, its bands have {plural(len(keys), 'different row')}"
                f"{f'; in none of them: {missing[0]}' if missing else ''}",
                hint="a row without a value on any axis is in no band: compare the source with this scraper",
            )
        cut.has_looked_below, cut.total, cut.shown = True, glance.total, shown
        self._stack.append(cut)
        below = [band for band in self._leaves if cut.band.holds(band)]
        self._stack += [_Reading(band, is_glance=True) for band in reversed(below)]

    def _is_covered(self, cut: _Cut, shown: frozenset[str], total: int | None, *, added: int) -> bool:
        keys = self._keys_in(cut.band)
        if not shown <= keys:
            return False
        if total is None:
            return True
        return total - added <= len(keys) if self._scraper.grows else total == len(keys)

    def _keys_in(self, band: Band) -> set[str]:
        return {key for leaf in self._leaves.values() if band.holds(leaf.band) for key in leaf.rows}
