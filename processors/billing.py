"""What the queries of one process cost, as BigQuery itself says it."""

from __future__ import annotations

import threading


class BilledBytes:
    """Bytes billed by what was told; load jobs are free. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = 0

    def add(self, billed: int | str | None) -> None:
        """Counts ``totalBytesBilled`` of a job, or of an answer without one; where it is not told, nothing."""
        with self._lock:
            self._total += int(billed or 0)

    @property
    def total(self) -> int:
        """Bytes so far."""
        with self._lock:
            return self._total
