"""The rate of a source across processes: Prefect's global limits behind the in-process budget."""

from __future__ import annotations

import math
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from alerting.errors import ConfigurationError, PipelineError, SourceUnavailable
from scrapers.pace.budget import Budget
from scrapers.pace.rate_batcher import RateBatcher, Room
from scrapers.rate import Rate

# What the limit decays at, in parts of the declared rate; half of the rest may come at once, half is for clocks.
HEADROOM = 0.95
# Every grant drops the fraction of a slot that has decayed since the last one (prefect 3.8.8). With one slot per call
# that is up to a fifth of the rate, with a hundred nothing.
SLOTS_PER_CALL = 100
_REFUSED_FOR_NOW = 423
_REQUEST_TIMEOUT_S = 30.0


def limit_name(source: str) -> str:
    """The global limit of one source; ``deployments.provision`` creates it."""
    return f"gapless-{source}"


def calls_per_second(rate: Rate) -> float | None:
    """What all processes together may call, on average; None when the source declares no rate."""
    limits = [rate.per_second, rate.per_minute / 60 if rate.per_minute else None]
    known = [limit for limit in limits if limit]
    return min(known) * HEADROOM if known else None


def bucket(rate: Rate) -> tuple[int, float] | None:
    """``limit`` and ``slot_decay_per_second`` of the source's global limit; None when the source declares no rate.

    It holds as many calls as may come at once without any window of the declared length ever holding more than
    declared: 16 of 600 a minute, and 1 of fewer than 40. (A bucket of 60 lets 630 calls through in one minute.)
    """
    per_second = calls_per_second(rate)
    if per_second is None:
        return None
    declared = [limit for limit in (rate.per_second, rate.per_minute) if limit]
    at_once = min(1 + math.floor(limit * (1 - HEADROOM) / 2 + 1e-9) for limit in declared)
    return at_once * SLOTS_PER_CALL, per_second * SLOTS_PER_CALL


def counts_for_s(rate: Rate, calls: int) -> float:
    """How long ``calls`` that the global limit does not know, as a parent's canaries, leave no room beside it.

    >>> counts_for_s(Rate(per_minute=4), 1), counts_for_s(Rate(per_minute=600), 10), counts_for_s(Rate(), 9)
    (60.0, 0.0, 0.0)
    """
    left = 0.0
    for limit, width_s in ((rate.per_second, 1.0), (rate.per_minute, 60.0)):
        most_of_it = 1 + math.floor((limit or 0) * (1 - HEADROOM) / 2 + 1e-9) + (limit or 0) * HEADROOM
        if limit and calls > math.floor(limit) - math.floor(most_of_it):
            left = max(left, width_s)
    return left


class PrefectLimit:
    """The global limit of one source on the Prefect server; not thread-safe.

    A call costs as many slots as keep ``per_second``, whatever the limit was provisioned for: with a setting lowered
    since, a call costs more of them.
    """

    def __init__(self, source: str, per_second: float) -> None:
        self.source = source
        self._per_second = per_second
        self._slots_per_call = SLOTS_PER_CALL
        self._client: SyncPrefectClient | None = None

    def look(self) -> Room:
        """Raises ``ConfigurationError`` for a limit that is missing or does not fit, else ``SourceUnavailable``."""
        try:
            limit = self._connected().read_global_concurrency_limit_by_name(limit_name(self.source))
        except ObjectNotFound as error:
            raise self._misfit("does not exist") from error
        except Exception as error:
            raise self._unreachable(error) from error
        decay = limit.slot_decay_per_second
        if decay <= 0:
            raise self._misfit("has no slot decay and is no rate")
        self._slots_per_call = max(1, math.ceil(decay / self._per_second - 1e-6))
        most = limit.limit // self._slots_per_call
        if not most:
            raise self._misfit(f"is meant for more than {self._per_second:g} calls a second")
        free = (limit.limit - limit.active_slots) / self._slots_per_call
        return Room(free, most, self._slots_per_call / decay)

    def take(self, calls: int) -> bool:
        """Raises ``SourceUnavailable`` when the server gives no answer."""
        slots = calls * self._slots_per_call
        try:
            self._connected().increment_concurrency_slots([limit_name(self.source)], slots, mode="rate_limit")
        except PrefectHTTPStatusError as error:
            if error.response.status_code == _REFUSED_FOR_NOW:
                return False
            raise self._unreachable(error) from error
        except Exception as error:
            raise self._unreachable(error) from error
        return True

    def close(self) -> None:
        """Closes the connections; it may be used again afterwards."""
        client, self._client = self._client, None
        if client is not None:
            client.__exit__(None, None, None)

    def _connected(self) -> SyncPrefectClient:
        if self._client is None:
            # Settings of its own, or it would be the client of the task that happens to call first.
            self._client = get_client({"timeout": _REQUEST_TIMEOUT_S}, sync_client=True).__enter__()
        return self._client

    def _misfit(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"the global limit {limit_name(self.source)} {what}; no call was made",
            source=self.source,
            stage="scrape",
            hint="python -m deployments.provision",
        )

    def _unreachable(self, error: Exception) -> SourceUnavailable:
        return SourceUnavailable(
            f"the limit {limit_name(self.source)} could not be asked: {type(error).__name__}",
            source=self.source,
            stage="scrape",
        )


class SharedBudget(Budget):
    """A budget that also asks the source's global limit, so that all workers together keep the rate.

    Day and month walls are those of its quota, or of this process alone where it has none.
    """

    def __init__(self, rate: Rate, *, source: str, limit: PrefectLimit | None = None, **rest: Any) -> None:
        super().__init__(rate, source=source, **rest)
        per_second = calls_per_second(rate)
        self._limit = (limit or PrefectLimit(source, per_second)) if per_second else None
        self._batcher = RateBatcher(self._limit, clock=self._clock, chance=self._chance) if self._limit else None

    def acquire(self, timeout_s: float | None = None, units: int = 1) -> float:
        """As ``Budget.acquire``; ``ConfigurationError`` when the global limit was not provisioned for this rate."""
        waited_s = super().acquire(timeout_s, units)
        if self._batcher is None:
            return waited_s
        try:
            elsewhere_s = self._batcher.wait(timeout_s)
            # The source may have asked another window for a pause meanwhile; and this run may be over.
            self.wait_out_pause(timeout_s)
        except TimeoutError as error:
            self.refund(units)
            raise SourceUnavailable(
                f"no call of {limit_name(self.source)} within {timeout_s:g} s", source=self.source, stage="scrape"
            ) from error
        except PipelineError:
            self.refund(units)
            raise
        with self._lock:
            self._waited_s += elsewhere_s
        return waited_s + elsewhere_s

    def close(self) -> None:
        """As ``Budget.close``, and closes the connections to the server."""
        if self._limit is not None:
            self._limit.close()
        super().close()
