"""The breaker's limits of one run: settings, and what the run was asked."""

from __future__ import annotations

import dataclasses

from flows.control.trips import Limits
from flows.parameters import Asked, OnFailure
from flows.settings import Settings


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
