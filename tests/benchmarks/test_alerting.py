"""What 100,000 errors of one backfill cost, against 10,000."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]


def load(count: int) -> dict[str, Any]:
    """``alert_load`` in a process of its own."""
    script = str(Path(__file__).with_name("alert_load.py"))
    done = subprocess.run(
        [sys.executable, script, str(count)], capture_output=True, text=True, timeout=1700, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return found


def test_the_memory_of_alerting_does_not_grow_with_the_number_of_errors() -> None:
    small, big = load(10_000), load(100_000)
    print("\nerrors of one backfill             10,000    100,000")
    for label, name, unit in (
        ("CPU to record one", "record_cpu_s", "ms"),
        ("CPU to read and render all", "render_cpu_s", "s"),
        ("peak memory of the process", "", "MiB"),
        ("HTML part", "html_bytes", "kB"),
    ):
        shown = []
        for found, count in ((small, 10_000), (big, 100_000)):
            value = {
                "ms": found.get(name, 0) / count * 1000,
                "s": found.get(name, 0),
                "MiB": found["peak_kib"] / 1024,
                "kB": found.get(name, 0) / 1000,
            }[unit]
            shown.append(f"{value:8.2f}")
        print(f"  {label:30s} {shown[0]} {shown[1]}  {unit}")
    print(f"  peak memory, 100,000 : 10,000  {big['peak_kib'] / small['peak_kib']:8.2f}")
    assert (small["incidents"], big["incidents"]) == (10_000, 100_000)
    assert small["causes"] == big["causes"] == 8
    assert big["html_bytes"] < 80_000
    assert big["peak_kib"] < 1.5 * small["peak_kib"]
