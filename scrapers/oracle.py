"""What one source says that another must have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Oracle:
    """A table of another source that says which items each date of this one must have: a schedule, a racecard.

    It is believed for a date when its source has verified it, and read it after the date was over; what is not
    believed is not asked, and plan and mail say so. An expected item that is not among the rows makes the date
    ``partial`` and is named. A date of which nothing is expected is ``empty_ok`` without a call: its evidence is the
    oracle. Items that nobody expected are told, and are no fault.

    Columns are written as names between blanks.

    Attributes:
        source: Whose table it is.
        table: The table, or a view that its tables fill.
        key: Columns that name an item.
        date: DATE column: the date that the item belongs to.
        where: Condition in GoogleSQL on its columns for items that are expected (not postponed, not abandoned).
            ``{name}`` is the full name of another table there, ``@first`` and ``@last`` are the dates in question.
        entity: Of a source that is asked by entity, the one whose snapshot speaks of a date (its season); None is
            every one that it has.
        found_in: Table of this source in which the items are looked for; "" is the first one.
        found_key: Its columns, in the order of ``key``; "" are those of the same names.
        missing: What an expected item that is not there makes of its date: ``partial``, or ``told``, a note, where that
            is normal; such an oracle says nothing of emptiness.
        item: What one is called, as one word in the singular.
        label: Columns of ``table`` with the name of one, for people; "" are those of the key.
    """

    source: str
    table: str
    key: str
    date: str
    where: str = ""
    entity: Callable[[dt.date], str] | None = None
    found_in: str = ""
    found_key: str = ""
    missing: Literal["partial", "told"] = "partial"
    item: str = "item"
    label: str = ""

    @property
    def is_strict(self) -> bool:
        """Whether a missing item keeps a date from being done, and none expected proves it empty."""
        return self.missing == "partial"
