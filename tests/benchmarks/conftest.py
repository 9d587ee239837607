"""Benchmarks use the same stack as the end-to-end tests, with retries and limits out of the way."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("e2e_bench", Path(__file__).parent.parent / "e2e" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["e2e_bench"] = _module
_spec.loader.exec_module(_module)

running, bench = _module.running, _module.bench
postgres, fleet, far_fleet = _module.postgres, _module.fleet, _module.far_fleet
