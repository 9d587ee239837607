"""What the breaker answers with: limits, actions, trips. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What the run does about a trip."""

    WARN = "warn"
    STOP_LOADING = "stop_loading"
    WAIT = "wait"
    ABORT = "abort"


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
    max_cost_usd: float = 0.0
    memory_bytes: int = 0
    stop_at_first: bool = False


@dataclass(frozen=True, slots=True)
class Trip:
    """One rule that tripped: ``reason`` is what ``ABORTED(...)`` names, ``flag`` the rule, ``message`` the numbers."""

    action: Action
    reason: str
    flag: str
    message: str


def abort(reason: str, flag: str, message: str) -> Trip:
    """A trip that ends the run."""
    return Trip(Action.ABORT, reason, flag, message)


def red_flag(name: str, message: str) -> Trip:
    """A trip that ends the run as ``ABORTED(red_flag)``."""
    return abort("red_flag", f"red_flag:{name}", message)
