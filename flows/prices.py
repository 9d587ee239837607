"""What a run costs in US dollars: calls to the source, operations of Cloud Storage, bytes that BigQuery bills. Pure.

Loading is free in BigQuery and deleting is free in Cloud Storage; keeping the payloads afterwards is not counted.
https://cloud.google.com/bigquery/pricing, https://cloud.google.com/storage/pricing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TIB = 2**40
# Operations that create or list; the others but deletes read.
_WRITES = ("write", "list")
_READS = ("read", "stat")


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used: calls to the source, storage operations of classes A and B, bytes that BigQuery bills."""

    calls: int = 0
    storage_writes: int = 0
    storage_reads: int = 0
    billed_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.storage_writes + other.storage_writes,
            self.storage_reads + other.storage_reads,
            self.billed_bytes + other.billed_bytes,
        )


def storage_usage(operations: Mapping[str, int]) -> Usage:
    """Requests by kind, as the object store counts them.

    >>> storage_usage({"write": 4, "list": 1, "read": 2, "delete": 9})
    Usage(calls=0, storage_writes=5, storage_reads=2, billed_bytes=0)
    """
    return Usage(
        storage_writes=sum(operations.get(kind, 0) for kind in _WRITES),
        storage_reads=sum(operations.get(kind, 0) for kind in _READS),
    )


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per call, per 1,000 storage operations of classes A and B, per TiB that BigQuery bills."""

    usd_per_call: float = 0.0
    usd_per_1000_writes: float = 0.0
    usd_per_1000_reads: float = 0.0
    usd_per_tib: float = 0.0

    def cost_usd(self, used: Usage) -> dict[str, float]:
        """Dollars by what they are paid for: ``calls``, ``storage``, ``bigquery``.

        >>> Prices(usd_per_call=0.01, usd_per_1000_writes=0.005).cost_usd(Usage(calls=20, storage_writes=2000))
        {'calls': 0.2, 'storage': 0.01, 'bigquery': 0.0}
        """
        return {
            "calls": used.calls * self.usd_per_call,
            "storage": used.storage_writes / 1000 * self.usd_per_1000_writes
            + used.storage_reads / 1000 * self.usd_per_1000_reads,
            "bigquery": used.billed_bytes / TIB * self.usd_per_tib,
        }

    def total_usd(self, used: Usage) -> float:
        """All of it."""
        return sum(self.cost_usd(used).values())
