"""What the queries of one process cost, as BigQuery itself says it."""

from __future__ import annotations

import threading
from typing import Any


class BilledBytes:
    """Bytes billed by the jobs that were told; load jobs are free. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = 0

    def add(self, job: Any) -> None:
        """Counts a finished query job; a job that does not say counts as nothing."""
        billed = getattr(job, "total_bytes_billed", None)
        with self._lock:
            self._total += int(billed or 0)

    @property
    def total(self) -> int:
        """Bytes so far."""
        with self._lock:
            return self._total
