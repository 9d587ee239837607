"""Keeps a lease alive beside other work: of a run that is still planning, of a family, of a person's command."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator

from alerting.errors import LeaseHeld
from alerting.instant import utc_now
from alerting.redaction import redact
from flows.coordination.lease import Holder, Lease
from flows.log import partition_logger
from flows.wiring import Services
from scrapers.scrape import nothing


@contextlib.asynccontextmanager
async def kept_alive(
    lease: Lease,
    heartbeat_s: float,
    *,
    also: Callable[[], object] = nothing,
    when_lost: Callable[[LeaseHeld], object] = lambda _: None,
) -> AsyncIterator[None]:
    """Heartbeats of ``lease`` meanwhile; ``also`` is called after each, in its thread. A lost lease has no more."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(heartbeat_s)
            try:
                await asyncio.to_thread(_beat, lease, also)
            except LeaseHeld as error:
                when_lost(error)
                return

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


@contextlib.contextmanager
def held_by_hand(services: Services, source: str, mode: str, range_text: str = "") -> Iterator[Lease]:
    """The source belongs to a person's command meanwhile, which asks ``Lease.check`` before it writes.

    Raises ``LeaseHeld`` while a run works on the source. Blocking.
    """
    settings, now = services.settings, utc_now()
    # Of its own, so that two persons who type it in the same second are two.
    holder = Holder(f"{mode}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", mode=mode, range_text=range_text)
    lease = Lease.acquire(services.store, source, holder, now=now, ttl_s=settings.lease_ttl_s)
    over = threading.Event()

    def beat() -> None:
        with contextlib.suppress(LeaseHeld):
            while not over.wait(settings.heartbeat_s):
                _beat(lease, nothing)

    beating = threading.Thread(target=beat, name=f"{mode} heartbeat", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        over.set()
        beating.join()
        lease.release(utc_now())


def _beat(lease: Lease, also: Callable[[], object]) -> None:
    try:
        lease.heartbeat(utc_now())
        also()
    except LeaseHeld:
        raise
    except Exception as error:  # whatever it is: a holder whose heartbeat has ended would be taken for dead
        partition_logger().warning("heartbeat failed, trying again: %s", redact(f"{type(error).__name__}: {error}"))
