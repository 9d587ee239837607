"""A lease is alive for as long as its holder is, whatever the holder does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import ConfigurationError, LeaseHeld
from alerting.instant import utc_now
from flows import backfill, backfill_family, daily
from flows.asked import Asked, AskedFamily
from flows.coordination import kept_lease
from flows.coordination.kept_lease import held_by_hand, kept_alive
from flows.coordination.lease import Holder, Lease, lease_record, read_lease
from flows.run.plain_orchestrator import PlainOrchestrator

if TYPE_CHECKING:
    from ..conftest import Place

SOURCE, FAMILY, DATE = "bdl_box_scores", "nba", "2025-01-10"
TTL_S, BEAT_S = 0.6, 0.05


@pytest.fixture
def brief(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Leases that live shortly, and beat often."""
    monkeypatch.setenv("GAPLESS_LEASE_TTL_S", str(TTL_S))
    monkeypatch.setenv("GAPLESS_HEARTBEAT_S", str(BEAT_S))
    place.services = backfill.build_services()
    return place


def run_source(place: Place) -> Awaitable[Any]:
    asked = Asked.model_validate({"source": SOURCE, "start_date": DATE, "end_date": DATE})
    return backfill.run_backfill(place.services, asked, "bf-slow", PlainOrchestrator())


def run_family(place: Place) -> Awaitable[Any]:
    asked = AskedFamily.model_validate({"family": FAMILY, "start_date": DATE, "end_date": DATE})
    return backfill_family.run_family(place.services, asked, "bf-slow", PlainOrchestrator())


def run_daily(place: Place) -> Awaitable[Any]:
    return daily.daily.fn(SOURCE)  # type: ignore[arg-type, no-any-return]


@pytest.mark.parametrize(
    ("module", "planning", "held", "runs"),
    [
        (backfill, "plan_asked", SOURCE, run_source),
        (backfill_family, "plan_family", FAMILY, run_family),
        (daily, "live_plan", SOURCE, run_daily),
    ],
)
def test_a_run_whose_planning_takes_longer_than_its_lease_is_alive_all_the_same(
    brief: Place,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    planning: str,
    held: str,
    runs: Callable[[Place], Awaitable[Any]],
) -> None:
    seen: list[bool] = []

    def slow(*_: object, **__: object) -> None:
        if read_lease(brief.store, held) is None:
            # A family is planned before anything of it is held, too.
            return
        time.sleep(2 * TTL_S)
        lease = read_lease(brief.store, held)
        assert lease is not None
        seen.append(lease.is_alive(utc_now()))
        raise ConfigurationError("no plan")

    async def ran() -> None:
        await runs(brief)

    monkeypatch.setattr(module, planning, slow)
    with contextlib.suppress(ConfigurationError):
        asyncio.run(ran())
    assert seen == [True]
    lease = read_lease(brief.store, held)
    assert lease is not None
    assert lease.state == "released"


def test_a_run_that_lost_its_source_while_it_planned_begins_nothing(
    brief: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_asked = backfill.plan_asked

    def frozen(*given: Any) -> Any:
        taken = {"backfill_id": "bf-other", "expires_at": utc_now()}
        lease_record(brief.store, SOURCE).update(lambda one: one.model_copy(update=taken) if one else None)
        time.sleep(TTL_S)
        return plan_asked(*given)

    monkeypatch.setattr(backfill, "plan_asked", frozen)
    with pytest.raises(LeaseHeld, match="bf-other"):
        asyncio.run(run_source(brief))  # type: ignore[arg-type]
    assert not [name for name in brief.objects() if name.startswith(("runs/", "outbox/"))]


def test_a_command_keeps_its_lease_alive_and_is_told_when_another_took_it(brief: Place) -> None:
    with held_by_hand(brief.services, SOURCE, "tidy-up") as lease:
        time.sleep(2 * TTL_S)
        lease.check()
        with pytest.raises(LeaseHeld, match="tidy-up"), held_by_hand(brief.services, SOURCE, "tidy-up"):
            pass
        taken = {"backfill_id": "bf-other"}
        lease_record(brief.store, SOURCE).update(lambda one: one.model_copy(update=taken) if one else None)
        time.sleep(2 * TTL_S)
        with pytest.raises(LeaseHeld, match="bf-other"):
            lease.check()
    held = read_lease(brief.store, SOURCE)
    assert held is not None
    assert (held.backfill_id, held.state) == ("bf-other", "held")


def test_a_heartbeat_that_fails_for_a_reason_nobody_thought_of_is_not_the_last_one(
    brief: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[str] = []

    def breaks() -> None:
        beats.append("beat")
        raise RuntimeError("dictionary changed size during iteration")

    async def story() -> None:
        lease = Lease.acquire(brief.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=TTL_S)
        async with kept_alive(lease, BEAT_S, also=breaks), asyncio.timeout(20):
            while len(beats) < 2:
                await asyncio.sleep(BEAT_S)

    told: list[str] = []
    monkeypatch.setattr(kept_lease.partition_logger(), "warning", lambda text, *given: told.append(text % given))
    asyncio.run(story())
    assert told[0].endswith("RuntimeError: dictionary changed size during iteration")
