"""BigQuery's daily limits per table, counted before the work: by one process, or by all of them in object storage.

Limits: https://docs.cloud.google.com/bigquery/quotas (1,500 modifications a table and day, failed ones count; 30,000
partition modifications a day for a column-partitioned table). The replace here is DML, which BigQuery does not count;
counting it all the same makes this an upper bound.
"""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.errors import BudgetExhausted
from alerting.object_store import ObjectStore
from alerting.versioned_record import VersionedRecord
from alerting.wording import plural

PREFIX = "budgets/bigquery/table="
"""An object a table: Cloud Storage takes about one write a second to one object name, and a table has one writer, whose
loads take longer than that (https://docs.cloud.google.com/storage/quotas)."""
RESET_ZONE = "America/Los_Angeles"
STOP_AT = 0.95


@dataclass(frozen=True, slots=True)
class Spent:
    """What one table used up on one Pacific day."""

    modifications: int = 0
    partition_modifications: int = 0


class TableBudget:
    """Counts modifications per table and stops at 95 % of a limit. Safe to use from many threads."""

    def __init__(
        self,
        modifications_per_day: int = 1_500,
        partition_modifications_per_day: int = 30_000,
        spent: dict[tuple[dt.date, str], Spent] | None = None,
    ) -> None:
        self._limits = Spent(int(modifications_per_day * STOP_AT), int(partition_modifications_per_day * STOP_AT))
        self._spent = dict(spent or {})
        self._lock = threading.Lock()

    def spend(self, table: str, partitions: int, now: dt.datetime) -> None:
        """Counts one modification of ``table`` that touches ``partitions`` partitions.

        Raises ``BudgetExhausted``, and counts nothing, when it would pass 95 % of a limit.
        """
        key = (quota_day(now), table)
        with self._lock:
            before = self._spent.get(key, Spent())
            after = Spent(before.modifications + 1, before.partition_modifications + partitions)
            if (
                after.modifications > self._limits.modifications
                or after.partition_modifications > self._limits.partition_modifications
            ):
                raise BudgetExhausted(
                    f"table {table} used {before.modifications:,} of {self._limits.modifications:,} modifications and "
                    f"{before.partition_modifications:,} of {self._limits.partition_modifications:,} partition "
                    f"modifications of today; {plural(partitions, 'partition', 'was', 'were')} not started, "
                    "landed payloads are kept",
                    stage="load",
                    hint=reset_hint(now),
                    resets_at=next_reset(now).isoformat(),
                )
            self._spent[key] = after

    def spent(self, now: dt.datetime) -> dict[str, Spent]:
        """Today's use per table."""
        today = quota_day(now)
        with self._lock:
            return {table: spent for (day, table), spent in self._spent.items() if day == today}


def quota_day(now: dt.datetime) -> dt.date:
    """The Pacific date of an aware instant: BigQuery's quotas end with it."""
    return now.astimezone(ZoneInfo(RESET_ZONE)).date()


def next_reset(now: dt.datetime) -> dt.datetime:
    """The next Pacific midnight, as an aware UTC instant.

    >>> next_reset(dt.datetime(2025, 7, 1, 6, 59, tzinfo=dt.UTC)).isoformat()
    '2025-07-01T07:00:00+00:00'
    """
    tomorrow = quota_day(now) + dt.timedelta(days=1)
    return dt.datetime.combine(tomorrow, dt.time(), ZoneInfo(RESET_ZONE)).astimezone(dt.UTC)


def reset_hint(now: dt.datetime) -> str:
    """When to try again, for people."""
    return f"run it again after {next_reset(now):%Y-%m-%d %H:%M} UTC (midnight Pacific time), when the quota is reset"


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
