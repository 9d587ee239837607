"""What a rule of the breaker says: warn, stop loading, wait or abort, why, and with which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What the run does about a decision."""

    WARN = "warn"
    STOP_LOADING = "stop_loading"
    WAIT = "wait"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Decision:
    """One rule that tripped: ``reason`` is what ``ABORTED(...)`` names, ``flag`` the rule, ``message`` the numbers."""

    action: Action
    reason: str
    flag: str
    message: str

    @property
    def told(self) -> str:
        """Rule and numbers, for people.

        >>> red_flag("error_rate", "11 of the last 100 dates failed").told
        'red flag, error rate: 11 of the last 100 dates failed'
        """
        return f"{self.flag.replace(':', ', ').replace('_', ' ')}: {self.message}"


def abort(reason: str, flag: str, message: str) -> Decision:
    """A decision that ends the run."""
    return Decision(Action.ABORT, reason, flag, message)


def red_flag(name: str, message: str) -> Decision:
    """A decision that ends the run as ``ABORTED(red_flag)``."""
    return abort("red_flag", f"red_flag:{name}", message)
