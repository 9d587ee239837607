"""The table budget, shared by all runs and processes: counts of one Pacific day in object storage.

An object a table: Cloud Storage takes about one write a second to one object name, and a table has one writer, whose
loads take longer than that. https://docs.cloud.google.com/storage/quotas
"""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.versioned_record import VersionedRecord
from processors.table_budget import Spent, TableBudget, quota_day

PREFIX = "budgets/bigquery/table="


class _SpentOnDay(BaseModel):
    model_config = ConfigDict(frozen=True)

    day: dt.date
    modifications: int
    partition_modifications: int


_SHAPE = TypeAdapter(_SpentOnDay)


class StoredTableBudget(TableBudget):
    """As its base, but what others spent counts too. One read and one write per modification, which takes seconds.

    Args:
        store: Where the counts lie, under ``budgets/bigquery/table=<table>.json``.
        modifications_per_day: Of one table.
        partition_modifications_per_day: Of one table.
    """

    def __init__(
        self, store: ObjectStore, modifications_per_day: int = 1_500, partition_modifications_per_day: int = 30_000
    ) -> None:
        super().__init__(modifications_per_day, partition_modifications_per_day)
        self._limits_of_day = (modifications_per_day, partition_modifications_per_day)
        self._store = store

    def spend(self, table: str, partitions: int, now: dt.datetime) -> None:
        """As the base; raises ``StateUnreadable`` when the counts cannot be read, and counts nothing then."""
        today = quota_day(now)

        def counted(before: _SpentOnDay | None) -> _SpentOnDay:
            day = TableBudget(*self._limits_of_day, spent={(today, table): _on(before, today)})
            day.spend(table, partitions, now)
            spent = day.spent(now)[table]
            return _SpentOnDay(
                day=today,
                modifications=spent.modifications,
                partition_modifications=spent.partition_modifications,
            )

        self._record(f"{PREFIX}{table}.json").update(counted)

    def spent(self, now: dt.datetime) -> dict[str, Spent]:
        """Today's use per table, by everybody."""
        today = quota_day(now)
        found = {
            stored.name.removeprefix(PREFIX).removesuffix(".json"): _on(self._record(stored.name).read(), today)
            for stored in self._store.list(PREFIX)
        }
        return {table: spent for table, spent in found.items() if spent != Spent()}

    def _record(self, name: str) -> VersionedRecord[_SpentOnDay]:
        hint = "delete that object: the table's loads of today count from zero, and BigQuery's own limit still holds"
        return VersionedRecord(self._store, name, _SHAPE, stage="load", hint=hint)


def _on(stored: _SpentOnDay | None, today: dt.date) -> Spent:
    if stored is None or stored.day != today:
        return Spent()
    return Spent(stored.modifications, stored.partition_modifications)
