"""The sources of The Odds API against a sample of it that really spends credits."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting.errors import (
    AuthenticationError,
    BudgetExhausted,
    ConfigurationError,
    CoverageLow,
    NotSettled,
    PipelineError,
    SourceContractError,
)
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.odds_upstream import ODDS_KEY, OddsUpstream
from scrapers.answers import Answer
from scrapers.base import Page, Request, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget, Clock
from scrapers.pace.quota import SharedQuota
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources import odds_events

NOW = dt.datetime(2025, 1, 20, 12, tzinfo=dt.UTC)
DAY, NO_GAMES = dt.date(2025, 1, 3), dt.date(2024, 8, 3)
FIRST_OF_NEXT = dt.datetime(2025, 2, 1, tzinfo=dt.UTC)

PLAN = Rate(per_month=20_000)


class Bench:
    """A sample, a bucket, and one account whose clock is that of the sample."""

    def __init__(self, upstream: OddsUpstream) -> None:
        self.upstream, self.store = upstream, MemoryObjectStore()
        self.clock = Clock(now=upstream.clock)
        self.units = 0

    def quota(self, name: str, rate: Rate = PLAN) -> SharedQuota:
        return SharedQuota(self.store, name, rate, account="the_odds_api", share=1.0, clock=self.clock)

    def scrape(self, name: str, date: dt.date = DAY, **options: Any) -> Manifest:
        source = type(scraper(name))()
        for option, value in options.items():
            setattr(source, option, value)
        quota = self.quota(name)
        budget = Budget(quota.rate, source=name, clock=self.clock, quota=quota)
        access = SourceAccess(self.upstream.url, {"odds_api_key": ODDS_KEY})
        with SourceClient(source, access, budget) as client:
            try:
                return scrape(
                    Partition.day(date, source.zone),
                    ScrapeContext(
                        scraper=source,
                        client=client,
                        landing=Landing(self.store),
                        backfill_id="b1",
                        code_version="0",
                        now=self.upstream.clock,
                    ),
                )
            finally:
                self.units += client.units
                budget.close()

    @property
    def spent(self) -> int:
        return sum(self.quota("odds_history").counts().spent["month"].values())


@pytest.fixture(scope="module")
def shared() -> Iterator[OddsUpstream]:
    with OddsUpstream(now=NOW, per_second=0) as server:
        yield server


@pytest.fixture
def bench(shared: OddsUpstream) -> Bench:
    shared.now, shared.has_history = NOW, True
    shared.credits = type(shared.credits)(20_000)
    shared.trouble()
    shared.calls.clear()
    return Bench(shared)


def _games(manifest: Manifest) -> int:
    return sum("/odds" in page.path for page in manifest.pages)


def test_the_prices_of_a_date_cost_what_the_source_counted_and_are_spent_once(bench: Bench) -> None:
    found = bench.scrape("odds_history", markets=("h2h", "spreads"), regions=("us", "uk"))
    games = _games(found)
    assert games > 3
    assert found.counts["odds_h2h_lines"] > 10 * games
    used = bench.upstream.credits.report("2025-01")["used"]
    assert (bench.units, bench.spent) == (used, used)
    assert used == 1 + games * 10 * 2 * 2


def test_a_date_without_games_costs_one_list_and_is_proven_empty(bench: Bench) -> None:
    found = bench.scrape("odds_history", NO_GAMES)
    assert not any(found.counts.values())
    assert found.empty_evidence.startswith("200, 0 of ")
    assert len(found.pages) == 1
    assert bench.spent == bench.upstream.credits.report("2025-01")["used"]


def test_an_event_that_is_gone_is_absent_named_and_costs_nothing(bench: Bench) -> None:
    bench.upstream.trouble({"kind": "vanished", "path": "/odds", "times": 1})
    found = bench.scrape("odds_history")
    (gone,) = found.absent
    assert found.absent_text == f"1 absent: {gone}"
    assert [page.path.split("/")[-2] for page in found.pages if page.is_absent] == [gone]
    assert found.statuses == {200}
    assert bench.spent == bench.upstream.credits.report("2025-01")["used"]


def test_a_date_whose_games_are_all_gone_is_empty_by_its_list(bench: Bench) -> None:
    bench.upstream.trouble({"kind": "vanished", "path": "/odds"})
    found = bench.scrape("odds_history")
    assert not any(found.counts.values())
    assert len(found.absent) == _games(found) > 3
    assert found.empty_evidence


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("no_history", "", AuthenticationError),
        ("invalid_key", "", AuthenticationError),
        ("null_data", "", SourceContractError),
        ("list_for_event", "/odds", SourceContractError),
        ("later_snapshot", "", SourceContractError),
        ("stale_snapshot", "", SourceContractError),
        ("duplicate_event", "/events", SourceContractError),
        ("renamed_field", "", SourceContractError),
        ("null_id", "", SourceContractError),
    ],
)
def test_what_is_no_answer_is_refused_for_what_it_is(
    bench: Bench, kind: str, path: str, expected: type[PipelineError]
) -> None:
    bench.upstream.trouble({"kind": kind, "path": path})
    with pytest.raises(expected):
        bench.scrape("odds_history")


def test_a_sport_that_the_source_does_not_have_is_a_fault_of_ours_and_no_absent_game(bench: Bench) -> None:
    source = type(scraper("odds_history"))()
    source.events_path = "/v4/historical/sports/curling/events"
    access = SourceAccess(bench.upstream.url, {"odds_api_key": ODDS_KEY})
    request = Request(f"{source.events_path}/x/odds", (("date", "2025-01-03T17:00:00Z"),), absent_ok=True)
    with SourceClient(source, access, Budget(Rate())) as client, pytest.raises(ConfigurationError, match="UNKNOWN"):
        client.fetch(request)


def test_used_up_credits_end_the_month_for_every_source_of_the_key_without_another_call(bench: Bench) -> None:
    bench.upstream.credits.a_month = 25
    with pytest.raises(BudgetExhausted) as caught:
        bench.scrape("odds_history")
    assert caught.value.facts["resets_at"] == FIRST_OF_NEXT.isoformat()
    asked = bench.upstream.calls.report()["total"]
    for name in ("odds_history", "odds_events"):
        with pytest.raises(BudgetExhausted) as refused:
            bench.scrape(name)
        assert refused.value.facts["resets_at"] == FIRST_OF_NEXT.isoformat()
    assert bench.upstream.calls.report()["total"] == asked
    bench.upstream.now = FIRST_OF_NEXT + dt.timedelta(minutes=1)
    bench.upstream.credits.a_month = 20_000
    assert bench.scrape("odds_history").counts["odds_h2h_lines"]


def test_a_wall_that_only_the_body_tells_is_remembered_by_the_next_process(bench: Bench) -> None:
    bench.upstream.trouble({"kind": "out_of_credits", "times": 1})
    with pytest.raises(BudgetExhausted, match="OUT_OF_USAGE_CREDITS"):
        bench.scrape("odds_events")
    with pytest.raises(BudgetExhausted, match=r"OUT_OF_USAGE_CREDITS; no call is made before 2025-02-01 00:00 UTC"):
        bench.scrape("odds_history")
    assert bench.upstream.calls.report()["total"] == 1
    assert bench.quota("odds_events").counts().closed_until == FIRST_OF_NEXT
    bench.upstream.now = FIRST_OF_NEXT
    assert bench.scrape("odds_events").counts["odds_snapshots"]


def test_a_call_that_the_quota_cannot_pay_for_is_not_made(bench: Bench) -> None:
    source = scraper("odds_history")
    quota = bench.quota("odds_history", Rate(per_month=9))
    budget = Budget(quota.rate, clock=bench.clock, quota=quota)
    with pytest.raises(BudgetExhausted, match="9 calls are allowed"):
        budget.acquire(units=10)
    budget.acquire(units=9)
    listed = source.first_request(Partition.day(DAY, source.zone))
    assert source.cost(listed) == 1


@pytest.mark.parametrize("kind", ["no_headers", "decimal_headers"])
def test_credits_are_counted_also_where_the_headers_are_missing_or_have_decimals(bench: Bench, kind: str) -> None:
    bench.upstream.trouble({"kind": kind})
    bench.scrape("odds_events")
    assert bench.spent == bench.upstream.credits.report("2025-01")["used"] == 3


def test_the_walk_reads_each_snapshot_once_and_ends_with_the_date(bench: Bench) -> None:
    found = bench.scrape("odds_events")
    assert found.counts["odds_snapshots"] == len(found.pages) == 3
    taken = [dict(page.params)["date"] for page in found.pages]
    assert taken == sorted(set(taken))
    assert taken[0] == "2025-01-03T11:00:00Z"


def test_a_list_whose_items_did_not_all_come_leaves_the_date_partial(bench: Bench) -> None:
    source = type(scraper("odds_history"))()
    forgets: Callable[..., Any] = source.inspect

    def inspect(partition: Partition, page: Page) -> Any:
        found = forgets(partition, page)
        if found.lists and found.next_request:
            object.__setattr__(found.next_request, "cursor", "")
        return found

    with pytest.raises(CoverageLow, match=r"items are listed: \d+ of them did not come"):
        bench.scrape("odds_history", inspect=inspect)
    assert issubclass(CoverageLow, PipelineError)
    assert not issubclass(CoverageLow, NotSettled)


def test_two_asked_instants_of_one_slot_are_one_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odds_events, "STEP", dt.timedelta(minutes=2))
    source, partition = scraper("odds_events"), Partition.day(DAY, "America/New_York")
    first = source.first_request(partition)
    asked = dict(first.params)["date"]
    taken, following = "2025-01-03T05:00:38Z", "2025-01-03T05:05:40Z"
    body = json.dumps({"timestamp": taken, "previous_timestamp": None, "next_timestamp": following, "data": []})
    found = source.inspect(partition, Page(first, 1, 200, {}, body.encode(), NOW, 0.1))
    assert asked == "2025-01-03T05:02:00Z"
    assert found.keys == (taken,)
    # Two minutes later the same snapshot would answer, and cost again.
    assert found.next_request is not None
    assert dict(found.next_request.params)["date"] == following


@pytest.mark.fixtures
@pytest.mark.parametrize(
    ("file", "kind", "facts"),
    [
        ("error_401_out_of_usage_credits.json", BudgetExhausted, {"unit": "month"}),
        ("error_404_unknown_sport.json", ConfigurationError, {}),
    ],
)
def test_recorded_refusals_are_told_by_their_code(file: str, kind: type[PipelineError], facts: dict[str, str]) -> None:
    path = Path(__file__).parents[3] / "shared" / "fixtures" / "odds_api" / file
    if not path.exists():
        pytest.skip("the recordings are not part of the repository")
    said = json.loads(path.read_text())
    problem = scraper("odds_history").problem(Answer(said["status"], {}, json.dumps(said["body"]).encode(), NOW))
    assert type(problem) is kind
    assert problem.facts.items() >= facts.items()
    assert said["body"]["error_code"] in problem.message
