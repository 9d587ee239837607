"""Odds through the real flows, with a clock that tests set: credits, the wall of a month and what comes after it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

import processors.sources
import scrapers.sources
from alerting.errors import ConfigurationError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.odds_upstream import ODDS_KEY, OddsUpstream
from flows.asked import Asked
from flows.canaries import try_canaries
from flows.cli.command import main
from flows.closing.finish import finish
from flows.ledger.ledger import LedgerEntry
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.planner import Planned, plan_asked
from flows.run import resume
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.views.status import source_status
from flows.wiring import Services
from processors import registry as processor_registry
from scrapers import registry
from scrapers.pace.budget import Clock

if TYPE_CHECKING:
    from ..conftest import Provisioned

JUNE, JULY = dt.datetime(2025, 6, 20, 12, tzinfo=dt.UTC), dt.datetime(2025, 7, 1, tzinfo=dt.UTC)
ACCOUNT = "the_odds_api"
PAGE = Path(__file__).parents[2] / "docs" / "sources" / "odds.md"


class Time:
    """Stands still but for sleeps, which take none: the sample's time and ours."""

    def __init__(self, upstream: OddsUpstream) -> None:
        self._upstream, self._slept_s, self._lock = upstream, 0.0, threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._slept_s += seconds
            self._upstream.now = self._upstream.clock() + dt.timedelta(seconds=seconds)

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self._slept_s, now=self._upstream.clock, sleep=self.sleep)


class Market:
    """A key with so many credits a month, whose months are those of a clock that is set here."""

    def __init__(self, services: Services, upstream: OddsUpstream, inbox: InboxClient) -> None:
        self.services, self.upstream, self.inbox = services, upstream, inbox
        self.scheduled: list[tuple[dt.datetime, dict[str, Any]]] = []
        self._runs = 0

    def set(self, **settings: Any) -> None:
        """Other settings of the same place."""
        self.services = Services(self.services.settings.model_copy(update=settings), clock=self.services.clock)

    def plan(self, source: str, first: str, last: str) -> Planned:
        asked = Asked.model_validate({"source": source, "start_date": first, "end_date": last})
        return plan_asked(self.services, asked, utc_now())

    def run(self, source: str, first: str, last: str, **asked: Any) -> RunFacts:
        """As the parent flow does it, from plan to mail."""
        given = {"source": source, "start_date": first, "end_date": last, "max_concurrency": 4, **asked}
        return self.run_as(Asked.model_validate(given))

    def run_as(self, asked: Asked) -> RunFacts:
        self._runs += 1
        run = Run(self.services, asked, f"bf-odds{self._runs:08d}", PlainOrchestrator())
        try:
            asyncio.run(self._work(run))
            return finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
        finally:
            run.close()

    async def _work(self, run: Run) -> None:
        planned = plan_asked(run.services, run.asked, utc_now(), run.backfill_id)
        run.begin(planned, starting_facts(run.services, planned.plan, {}, run.backfill_id, run.asked))
        await map_windows(run, await try_canaries(run, planned.plan))
        await resume.note_resume(run)

    def schedule(self, run: Run, at: dt.datetime) -> tuple[str, str]:
        self.scheduled.append((at, run.asked.resumed(run.backfill_id)))
        return f"run-{len(self.scheduled)}", "grey-owl"

    def reach(self, instant: dt.datetime) -> list[RunFacts]:
        """Sets the clock, and starts what was scheduled for an instant that has come."""
        self.upstream.now = instant
        due, self.scheduled = [one for one in self.scheduled if one[0] <= instant], []
        return [self.run_as(Asked.model_validate(parameters)) for _, parameters in due]

    @property
    def used(self) -> int:
        """Credits of this month, as the source counted them."""
        return int(self.upstream.credits.report(self.upstream.month())["used"])

    def counted(self, source: str = "odds_history") -> dict[str, int]:
        """Credits of this month by purpose, as we counted them."""
        return dict(self.services.source_kit(source).quota.counts().month_spent)

    def entries(self, source: str) -> dict[str, LedgerEntry]:
        return dict(self.services.source_kit(source).ledger.refresh())

    def calls(self) -> int:
        return int(self.upstream.calls.report()["total"])

    def rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        name = self.services.warehouse.name_of(table)
        return sorted(tuple(row.values()) for row in self.services.warehouse.query(f"SELECT {columns} FROM {name}"))


@pytest.fixture
def market(provisioned: Provisioned, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Market]:
    with OddsUpstream(now=JUNE, per_second=0) as upstream:
        services = provisioned(
            "odds_history",
            upstream.url,
            {"odds_api_key": ODDS_KEY},
            GAPLESS_SOURCE_URLS=json.dumps(dict.fromkeys(("odds_history", "odds_events"), upstream.url)),
            GAPLESS_ACCOUNT_TIERS=json.dumps({ACCOUNT: "20k"}),
            GAPLESS_BACKFILL_QUOTA_SHARE="1.0",
            GAPLESS_CONSOLE_ONLY="false",
            GAPLESS_SMTP_HOST="127.0.0.1",
            GAPLESS_SMTP_PORT=str(inbox.smtp_port),
            GAPLESS_SMTP_SECURITY="none",
            GAPLESS_MAIL_TO="you@example.org",
            PREFECT_API_URL="http://127.0.0.1:9/api",
        )
        of = Market(Services(services.settings, clock=Time(upstream).clock), upstream, inbox)
        monkeypatch.setattr(resume.deployment, "id", "d-1", raising=False)

        async def schedule(run: Run, at: dt.datetime) -> tuple[str, str]:
            return of.schedule(run, at)

        monkeypatch.setattr(resume, "schedule_resume", schedule)
        yield of


@pytest.fixture
def second_purchase(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The two files of another market, as the page of the source prints them."""
    printed = PAGE.read_text().partition("### Buy another market")[2]
    for package, of, imports in (
        (scrapers.sources, "scrapers", "from scrapers.sources.odds_history import OddsHistory"),
        (processors.sources, "processors", "from processors.sources.odds_history import OddsHistory, lines_of"),
    ):
        text = re.search(rf"`{of}/sources/odds_spreads.py`\n\n```python\n(.*?)^```", printed, re.DOTALL | re.MULTILINE)
        assert text is not None
        assert imports in text[1]
        folder = tmp_path / of
        folder.mkdir()
        (folder / "odds_spreads.py").write_text(text[1])
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    market.set(source_urls=dict.fromkeys(("odds_history", "odds_events", "odds_spreads"), market.upstream.url))
    yield "odds_spreads"
    for package, lookup in (
        (scrapers.sources, registry.scraper),
        (processors.sources, processor_registry.processor),
    ):
        sys.modules.pop(f"{package.__name__}.odds_spreads", None)
        vars(package).pop("odds_spreads", None)
        lookup.cache_clear()


def _scenario(first: str, last: str, a_month: int, *, marks: Any = ()) -> Any:
    return pytest.param(first, last, a_month, marks=marks, id=f"{first}..{last}")


@pytest.mark.parametrize(
    ("first", "last", "a_month"),
    [
        _scenario("2024-11-04", "2024-11-08", 250),
        _scenario("2024-10-22", "2025-04-13", 9_000, marks=pytest.mark.long),
    ],
)
def test_a_season_spends_what_the_source_counted_stops_with_one_mail_and_goes_on_by_itself_on_the_1st(
    market: Market, second_purchase: str, first: str, last: str, a_month: int
) -> None:
    market.upstream.credits.a_month = a_month
    market.set(source_calls_per_month={ACCOUNT: a_month})

    stopped = market.run("odds_history", first, last)

    assert stopped.verdict == "ABORTED(budget)"
    assert a_month - 10 < market.used <= a_month
    assert (stopped.units, market.counted()["backfill"]) == (market.used, market.used)
    assert stopped.resumes_at == JULY + dt.timedelta(minutes=1)
    (mail,) = market.inbox.messages()
    told = " ".join(market.inbox.message(mail["id"])["text"].split())
    assert "resumes at 2025-07-01 00:01 UTC automatically as flow run grey-owl" in told
    spent_in_june = market.used
    # Nobody asks behind the wall, however often it is tried.
    calls = market.calls()
    market.upstream.now = JUNE + dt.timedelta(days=5)
    assert market.run("odds_events", last, last).verdict == "ABORTED(budget)"
    assert market.calls() == calls
    market.inbox.clear()
    market.scheduled = market.scheduled[:1]

    (ended,) = market.reach(JULY + dt.timedelta(minutes=1))

    assert ended.verdict == "COMPLETE"
    assert ended.resumed_from == stopped.backfill_id
    assert (ended.units, market.counted()["backfill"]) == (market.used, market.used)
    assert len(market.inbox.messages()) == 1
    by_month = market.upstream.credits.report("2025-07")["by_month"]
    assert by_month == {"2025-06": spent_in_june, "2025-07": market.used}
    # Each game was paid once, also of the dates at which the wall came; a list costs 1, and nothing where it is empty.
    paid = market.upstream.credits.report("2025-07")["spent_by_path"]
    games = {path for path, _ in _landed_pages(market, "odds_history") if path.endswith("/odds")}
    assert {path: credits for path, credits in paid.items() if path.endswith("/odds")} == dict.fromkeys(games, 10)
    lists = [page for page in _landed_pages(market, "odds_history") if not page[0].endswith("/odds")]
    assert len(lists) == len(set(lists)) >= sum(by_month.values()) - 10 * len(games) > 0

    columns = "CAST(game_date AS STRING), event_id, bookmaker, outcome, CAST(price AS STRING)"
    bought, known = market.rows("odds_h2h_lines", columns), market.entries("odds_history")
    market.set(source_calls_per_month={ACCOUNT: 20_000})
    market.upstream.credits.a_month = 20_000
    before = market.used
    again = market.run(second_purchase, last, last)

    assert again.verdict == "COMPLETE"
    assert again.units == market.used - before > 0
    assert market.rows("odds_h2h_lines", columns) == bought
    assert market.entries("odds_history") == known
    assert {row[0] for row in market.rows("odds_lines", "market")} == {"h2h", "spreads"}


def _landed_pages(market: Market, source: str) -> list[tuple[str, str]]:
    """Path and asked instant of every page that was there, as the manifests name them."""
    found = [market.services.landing.newest_manifest(source, key) for key in market.entries(source)]
    return [
        (page.path, dict(page.params)["date"])
        for manifest in found
        if manifest is not None
        for page in manifest.pages
        if not page.is_absent
    ]


def test_a_backfill_leaves_its_share_to_live_runs_which_may_spend_the_rest(market: Market) -> None:
    market.upstream.credits.a_month = 100
    market.set(source_calls_per_month={ACCOUNT: 100}, backfill_quota_share=0.6)

    assert market.run("odds_history", "2024-11-04", "2024-11-15", max_concurrency=1).verdict == "ABORTED(budget)"
    spent = market.used
    assert 50 < spent <= 60

    live = market.services.source_kit("odds_events", "live")
    assert live.quota.left() == 100 - spent
    live.budget.acquire(units=40)
    live.close()
    assert market.counted() == {"backfill": spent, "live": 40, "other": 0}


def test_credits_that_somebody_else_spent_are_believed_and_count_for_every_source_of_the_key(market: Market) -> None:
    market.upstream.credits.a_month = 500
    market.set(source_calls_per_month={ACCOUNT: 500})
    market.upstream.credits.spend(480, market.upstream.month(), "elsewhere")

    assert market.run("odds_events", "2024-11-04", "2024-11-04").verdict == "COMPLETE"

    assert market.counted() == {"backfill": 3, "other": 480}
    assert market.services.source_kit("odds_history").quota.left() == 17
    stopped = market.run("odds_history", "2024-11-04", "2024-11-06")
    assert stopped.verdict == "ABORTED(budget)"
    assert market.used <= 500


def test_a_plan_says_credits_months_and_the_date_on_which_it_would_end(market: Market) -> None:
    def credits_line() -> str:
        planned = market.plan("odds_history", "2024-10-22", "2025-04-13")
        return next(line for line in planned.describe().splitlines() if line.startswith("credits"))

    assert credits_line().startswith(
        "credits    12,354, within this month's quota: it would end on 2025-06-20; a guess"
    )
    # What is spent of this month is not there for the plan.
    quota = market.services.source_kit("odds_events").quota
    quota.ensure(12_000)
    quota.take(12_000)
    assert "12,354, 2 months of its quota: it would end on 2025-07-01" in credits_line()
    quota.close_until(JULY, "the source answered 401 OUT_OF_USAGE_CREDITS")
    market.set(source_calls_per_month={ACCOUNT: 6_000})
    assert "12,354, 4 months of its quota: it would end on 2025-09-01" in credits_line()


def test_a_budget_of_500_a_month_says_at_once_that_history_is_not_in_that_plan(market: Market) -> None:
    market.set(account_tiers={}, source_calls_per_month={ACCOUNT: 500})

    with pytest.raises(ConfigurationError) as refused:
        market.plan("odds_history", "2024-10-22", "2025-04-13")

    assert refused.value.message == (
        "odds_history needs the tier 20k, and the account the_odds_api has free, which has no history (by the limit of "
        "500 credits a month in the settings): 174 partitions could not be fetched. Nothing was done"
    )
    assert refused.value.hint == f"""when it is paid for: export GAPLESS_ACCOUNT_TIERS='{{"{ACCOUNT}": "20k"}}'"""
    assert market.calls() == 0
    market.set(account_tiers={}, source_calls_per_month={ACCOUNT: 600})
    assert (
        "tier       20k (by the limit of 600 credits a month"
        in market.plan("odds_history", "2024-11-04", "2024-11-04").describe()
    )


def test_a_plan_without_history_is_remembered_until_the_account_changes(market: Market) -> None:
    market.upstream.has_history = False
    stopped = market.run("odds_history", "2024-11-04", "2024-11-06", max_concurrency=1)
    assert stopped.verdict == "ABORTED(critical)"

    for source in ("odds_history", "odds_events"):
        with pytest.raises(
            ConfigurationError, match=r"the_odds_api does not have it, as the source said at .* to bf-"
        ) as no:
            market.plan(source, "2024-11-04", "2024-11-06")
        assert "401 HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN" in no.value.message
        assert no.value.hint == f"when it is paid for: gapless lift-cooldown {source} --reason WHY"
    assert market.calls() == 1
    key = market.services.settings.source_secrets
    for changed in (
        {"account_tiers": {ACCOUNT: "100k"}},
        {"source_secrets": {**key, "odds_api_key": SecretStr("other")}},
    ):
        before = market.services
        market.set(**changed)
        market.plan("odds_history", "2024-11-04", "2024-11-06")
        market.services = before


def test_a_person_who_bought_the_plan_lifts_the_refusal_and_status_tells_it_until_then(
    market: Market, capsys: pytest.CaptureFixture[str]
) -> None:
    market.upstream.has_history = False
    market.run("odds_history", "2024-11-04", "2024-11-04")
    answers = source_status(market.services, "odds_events", utc_now())["answers"]
    assert any("the source does not open the tier 20k since" in one["answer"] for one in answers)
    market.upstream.has_history = True

    assert main(["lift-cooldown", "odds_history", "--reason", "bought"]) == 0

    assert "odds_history may ask again for the tier 20k; kept in " in capsys.readouterr().out
    assert market.run("odds_history", "2024-11-04", "2024-11-04").verdict == "COMPLETE"
    assert main(["lift-cooldown", "odds_history", "--reason", "bought"]) == 1


@pytest.mark.parametrize("kind", ["invalid_key", "no_history"])
def test_a_401_is_told_by_its_code_and_only_a_plan_without_history_is_remembered(market: Market, kind: str) -> None:
    market.upstream.trouble({"kind": kind})
    stopped = market.run("odds_history", "2024-11-04", "2024-11-06")
    assert stopped.verdict == "ABORTED(critical)"
    texts = [" ".join(market.inbox.message(mail["id"])["text"].split()) for mail in market.inbox.messages()]
    code = {"invalid_key": "INVALID_KEY", "no_history": "HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN"}[kind]
    assert texts
    assert all(f"401 {code}" in text for text in texts)
    assert market.scheduled == []
    refused = [one.name for one in market.services.store.list("accounts/")]
    assert refused == ([f"accounts/{ACCOUNT}.json"] if kind == "no_history" else [])
