"""When the deployed helpers of alerting run: the digest every morning of the office, the watchdog always."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

DEPLOYMENTS = {
    found["name"]: found
    for found in yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
    if found["name"] in ("digest", "watchdog")
}


@pytest.mark.parametrize(
    ("name", "cron", "timezone"),
    [("digest", "0 9 * * *", "America/Los_Angeles"), ("watchdog", "*/5 * * * *", "UTC")],
)
def test_the_digest_leaves_every_morning_and_the_watchdog_looks_every_five_minutes(name, cron, timezone) -> None:
    (schedule,) = DEPLOYMENTS[name]["schedules"]
    assert (schedule["cron"], schedule["timezone"]) == (cron, timezone)
    assert schedule.get("active", True)
