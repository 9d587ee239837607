"""The table budget, shared by all runs and processes: counts of one Pacific day in object storage."""

from __future__ import annotations

import datetime as dt
import json
import random
import time
from collections.abc import Callable

from alerting.errors import LandingUnavailable, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from processors.table_budget import Spent, TableBudget, quota_day

NAME = "budgets/bigquery.json"
_WRITE_TRIES = 20


class StoredTableBudget(TableBudget):
    """As its base, but what others spent counts too. One read and one write per modification, which takes seconds.

    Args:
        store: Where the counts lie, under ``budgets/bigquery.json``.
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
        for number in range(_WRITE_TRIES):
            spent, generation = self._read(now)
            day = TableBudget(*self._limits_of_day, spent={(quota_day(now), name): one for name, one in spent.items()})
            day.spend(table, partitions, now)
            data = json.dumps(
                {
                    "day": quota_day(now).isoformat(),
                    "tables": {
                        name: [one.modifications, one.partition_modifications] for name, one in day.spent(now).items()
                    },
                },
                indent=1,
            ).encode()
            try:
                self._store.write(NAME, data, if_generation=generation, content_type="application/json")
            except GenerationConflict:
                self._sleep(random.uniform(0.01, 0.05 * (number + 1)))  # noqa: S311 - spreads writers apart
            else:
                return
        raise LandingUnavailable(f"{NAME} changed under every of {_WRITE_TRIES} writes", stage="load")

    def spent(self, now: dt.datetime) -> dict[str, Spent]:
        """Today's use per table, by everybody."""
        return self._read(now)[0]

    def _read(self, now: dt.datetime) -> tuple[dict[str, Spent], int]:
        try:
            data, generation = self._store.read(NAME)
            stored = json.loads(data)
            if stored["day"] != quota_day(now).isoformat():
                return {}, generation
            return {name: Spent(int(one), int(other)) for name, (one, other) in stored["tables"].items()}, generation
        except ObjectMissing:
            return {}, 0
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateUnreadable(
                f"state unreadable at {self._store.root_uri}/{NAME}; nothing was loaded", stage="load"
            ) from error
