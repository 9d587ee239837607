"""Windows whose parent is not heard of, and windows that were frozen: they stand still, go on or end."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from live_windows import PARENT, PATIENCE_S, SOURCE, days, fleet

from alerting import store_clock
from alerting.errors import LeaseHeld
from alerting.instant import utc_now
from alerting.store_clock import StoreClock
from flows.child_runs import follower
from flows.child_runs.follower import PATIENCE, Follower
from flows.child_runs.messages import (
    Orders,
    report_name,
    write_orders,
)
from flows.coordination.lease import Holder, Lease, LeaseRecord, lease_name, lease_record
from flows.ledger.ledger import Verdict
from flows.run.supervisor import SHORTEST_STEP_S

if TYPE_CHECKING:
    from .conftest import Place

pytestmark = pytest.mark.usefixtures("processes")


WRITTEN_AT = StoreClock.written_at


@pytest.fixture
def silent_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """As if the parent's last heartbeat had been so many minutes ago."""

    def silent(minutes: int) -> None:
        ago = dt.timedelta(minutes=minutes)

        def aged(held: LeaseRecord | None) -> LeaseRecord | None:
            now = utc_now()
            until = now - ago + dt.timedelta(seconds=120)
            return held and held.model_copy(update={"heartbeat_at": now - ago, "expires_at": until})

        def written_at(clock: StoreClock, name: str) -> dt.datetime | None:
            at = WRITTEN_AT(clock, name)
            return at and at - (ago if name == lease_name(SOURCE) else dt.timedelta())

        lease_record(place.services.store, SOURCE).update(aged)
        monkeypatch.setattr(StoreClock, "written_at", written_at)

    return silent


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_window_whose_parent_is_silent_stands_still_and_goes_on_with_its_next_heartbeat(
    place: Place, silent_for: Callable[[int], None], caplog: pytest.LogCaptureFixture, has_begun: bool
) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window = found.window(*days(1, 20)) if has_begun else None
            await found.until(lambda: found.run.tally.calls >= (2 if has_begun else 0))
            # The lease's time is over, and nobody else has taken it.
            silent_for(4)
            window = window or found.window(*days(1, 20))
            await found.until(lambda: "no heartbeat of the parent" in caplog.text)
            await found.until(lambda: found.is_idle("2025-01-01"))
            asked = place.upstream.calls.report()["total"]
            assert (2 if has_begun else 0) <= asked < 20
            await asyncio.sleep(4 * SHORTEST_STEP_S)
            assert (place.upstream.calls.report()["total"], window.done()) == (asked, False)

            found.lease.heartbeat(utc_now())
            await found.until(window.done)
            window.result()
            assert place.upstream.calls.report()["by_date"] == dict.fromkeys(days(1, 20), 1)

    asyncio.run(story())


def test_a_window_on_a_machine_whose_clock_is_wrong_does_not_take_its_parent_for_dead(
    place: Place, silent_for: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = dt.timedelta(seconds=(PATIENCE + 2) * 120)
    for module in (follower, store_clock):
        monkeypatch.setattr(module, "utc_now", lambda: utc_now() + ahead)

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-04") as found:
            window = found.window(*days(1, 4))
            await found.until(window.done)
            window.result()
            assert place.upstream.calls.report()["total"] == 4
            # Nor for alive when it is dead: the store's clock tells.
            silent_for(2 * (PATIENCE + 1) + 1)
            with pytest.raises(LeaseHeld, match="no longer holds the source"):
                await found.window("2025-01-04")

    asyncio.run(story())


def test_a_window_that_was_frozen_looks_at_its_orders_before_it_begins_another_date(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPLESS_LEASE_TTL_S", "1")
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window, wake = found.window(*days(1, 20)), asyncio.Event()
            await found.until(lambda: found.run.tally.calls >= 2)

            # All of it that looks around; frozen dates could not begin, and these must not.
            async def asleep(self: Follower) -> None:
                await wake.wait()
                await step(self)

            step = Follower.step
            monkeypatch.setattr(Follower, "step", asleep)
            await asyncio.sleep(2.0)
            asked = place.upstream.calls.report()["total"]
            assert asked < 20
            await asyncio.sleep(1.0)
            assert place.upstream.calls.report()["total"] == asked

            write_orders(place.store, PARENT, Orders(given_up=frozenset({report_name(PARENT, "2025-01-01")})))
            wake.set()
            async with asyncio.timeout(PATIENCE_S):
                await window
            assert place.upstream.calls.report()["total"] == asked, "others do its dates"

    asyncio.run(story())


def test_a_window_whose_date_another_one_has_done_meanwhile_calls_for_nobody(place: Place) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 1.0})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-03") as found:
            window = found.window("2025-01-01")
            async with asyncio.timeout(PATIENCE_S):
                while not place.upstream.calls.report()["total"]:
                    await asyncio.sleep(0.02)
            place.ledger.advance("2025-01-01", Verdict.LANDED, PARENT, utc_now(), attempt="another", attempts=1)
            await found.until(window.done)
            assert place.inbox.messages() == []
            assert place.entry("2025-01-01").attempt == "another"
            assert found.run.stopped_by is None

    asyncio.run(story())


def test_a_window_that_cannot_follow_its_parent_any_more_ends_and_stops_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window = found.window(*days(1, 20))
            await found.until(lambda: found.run.tally.calls >= 2)

            async def broken(_: Follower) -> None:
                raise RuntimeError("nobody knows this")

            monkeypatch.setattr(Follower, "step", broken)
            async with asyncio.timeout(PATIENCE_S):
                await window
            assert place.upstream.calls.report()["total"] < 20
            await found.supervisor.step()
            assert found.run.stopped_by is None

    asyncio.run(story())


@pytest.mark.parametrize("end", ["released", "taken over", "silent for too long"])
def test_a_window_that_stands_still_for_its_parent_ends_when_the_source_is_not_the_parents_any_more(
    place: Place, silent_for: Callable[[int], None], caplog: pytest.LogCaptureFixture, end: str
) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window = found.window(*days(1, 20))
            await found.until(lambda: found.run.tally.calls >= 1)
            silent_for(4)
            await found.until(lambda: "no heartbeat of the parent" in caplog.text)
            if end == "released":
                found.lease.release(utc_now())
            elif end == "taken over":
                Lease.acquire(place.store, SOURCE, Holder("bf-another00001"), now=utc_now(), ttl_s=120)
            else:
                silent_for(2 * (PATIENCE + 1) + 1)
            async with asyncio.timeout(PATIENCE_S):
                await window
            assert place.upstream.calls.report()["total"] < 20
            assert found.report("2025-01-01").ended

    asyncio.run(story())
