"""How many rows dates have, by calendar month: seasons differ by it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from alerting.ranges import date_of


class MonthRows(BaseModel):
    """``rows`` of the ``dates`` with rows in one calendar month, of whichever years."""

    model_config = ConfigDict(frozen=True)

    dates: int = 0
    rows: int = 0

    def __add__(self, other: MonthRows) -> MonthRows:
        return MonthRows(dates=self.dates + other.dates, rows=self.rows + other.rows)

    def __sub__(self, other: MonthRows) -> MonthRows:
        return MonthRows(dates=self.dates - other.dates, rows=self.rows - other.rows)

    @property
    def a_date(self) -> float:
        """Rows of one date; 0 when none is known."""
        return self.rows / self.dates if self.dates else 0.0


def month_of(key: str) -> int:
    """The calendar month of a partition, 0 of one without a date.

    >>> month_of("2025-01-03"), month_of("shop@2025-12-31"), month_of("2025-07"), month_of("season24")
    (1, 12, 7, 0)
    """
    date = date_of(key)
    return int(date[5:7]) if date else 0


def beyond(months: Mapping[int, MonthRows], before: Mapping[int, MonthRows]) -> dict[int, MonthRows]:
    """What has come to ``before`` since."""
    return {month: one - before.get(month, MonthRows()) for month, one in months.items()}
