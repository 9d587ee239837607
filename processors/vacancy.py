"""Whether a load meets no row of its table: then every row of it is new, and nothing has to be compared.

A comparison can only be asked when the rows are staged, and is a job more between the load job and the MERGE. A first
fill needs none: nothing is in its scope, and none of the values that no two rows may share stands anywhere. That is
asked beside the load job, by the values that reading the batch has gathered, and by one query. It asks for more than
would collide (the first column of a key, and not the whole of it): where any of that is found, where two partitions of
the batch share a value, where another batch that was written meanwhile has one, or where the values are too many to be
asked for, the staged rows are compared.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from processors.changes import asks_elsewhere
from processors.load_plan import (
    MAX_KEYS,
    QueryValue,
    TableBatch,
    keys_parameter,
    scope_parameters,
    unique_window,
    within_sql,
)

_REMEMBERED = 8


@dataclass(slots=True)
class Identities:
    """What tells the rows of one table apart, gathered partition by partition.

    ``values`` has, of the first column of the key and of each of `Table.unique`, all values or one too many:
    more than `MAX_KEYS` are not asked for, and those of some batches are kept.
    ``repeated`` are columns of which two partitions share a value.
    """

    values: dict[str, set[Any]] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)

    def add(self, found: Mapping[str, Set[Any]]) -> None:
        """The values of one more partition, by column."""
        for column, values in found.items():
            known = self.values.setdefault(column, set())
            if len(known) > MAX_KEYS:
                continue
            if not known.isdisjoint(values):
                self.repeated.add(column)
            room = MAX_KEYS + 1 - len(known)
            known.update(values if len(values) <= room else itertools.islice(values - known, room))

    def meets(self, other: Identities, columns: Set[str]) -> bool:
        """Whether a value of one of these columns may be among those of ``other``, too."""
        for column in columns:
            mine, theirs = self.values.get(column, set()), other.values.get(column, set())
            if max(len(mine), len(theirs)) > MAX_KEYS or not mine.isdisjoint(theirs):
                return True
        return False


def columns_in_question(batch: TableBatch) -> dict[str, bool]:
    """Columns whose values may stand in another partition, with whether that matters within `unique_window` alone."""
    found = {
        columns[0]: bool(batch.table.unique_within_days)
        for columns in batch.table.unique
        if not all(limit.column in columns for limit in batch.scope)
    }
    if asks_elsewhere(batch):
        found[batch.table.key[0]] = False
    return found


def vacancy_question(batch: TableBatch, found: Identities, table: str) -> tuple[str, dict[str, QueryValue]] | None:
    """One SELECT of one row, ``met``: how many rows stand in the way; None where that says too little."""
    asked = columns_in_question(batch)
    if not batch.rows or not found.repeated.isdisjoint(asked):
        return None
    parameters: dict[str, QueryValue] = scope_parameters(batch)
    counts = [f"(SELECT COUNT(*) FROM {table} WHERE {within_sql(batch)})"]
    for number, (column, is_near) in enumerate(asked.items()):
        values = found.values.get(column, set())
        if not values:
            continue
        parameter = keys_parameter(list(values))
        if not parameter:
            return None
        among = f"`{column}` IN UNNEST(@values_{number})"
        parameters[f"values_{number}"] = parameter["keys"]
        if is_near and (window := unique_window(batch.table, _days(batch))):
            day = f"`{batch.table.partition_field}`"
            among += f" AND {day} >= @unique_from AND {day} <= @unique_to"
            parameters |= window
        counts.append(f"(SELECT COUNT(*) FROM {table} WHERE {among})")
    return f"SELECT {' + '.join(counts)} AS met", parameters


class WrittenLately:
    """What the newest batches have written, for those that looked at the tables before. Safe to use from many threads.

    Dates of a run are loaded once, so that no two of its batches have a scope in common; a key may all the same be in
    two of them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._newest: deque[tuple[int, Mapping[str, Identities]]] = deque(maxlen=_REMEMBERED)

    def mark(self) -> int:
        """To be taken before a look at the tables."""
        with self._lock:
            return self._newest[-1][0] if self._newest else 0

    def add(self, by_table: Mapping[str, Identities]) -> None:
        """These were written, or may have been: to be called after the end of the statement, however it ended."""
        with self._lock:
            self._newest.append((next(self._numbers), by_table))

    def meets(self, batch: TableBatch, found: Identities, mark: int) -> bool:
        """Whether what was written since ``mark`` may have a value in common with the batch."""
        columns = columns_in_question(batch).keys()
        with self._lock:
            newest = list(self._newest)
        since = [by_table for number, by_table in newest if number > mark]
        if since and newest[0][0] > mark + 1:
            return bool(columns)
        others = [by_table[batch.table.name] for by_table in since if batch.table.name in by_table]
        return any(found.meets(other, columns) for other in others)


def _days(batch: TableBatch) -> list[dt.date]:
    return [value for limit in batch.scope for value in limit.values if isinstance(value, dt.date)]
