"""Child runs where Prefect, storage and BigQuery are far away, on a server of their own with three workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ways_to_spread import WAYS, compare

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3000)]


def test_inline_against_child_runs_in_cloud_weather(far_fleet: Bench) -> None:
    compare(far_fleet, 2000, {way: WAYS[way] for way in ("inline", "2 child runs", "4 child runs")}, "cloud weather, ")
