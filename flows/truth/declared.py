"""Which dates somebody asked for: a run's plan, the daily run since its first date, or the setting ``audit_from``.

A date in none of these is nobody's gap: two ranges of one source may lie years apart.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from flows.planning.stored_plan import planned_keys
from flows.truth.inventory import Known
from flows.wiring import Services


def without_unasked(services: Services, source: str, inventory: Sequence[Known]) -> list[Known]:
    """The inventory without partitions of which nothing is there and that nobody asked for."""
    absent = {
        one.partition.key for one in inventory if one.is_missed or not (one.entry or one.attempts or one.has_rows)
    }
    if not absent:
        return list(inventory)
    since = [*_daily_since(inventory), *_audit_from(services, source)]
    begin = min(since, default=dt.date.max)
    asked = planned_keys(services.store, source)
    return [
        one
        for one in inventory
        if one.partition.key not in absent
        or one.partition.is_whole
        or one.partition.key in asked
        or one.partition.start >= begin
    ]


def _daily_since(inventory: Iterable[Known]) -> list[dt.date]:
    return [
        one.partition.start
        for one in inventory
        if not one.partition.is_whole and any(attempt.backfill_id.startswith("daily-") for attempt in one.attempts)
    ]


def _audit_from(services: Services, source: str) -> list[dt.date]:
    begin = services.settings.audit_from.get(source)
    return [begin] if begin else []
