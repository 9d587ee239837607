"""What status tells of a login that several sources share, and of credits in place of calls."""

from __future__ import annotations

import datetime as dt

import pytest

from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from flows.settings import Settings
from flows.views.status import source_status
from flows.wiring import Services


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr(Services, "store", MemoryObjectStore())
    return Services(Settings(console_only=True))


def _quota_of(services: Services, source: str) -> str:
    answers = source_status(services, source, utc_now())["answers"]
    return str(next(one["answer"] for one in answers if one["question"].startswith("When does the quota reset")))


def _spend(services: Services, source: str, units: int) -> None:
    quota = services.source_kit(source).quota
    quota.ensure(units)
    quota.take(units)
    quota.settle()


def test_status_names_the_account_its_rate_and_what_each_of_its_sources_used(services: Services) -> None:
    _spend(services, "racing_cards", 1_200)
    _spend(services, "racing_results", 40)
    told = _quota_of(services, "racing_reference")
    assert told.startswith(
        "account the_racing_api of racing_cards, racing_reference, racing_results, tier pro: 1.8 a second; "
        "calls today: 1,200 by racing_cards, 40 by racing_results; "
    )


def test_status_counts_in_credits_and_says_until_when_none_is_left_and_why(services: Services) -> None:
    _spend(services, "odds_history", 71)
    assert "a backfill may still spend 13,929 credits; credits this month: 71 by odds_history" in _quota_of(
        services, "odds_events"
    )
    until = utc_now() + dt.timedelta(days=3)
    services.source_kit("odds_events").quota.close_until(until, "the source answered 401 OUT_OF_USAGE_CREDITS")
    told = _quota_of(services, "odds_history")
    assert f"no call is made before {until:%Y-%m-%d %H:%M} UTC: the source answered 401 OUT_OF_USAGE_CREDITS" in told
