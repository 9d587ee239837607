"""Starts `run_backfill.py` and reads what it cost."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONCURRENCY = 8
LATENCY_MS = 50


def backfill_cost(dates: Sequence[dt.date], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One backfill over the dates in a process of its own, with these variables besides those of this process."""
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("run_backfill.py")),
            str(dates[0]),
            str(dates[-1]),
            str(CONCURRENCY),
        ],
        # As the worker of the embedded stack and the image start flow runs.
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "WARNING", "MALLOC_ARENA_MAX": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=2400,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    assert found["message"].startswith("COMPLETE"), found
    return found
