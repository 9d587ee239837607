"""The rate of a source across processes: Prefect's global limits behind the in-process budget."""

from __future__ import annotations

from prefect.concurrency.sync import rate_limit

from alerting.errors import ConfigurationError, SourceUnavailable
from scrapers.base import Rate
from scrapers.budget import Budget

# Measured with 8 processes: a limit of 1 with decay at the rate itself stays below it; the rest is for clocks.
HEADROOM = 0.95


def limit_name(source: str) -> str:
    """The global limit of one source; ``deployments.provision`` creates it."""
    return f"gapless-{source}"


def calls_per_second(rate: Rate) -> float | None:
    """What one global limit with one slot has to decay at; None when the source declares no rate.

    One slot, because a bucket of 60 bursts 108 calls in a minute and breaks the quota it was meant to keep.
    """
    limits = [rate.per_second, rate.per_minute / 60 if rate.per_minute else None]
    known = [limit for limit in limits if limit]
    return min(known) * HEADROOM if known else None


class SharedBudget(Budget):
    """A budget that also asks the source's global limit, so that all workers together keep the rate.

    Day and month walls stay those of this process.
    """

    def acquire(self, timeout_s: float | None = None) -> float:
        """As ``Budget.acquire``; ``ConfigurationError`` when the global limit was never provisioned."""
        waited_s = super().acquire(timeout_s)
        if calls_per_second(self.rate) is None:
            return waited_s
        try:
            rate_limit(limit_name(self.source), strict=True, timeout_seconds=timeout_s)
        except TimeoutError as error:
            raise SourceUnavailable(
                f"no slot of {limit_name(self.source)} within {timeout_s:g} s", source=self.source, stage="scrape"
            ) from error
        except Exception as error:
            if "does not exist" not in str(error):
                raise SourceUnavailable(
                    f"the limit {limit_name(self.source)} could not be asked: {type(error).__name__}",
                    source=self.source,
                    stage="scrape",
                ) from error
            raise ConfigurationError(
                f"the global limit {limit_name(self.source)} does not exist; no call was made",
                source=self.source,
                stage="scrape",
                hint="python -m deployments.provision",
            ) from error
        return waited_s
