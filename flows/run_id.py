"""How runs are named: ids derived from the flow run alone, runs by what they are to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from alerting.ranges import expand_dates
from alerting.wording import plural
from flows.parameters import Reason, flat

_LONGEST_NAMED = 80


def backfill_id_of(flow_run_id: UUID | str, run_count: int) -> str:
    """Derived from the flow run alone, so that hooks in another process find the same backfill.

    >>> backfill_id_of("0f3a5c1e-7b1d-4f6e-9a55-0123456789ab", 1)
    'bf-0f3a5c1e7b1d'
    """
    short = f"bf-{str(flow_run_id).replace('-', '')[:12]}"
    return short if run_count <= 1 else f"{short}-r{run_count}"


def daily_id_of(flow_run_id: object) -> str:
    """Derived from the flow run alone, so that a hook in another process finds the same lease.

    >>> daily_id_of("0f3a5c1e-7b1d-4f6e-9a55-0123456789ab")
    'daily-0f3a5c1e7b1d'
    """
    return f"daily-{str(flow_run_id).replace('-', '')[:12]}"


def family_run_name(given: Mapping[str, Any]) -> str:
    """Family and period or dates.

    >>> family_run_name({"family": "nba", "period": "2024-25"})
    'nba 2024-25'
    """
    given = flat(given)
    family = getattr(given["family"], "value", given["family"])
    what = given.get("period") or f"{given.get('start_date', '')}..{given.get('end_date', '')}"
    resumes = f" resumes {earlier}" if (earlier := given.get("resume_of")) else ""
    return f"{family} {what}{resumes}"


def run_name(given: Mapping[str, Any]) -> str:
    """Source and range or entities; of a run for some of them, what it does with how many.

    >>> january = {"source": "nba", "start_date": "2025-01-01", "end_date": "2025-01-31"}
    >>> run_name(january), run_name({**january, "dates": "2025-01-03, 2025-01-05..2025-01-11", "reason": "errors"})
    ('nba 2025-01-01..2025-01-31', 'nba retry 8 of 2025-01-01..2025-01-31')
    >>> run_name({**january, "advanced": {"resume_of": "bf-1"}})
    'nba 2025-01-01..2025-01-31 resumes bf-1'
    """
    given = flat(given)
    source, reason = (getattr(value, "value", value) for value in (given["source"], given.get("reason", "")))
    asked = given.get("entities") or given.get("dates") or ""
    whole = "" if given.get("entities") else f"{given['start_date']}..{given['end_date']}"
    try:
        count = len(expand_dates(asked))
    except ValueError:
        count = 0
    is_retry = given.get("retry_failed") or reason == Reason.ERRORS.value
    parts = [str(source), "retry" if is_retry else ""]
    if not whole:
        parts.append(asked if len(asked) <= _LONGEST_NAMED else f"{plural(count, 'entity')}")
    else:
        parts.append(f"{count:,} of {whole}" if asked and count else whole)
    if earlier := given.get("resume_of"):
        parts.append(f"resumes {earlier}")
    elif earlier := given.get("failed_of") or given.get("plan_of"):
        parts.append(f"as {earlier} left it")
    return " ".join(part for part in parts if part)
