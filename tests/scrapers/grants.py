"""Whether a budget grants a call at this instant."""

from __future__ import annotations

from alerting.errors import RateLimited
from scrapers.pace.budget import Budget


def is_granted(budget: Budget) -> bool:
    """Takes a call if it may be made without waiting. Raises ``BudgetExhausted`` at a day or month wall."""
    try:
        budget.acquire(timeout_s=0)
    except RateLimited:
        return False
    return True
