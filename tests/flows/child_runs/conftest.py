"""What the tests of windows share; their worlds are in `live_windows`."""

from __future__ import annotations

import pytest


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every asyncio task is a process, whose limits need no server."""
    monkeypatch.setenv("GAPLESS_HEARTBEAT_S", "0.2")
    monkeypatch.setenv("GAPLESS_BREAKER_PROBES", "0")
