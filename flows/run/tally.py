"""What a run has used and counted so far: in this process, and in others as their windows report it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

from flows.ledger.month_rows import MonthRows, month_of
from processors.receipt import Receipt


class Tally:
    """Every count of a run behind one lock, because threads add to it. What it gives out is a copy.

    ``calls_here`` says how many calls this process has made, ``units_here`` what they cost in the source's own unit.
    """

    def __init__(self, calls_here: Callable[[], int] = lambda: 0, units_here: Callable[[], int] | None = None) -> None:
        self._calls_here = calls_here
        self._units_here = units_here or calls_here
        self._lock = threading.Lock()
        self._tries: Counter[str] = Counter()
        self._cut_bodies: Counter[str] = Counter()
        self._rows = 0
        self._months: dict[int, MonthRows] = {}
        self._failed_calls = 0
        self._sweep_pages = 0
        self._answers_s: list[float] = []
        self._receipts: list[Receipt] = []
        self._elsewhere: Counter[str] = Counter()
        self._prompt_flushes = 0

    def begin_try(self, *keys: str) -> None:
        """One more try of each of these partitions."""
        with self._lock:
            self._tries.update(keys)

    def add_cut_body(self, *keys: str) -> None:
        """A try of each of these partitions ended with a body that ended too early."""
        with self._lock:
            self._cut_bodies.update(keys)

    def had_only_cut_bodies(self, key: str) -> bool:
        """Whether a partition was tried more than once, and every try ended so."""
        with self._lock:
            return self._tries[key] == self._cut_bodies[key] > 1

    def add_failed_call(self) -> None:
        """A try failed at a call, which the next try repeats."""
        with self._lock:
            self._failed_calls += 1

    def add_answer(self, seconds: float) -> None:
        """The source took so long to answer one partition."""
        with self._lock:
            self._answers_s.append(seconds)

    def add_rows(self, rows: int) -> None:
        """Rows that were landed, by this process or a window of the run."""
        with self._lock:
            self._rows += rows

    def add_months(self, months: Mapping[int, MonthRows]) -> None:
        """The same rows by calendar month, of dates that have some."""
        with self._lock:
            for month, one in months.items():
                self._months[month] = self._months.get(month, MonthRows()) + one

    def add_landed(self, key: str, rows: int) -> None:
        """A partition was landed by this process, with so many rows."""
        self.add_rows(rows)
        if rows:
            self.add_months({month_of(key): MonthRows(dates=1, rows=rows)})

    def set_sweep_pages(self, pages: int) -> None:
        """A sweep is whole, and took so many pages."""
        with self._lock:
            self._sweep_pages = pages

    @property
    def sweep_pages(self) -> int:
        """Of the sweep that this process made whole; 0 for none."""
        with self._lock:
            return self._sweep_pages

    def add_receipt(self, receipt: Receipt) -> None:
        """One load."""
        with self._lock:
            self._receipts.append(receipt)

    def set_spent_elsewhere(self, totals: Mapping[str, float]) -> None:
        """What all windows together have used since they began, by the names of their reports."""
        with self._lock:
            self._elsewhere = Counter(totals)

    def takes_prompt_flush(self, most: int) -> bool:
        """Whether one of the first ``most`` single objects of the journal may still be written."""
        with self._lock:
            self._prompt_flushes += 1
            return self._prompt_flushes <= most

    def tries(self, key: str) -> int:
        """How often a partition was tried; one that was not is at its first."""
        with self._lock:
            return self._tries[key] or 1

    def elsewhere(self, name: str) -> float:
        """One of the totals of all windows."""
        with self._lock:
            return self._elsewhere[name]

    @property
    def calls(self) -> int:
        """Calls to the source, those of other processes as last reported."""
        return self._calls_here() + int(self.elsewhere("calls"))

    @property
    def failed_calls(self) -> int:
        """Calls of this process at which a try failed."""
        with self._lock:
            return self._failed_calls

    @property
    def units(self) -> int:
        """What the calls cost in the units that the source counts."""
        return self._units_here() + int(self.elsewhere("units"))

    @property
    def rows(self) -> int:
        """Rows landed."""
        with self._lock:
            return self._rows

    @property
    def months(self) -> dict[int, MonthRows]:
        """Rows landed, by calendar month, and on how many dates."""
        with self._lock:
            return dict(self._months)

    @property
    def answers_s(self) -> list[float]:
        """The source's own seconds, one number for each partition that it answered."""
        with self._lock:
            return list(self._answers_s)

    @property
    def receipts(self) -> list[Receipt]:
        """Every load, oldest first."""
        with self._lock:
            return list(self._receipts)
