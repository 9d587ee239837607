"""What an account pays for is said when a run is planned, and not by the 401 of its first call."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

import pytest

from alerting.errors import ConfigurationError
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.parameters import Mode
from flows.planning.planner import plan_asked
from flows.planning.tiers import refuse_closed
from flows.settings import Settings
from flows.views.preflight import preflight
from flows.wiring import Services
from scrapers.partition import Partition
from scrapers.rate import Rate

NOW = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
ASKED = Asked.model_validate({"source": "bdl_box_scores", "start_date": "2026-01-09", "end_date": "2026-01-11"})


@pytest.fixture
def of_tiers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Services]:
    monkeypatch.setattr(Services, "store", MemoryObjectStore())
    return lambda **tiers: Services(Settings(console_only=True, account_tiers=tiers))


def test_a_plan_that_the_tier_does_not_open_is_refused_with_tier_price_and_next_command(of_tiers) -> None:
    with pytest.raises(ConfigurationError) as refused:
        plan_asked(of_tiers(balldontlie="all-star"), ASKED, NOW)

    assert refused.value.message == (
        "bdl_box_scores needs the tier goat (39.99 USD a month), and the account balldontlie has all-star (9.99 USD a "
        "month): 3 partitions could not be fetched. Nothing was done"
    )
    assert refused.value.hint == """when it is paid for: export GAPLESS_ACCOUNT_TIERS='{"balldontlie": "goat"}'"""


def test_what_needs_no_call_needs_no_tier(of_tiers) -> None:
    planned = plan_asked(of_tiers(balldontlie="free"), ASKED.model_copy(update={"mode": Mode.REPROCESS}), NOW)

    assert not planned.plan.to_fetch


def test_the_rate_is_that_of_the_tier_and_a_stated_limit_wins(of_tiers) -> None:
    def rate_of(services: Services) -> Rate:
        return services.source_kit("bdl_box_scores").access.rate

    assert rate_of(of_tiers(balldontlie="free")).per_minute == 5
    assert rate_of(of_tiers(balldontlie="all-star")).per_minute == 60
    assert rate_of(of_tiers(balldontlie="goat")).per_minute == rate_of(of_tiers()).per_minute == 600
    stated = Settings(
        console_only=True, account_tiers={"balldontlie": "free"}, source_rate_per_minute={"balldontlie": 4}
    )
    assert rate_of(Services(stated)).per_minute == 4


def test_a_plan_says_which_tier_is_taken_for_granted(of_tiers) -> None:
    told = plan_asked(of_tiers(), ASKED, NOW).describe()

    assert told.endswith(
        "\ntier       goat (39.99 USD a month) of balldontlie is assumed; if that is wrong: "
        """export GAPLESS_ACCOUNT_TIERS='{"balldontlie": "free"}'"""
    )
    assert plan_asked(of_tiers(balldontlie="goat"), ASKED, NOW).describe().endswith("a month) of balldontlie")


@pytest.mark.parametrize(
    ("tiers", "words"),
    [
        ({"balldontlie": "gold"}, "balldontlie has no tier 'gold', only free, all-star, goat. Nothing was done"),
        (
            {"ball_dont_lie": "free"},
            "GAPLESS_ACCOUNT_TIERS names 'ball_dont_lie', and there is no account of that name",
        ),
    ],
)
def test_a_tier_or_account_that_there_is_not_is_refused(of_tiers, tiers, words) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        plan_asked(of_tiers(**tiers), ASKED, NOW)


def test_a_limit_under_the_name_of_a_source_of_an_account_is_refused_and_not_ignored() -> None:
    services = Services(Settings(console_only=True, source_rate_per_minute={"bdl_box_scores": 60}))

    with pytest.raises(ConfigurationError, match="shares that of the account balldontlie") as refused:
        services.source_kit("bdl_box_scores").access  # noqa: B018 - raises

    assert refused.value.hint == 'write {"balldontlie": 60} instead'


def test_an_entity_can_need_another_tier_and_the_open_ones_are_named(of_tiers, monkeypatch) -> None:
    kit = of_tiers(the_racing_api="free").source_kit("racing_reference")
    monkeypatch.setattr(type(kit.scraper), "entity_tiers", {"courses": "pro"})
    both = [Partition.whole(name, "UTC") for name in ("courses", "regions")]

    with pytest.raises(ConfigurationError, match=r"racing_reference \(courses\) needs the tier pro") as refused:
        refuse_closed(kit, both)

    assert refused.value.hint.endswith("; without it: regions")
    refuse_closed(kit, both[1:])


def test_preflight_fails_for_a_closed_source_and_says_what_is_taken_for_granted(of_tiers) -> None:
    def limiter(services: Services) -> tuple[str, str]:
        checks = preflight(services, "bdl_box_scores", utc_now(), test_mail=False, canary=False)
        return next((one.result, one.detail) for one in checks if one.name == "limiter")

    assert limiter(of_tiers(balldontlie="all-star"))[0] == "fail"
    assert limiter(of_tiers(balldontlie="goat")) == (
        "pass",
        "600 a minute, in UTC; tier goat (39.99 USD a month) of balldontlie",
    )
    assert "is assumed" in limiter(of_tiers())[1]
