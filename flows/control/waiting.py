"""Takes a source's lease, or waits for it as long as was asked."""

from __future__ import annotations

import asyncio
import time

from prefect.runtime import flow_run

from alerting.errors import LeaseHeld
from flows.control.lease import Lease
from flows.control.yielding import BorrowedLease, ask_for, withdraw
from flows.log import partition_logger
from flows.wiring import Services
from scrapers.scrape import utc_now

POLL_S = 2.0


async def acquire_when_free(
    services: Services, source: str, *, backfill_id: str, range_text: str, mode: str = "backfill", wait_s: float = 0.0
) -> Lease:
    """The lease of ``source``; raises ``LeaseHeld`` at once with ``wait_s=0``, else when the wait is over.

    One run of a source at a time, whatever its dates: a table has one writer, and the source's quota one owner. To
    spread one range over many processes, run it with ``engine=distributed``.
    """
    deadline_s = time.monotonic() + wait_s
    told = False
    while True:
        try:
            lease: Lease = await asyncio.to_thread(
                Lease.acquire,
                services.store,
                source,
                backfill_id=backfill_id,
                now=utc_now(),
                ttl_s=services.settings.lease_ttl_s,
                flow_run_id=str(flow_run.id or ""),
                mode=mode,
                range_text=range_text,
            )
            return lease
        except LeaseHeld as held:
            if mode != "backfill" and (lent := await asyncio.to_thread(_ask, services, source, backfill_id, mode)):
                return lent
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                await asyncio.to_thread(withdraw, services.store, source, backfill_id)
                raise
            if not told:
                partition_logger().info("waiting up to %.0f s: %s", wait_s, held.message)
                told = True
            await asyncio.sleep(min(POLL_S, left_s))


def _ask(services: Services, source: str, live_id: str, mode: str) -> BorrowedLease | None:
    return ask_for(services.store, source, live_id, mode=mode, now=utc_now(), ttl_s=services.settings.lease_ttl_s)
