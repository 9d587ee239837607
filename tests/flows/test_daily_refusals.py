"""What the settings close is refused by the daily run before it waits for anybody, or writes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from flows import daily as daily_module
from flows.coordination.lease import Holder, Lease
from flows.settings import Settings
from flows.wiring import Services

SOURCE = "bdl_box_scores"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryObjectStore]:
    """In which a backfill holds the source."""
    store = MemoryObjectStore()
    monkeypatch.setattr(Services, "store", store)
    Lease.acquire(store, SOURCE, Holder("bf-other", SOURCE), now=utc_now(), ttl_s=900)
    return store


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"account_tiers": {"balldontlie": "free"}}, "bdl_box_scores needs the tier goat"),
        ({"source_raw_days": {"bdl_boxscores": 30}}, "GAPLESS_SOURCE_RAW_DAYS names 'bdl_boxscores'"),
    ],
    ids=["a closed source", "an unknown name"],
)
def test_the_daily_run_refuses_what_the_settings_close_and_does_not_wait_for_the_lease(
    store: MemoryObjectStore, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], told: str
) -> None:
    services = Services(Settings(console_only=True, **settings))
    monkeypatch.setattr(daily_module, "build_services", lambda: services)
    before = {one.name: one.generation for one in store.list("")}
    state = asyncio.run(daily_module.daily.fn(SOURCE, wait_for_lease_s=0))  # type: ignore[arg-type]
    assert state.is_failed()
    assert told in (state.message or "")
    after = {one.name: one.generation for one in store.list("")}
    alerts = ("pending-alerts/", "alert-state/", "clock.json")
    assert {name: one for name, one in after.items() if not name.startswith(alerts)} == {
        name: one for name, one in before.items() if not name.startswith(alerts)
    }
