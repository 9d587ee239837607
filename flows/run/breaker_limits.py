"""Numbers at which the breaker's rules trip: of the settings, and of what a run was asked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from flows.asked import Asked
from flows.parameters import OnFailure
from flows.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """When it trips; None or 0 turns a rule off. Shares are of the last ``window`` outcomes of a stage."""

    warn_share: float = 0.1
    abort_share: float = 0.2
    min_sample: int = 20
    window: int = 100
    same_error: int = 10
    contract_breaks: int = 5
    contract_dates: int = 10
    rate_limited: int = 5
    slow_factor: float = 10.0
    slow_over_s: float = 5.0
    stall_s: float = 3600.0
    deadline_s: float = 0.0
    max_calls: int = 0
    cost_unit: str = ""
    max_cost_usd: float = 0.0
    memory_bytes: int = 0
    stop_at_first: bool = False

    @property
    def are_of_budget(self) -> bool:
        """Whether calls or money of the run are limited."""
        return bool(self.max_calls or self.max_cost_usd)


def breaker_limits(settings: Settings, asked: Asked) -> Limits:
    """The settings' limits and what this run was asked; without the breaker only deadline, calls and stop-at-first."""
    own = Limits(
        deadline_s=asked.deadline_h * 3600 or settings.run_deadline_s,
        max_calls=asked.max_calls,
        max_cost_usd=asked.max_cost_usd or settings.run_budget_usd,
        stop_at_first=asked.on_failure is OnFailure.STOP,
        warn_share=settings.warn_share,
        abort_share=settings.abort_share,
        min_sample=settings.breaker_min_sample,
        stall_s=settings.stall_s,
        memory_bytes=settings.memory_limit_mb * 2**20,
    )
    if asked.breaker:
        return own
    return dataclasses.replace(
        own,
        warn_share=0.0,
        abort_share=0.0,
        same_error=0,
        contract_breaks=0,
        rate_limited=0,
        slow_factor=0.0,
        stall_s=0.0,
    )
