"""The table budget, shared by all runs and processes: counts of one Pacific day in object storage.

An object a table: Cloud Storage takes about one write a second to one object name, and a table has one writer, whose
loads take longer than that. https://docs.cloud.google.com/storage/quotas
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import random
import time
from collections.abc import Callable

from alerting.errors import LandingUnavailable, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from processors.table_budget import Spent, TableBudget, quota_day

PREFIX = "budgets/bigquery/table="
_WRITE_TRIES = 20
_JSON = "application/json"


class StoredTableBudget(TableBudget):
    """As its base, but what others spent counts too. One read and one write per modification, which takes seconds.

    Args:
        store: Where the counts lie, under ``budgets/bigquery/table=<table>.json``.
        modifications_per_day: Of one table.
        partition_modifications_per_day: Of one table.
        sleep: Replaced in tests.
    """

    def __init__(
        self,
        store: ObjectStore,
        modifications_per_day: int = 1_500,
        partition_modifications_per_day: int = 30_000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(modifications_per_day, partition_modifications_per_day)
        self._limits_of_day = (modifications_per_day, partition_modifications_per_day)
        self._store = store
        self._sleep = sleep

    def spend(self, table: str, partitions: int, now: dt.datetime) -> None:
        """As the base; raises ``StateUnreadable`` when the counts cannot be read, and counts nothing then."""
        name = f"{PREFIX}{table}.json"
        today = quota_day(now)
        for number in range(_WRITE_TRIES):
            before, generation = self._read(name, today)
            counted = TableBudget(*self._limits_of_day, spent={(today, table): before})
            counted.spend(table, partitions, now)
            try:
                self._store.write(
                    name, _packed(counted.spent(now)[table], today), if_generation=generation, content_type=_JSON
                )
            except GenerationConflict:
                self._sleep(random.uniform(0.01, 0.05 * (number + 1)))  # noqa: S311 - spreads writers apart
            else:
                return
        raise LandingUnavailable(f"{name} changed under every of {_WRITE_TRIES} writes", stage="load")

    def spent(self, now: dt.datetime) -> dict[str, Spent]:
        """Today's use per table, by everybody."""
        names = [stored.name for stored in self._store.list(PREFIX)]
        today = quota_day(now)
        return {
            name.removeprefix(PREFIX).removesuffix(".json"): found
            for name in names
            if (found := self._read(name, today)[0]) != Spent()
        }

    def _read(self, name: str, today: dt.date) -> tuple[Spent, int]:
        try:
            data, generation = self._store.read(name)
            stored = json.loads(data)
            if stored["day"] != today.isoformat():
                return Spent(), generation
            return Spent(int(stored["modifications"]), int(stored["partition_modifications"])), generation
        except ObjectMissing:
            return Spent(), 0
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateUnreadable(
                f"state unreadable at {self._store.root_uri}/{name}; nothing was loaded", stage="load"
            ) from error


def _packed(spent: Spent, today: dt.date) -> bytes:
    return json.dumps({"day": today.isoformat(), **dataclasses.asdict(spent)}, indent=1).encode()
