"""How runs are named: ids derived from the flow run alone, and windows by the partitions in them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID


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


def window_name(partitions: Sequence[str]) -> str:
    """``2025-01-03`` for one partition, ``2025-01-01..2025-01-31 (31)`` for several."""
    if len(partitions) == 1:
        return partitions[0]
    return f"{partitions[0]}..{partitions[-1]} ({len(partitions)})"
