"""Holiday, outage and before the launch are three verdicts; the launch is searched for once and kept with evidence."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.errors import (
    BlockedBySource,
    ConfigurationError,
    LeaseHeld,
    NothingPublished,
    PipelineError,
    SourceUnavailable,
    StateUnreadable,
)
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.box_scores_upstream import Upstream
from flows.asked import Asked
from flows.coordination.cooldown import refuse_while_cooling
from flows.coordination.lease import Holder, Lease, read_lease
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.ledger.verdicts import count_verdicts, verdict_of
from flows.parameters import Mode
from flows.planning.known_first_date import first_date_name, known_scraper, read_first_date
from flows.planning.plan import Path, PlanRules, make_plan
from flows.planning.planner import plan_asked
from flows.planning.requested import Selection
from flows.settings import Settings
from flows.truth import find_first_date as finding
from flows.truth.find_first_date import find_first_date, forget_first_date
from flows.wiring import Services
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.first_date_search import Look
from scrapers.landing import Landing
from scrapers.partition import Partition, partitions_between
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources.bdl_box_scores import BdlBoxScores

SOURCE = "bdl_box_scores"
KEY = "sample-key-7d1f"
LAUNCH = dt.date(1990, 1, 1)
START, END = dt.date(1985, 1, 1), dt.date(1991, 3, 31)


class MemoryStore(MemoryObjectStore):
    calls: dict[str, int] = {}  # noqa: RUF012


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(api_key=KEY) as server:
        yield server


@pytest.fixture
def services(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Services:
    """The sample upstream, whose first games are of 1990, and a bucket in memory."""
    monkeypatch.setattr(Services, "store", MemoryStore())
    for name, value in {
        "GAPLESS_PROJECT": "p",
        "GAPLESS_CONSOLE_ONLY": "true",
        "GAPLESS_SOURCE_URLS": json.dumps({SOURCE: upstream.url}),
        "GAPLESS_SOURCE_SECRETS": json.dumps({"bdl_api_key": KEY}),
        "GAPLESS_SOURCE_RATE_PER_MINUTE": json.dumps({"balldontlie": 60_000}),
        "GAPLESS_RETRY_DELAYS_S": "[0.5, 0.5]",
    }.items():
        monkeypatch.setenv(name, value)
    return Services(Settings())


def find(services: Services, start: dt.date = START, end: dt.date = END, **rest: Any) -> Any:
    return find_first_date(services, SOURCE, Selection(start, end), who="me@here", **{"sleep": lambda _: None, **rest})


def plan_of(services: Services, start: str = "1989-12-25", end: str = "1990-01-07") -> dict[str, Path]:
    asked = Asked.model_validate({"source": SOURCE, "start_date": start, "end_date": end})
    planned = plan_asked(services, asked, utc_now())
    return {item.partition.key: item.path for item in planned.plan.items}


class Shop(Scraper):
    """Sales of a day; says "closed" on holidays, and an empty list when its database is down."""

    source, title, zone = "shop", "Shop", "UTC"
    base_url, tables = "https://shop.example", ("sales",)

    def first_request(self, partition: Partition) -> Request:
        return Request(f"/{partition.key}")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        answer = json.loads(page.body)
        if answer == []:
            raise NothingPublished("an empty list proves nothing")
        return Findings({"sales": 0}, empty_evidence="200 closed") if answer == "closed" else Findings({"sales": 3})


class ShopApi:
    holiday, outage = "2025-01-01", "2025-01-03"

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        key = request.path[1:]
        answer = {self.holiday: "closed", self.outage: []}.get(key, "open")
        return Page(request, page_number, 200, {}, json.dumps(answer).encode(), utc_now(), 0.1)


def test_a_holiday_an_outage_and_a_date_before_the_launch_are_three_verdicts() -> None:
    shop, ledger = Shop(), {}
    shop.floor, shop.floor_evidence = dt.date(2024, 12, 30), "(found)"
    partitions = partitions_between(dt.date(2024, 12, 29), dt.date(2025, 1, 3), "UTC")
    landing, now = Landing(MemoryObjectStore()), utc_now()
    for item in make_plan(shop, partitions, {}).items:
        if item.path is not Path.FETCH:
            continue
        key = item.partition.key
        try:
            manifest = scrape(
                item.partition,
                ScrapeContext(scraper=shop, client=ShopApi(), landing=landing, backfill_id="b", code_version="0"),
            )
            good = Verdict.EMPTY_OK if manifest.empty_evidence else Verdict.VERIFIED
            ledger[key] = LedgerEntry("shop", key, good, "b", now, evidence=manifest.empty_evidence)
        except PipelineError as error:
            ledger[key] = LedgerEntry("shop", key, verdict_of(error), "b", now)
    again = {item.partition.key: (item.path, item.why) for item in make_plan(shop, partitions, ledger).items}
    assert ledger["2025-01-01"].verdict is Verdict.EMPTY_OK
    assert again["2025-01-01"] == (Path.SKIP, "empty_ok")
    assert ledger["2025-01-03"].verdict is Verdict.FAILED_RETRYABLE
    assert again["2025-01-03"][0] is Path.FETCH
    assert "2024-12-29" not in ledger
    assert again["2024-12-29"] == (Path.UNAVAILABLE, "before the source's first date 2024-12-30 (found)")
    counts = count_verdicts([one.key for one in partitions], ledger, unavailable=["2024-12-29"])
    assert counts == {"unavailable": 1, "verified": 3, "empty_ok": 1, "failed_retryable": 1}


def test_a_proof_of_emptiness_expires_and_only_that() -> None:
    now, ttl = utc_now(), dt.timedelta(days=180)
    partitions = partitions_between(dt.date(2025, 1, 1), dt.date(2025, 1, 3), "UTC")
    old, young = now - ttl - dt.timedelta(hours=1), now - ttl + dt.timedelta(hours=1)
    ledger = {
        "2025-01-01": LedgerEntry("shop", "2025-01-01", Verdict.EMPTY_OK, "b", old),
        "2025-01-02": LedgerEntry("shop", "2025-01-02", Verdict.EMPTY_OK, "b", young),
        "2025-01-03": LedgerEntry("shop", "2025-01-03", Verdict.VERIFIED, "b", old),
    }
    plan = make_plan(Shop(), partitions, ledger, PlanRules(since=now, empty_ttl=ttl))
    assert [item.path for item in plan.items] == [Path.FETCH, Path.SKIP, Path.SKIP]
    assert "more than 180 days ago" in plan.items[0].why
    for mode in (Mode.VALIDATE, Mode.REPROCESS):
        assert not make_plan(Shop(), partitions, ledger, PlanRules(mode=mode, since=now, empty_ttl=ttl)).to_fetch


def test_every_plan_of_a_run_looks_at_the_age_of_proofs(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(services.store, SOURCE)
    ledger.advance("1990-01-02", Verdict.EMPTY_OK, "b", utc_now() - dt.timedelta(days=8))
    assert plan_of(services)["1990-01-02"] is Path.SKIP
    monkeypatch.setenv("GAPLESS_EMPTY_TTL_DAYS", "7")
    assert plan_of(Services(Settings()))["1990-01-02"] is Path.FETCH


def test_the_launch_is_found_by_a_few_dozen_calls_and_every_plan_begins_there(
    services: Services, upstream: Upstream
) -> None:
    found = find(services)
    calls = upstream.calls.report()["total"]
    assert (found.first_date, found.calls, found.found_by) == (LAUNCH, calls, "me@here")
    assert calls <= 100
    assert (END - START).days > 2000
    assert [one.name for one in services.store.list("landing/")] == []
    stored = read_first_date(services.store, SOURCE)
    assert stored == found
    before = {look.partition for look in found.looks if not look.is_there}
    assert {f"1989-12-{day}" for day in range(25, 32)} <= before
    assert all(look.status == 200 and len(look.sha256) == 64 for look in found.looks)

    paths = plan_of(services)
    assert {key for key, path in paths.items() if path is Path.UNAVAILABLE} == {f"1989-12-{d}" for d in range(25, 32)}
    assert {path for key, path in paths.items() if key >= "1990"} == {Path.FETCH}
    assert upstream.calls.report()["total"] == calls
    with pytest.raises(ConfigurationError, match=r"begins at 1990-01-01.*--forget"):
        plan_of(services, "1986-01-01", "1986-01-31")
    lease = read_lease(services.store, SOURCE)
    assert lease is not None
    assert (lease.state, lease.mode) == ("released", "first-date")


def test_what_had_failed_before_the_launch_is_unavailable_until_it_is_forgotten(services: Services) -> None:
    ledger = Ledger(services.store, SOURCE)
    ledger.advance("1989-12-30", Verdict.FAILED_RETRYABLE, "b", utc_now(), error_type="NothingPublished")
    ledger.advance("1990-01-05", Verdict.FAILED_RETRYABLE, "b", utc_now(), error_type="SourceUnavailable")
    find(services)
    known = Ledger(services.store, SOURCE).refresh()
    assert known["1989-12-30"].verdict is Verdict.UNAVAILABLE
    assert "1990-01-01" in known["1989-12-30"].evidence
    assert known["1990-01-05"].verdict is Verdict.FAILED_RETRYABLE

    assert forget_first_date(services, SOURCE)
    assert Ledger(services.store, SOURCE).refresh()["1989-12-30"].verdict is Verdict.PLANNED
    assert set(plan_of(services).values()) == {Path.FETCH}
    assert not forget_first_date(services, SOURCE)


def test_a_failed_month_that_turns_out_to_be_the_first_one_with_rows_is_still_to_be_fetched(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BdlBoxScores, "step", "month")
    ledger = Ledger(services.store, SOURCE)
    for key in ("2020-02", "2020-03"):
        ledger.advance(key, Verdict.FAILED_RETRYABLE, "b", utc_now(), error_type="SourceUnavailable")
    monkeypatch.setattr(
        finding, "look_at", lambda partition, *_: Look(partition.key, partition.key >= "2020-03", "200")
    )
    assert find(services, dt.date(2019, 1, 1), dt.date(2020, 6, 30)).first_date == dt.date(2020, 3, 1)
    known = Ledger(services.store, SOURCE).refresh()
    assert [known[key].verdict.value for key in ("2020-02", "2020-03")] == ["unavailable", "failed_retryable"]


@pytest.mark.parametrize("source", ["hemnet_sales", "hemnet_details"])
def test_a_source_that_cannot_be_asked_for_one_date_has_no_first_date_to_search_for(
    services: Services, source: str
) -> None:
    ledger = Ledger(services.store, source)
    ledger.advance("2024-06", Verdict.VERIFIED, "b", utc_now(), landed={source: 3})
    with pytest.raises(ConfigurationError, match="cannot be asked for one date"):
        find_first_date(services, source, Selection(dt.date(2005, 1, 1), dt.date(2024, 12, 31)), who="me@here")
    assert read_first_date(services.store, source) is None


def test_what_the_ledger_knows_is_not_asked_and_not_contradicted(services: Services, upstream: Upstream) -> None:
    ledger = Ledger(services.store, SOURCE)
    for day in (1, 2):
        ledger.advance(f"1988-06-0{day}", Verdict.VERIFIED, "b", utc_now(), landed={"nba_bdl_games": day})
    assert find(services).first_date == dt.date(1988, 6, 1)
    assert not {"1988-06-01", "1988-06-02"} & set(upstream.calls.report()["by_date"])


def test_a_range_that_begins_with_rows_sets_no_floor(services: Services) -> None:
    found = find(services, dt.date(1990, 1, 10), dt.date(1990, 3, 1))
    assert found.first_date == dt.date(1990, 1, 10)
    assert read_first_date(services.store, SOURCE) is None


def test_nothing_near_the_end_records_nothing(services: Services) -> None:
    with pytest.raises(NothingPublished, match="name an END"):
        find(services, dt.date(1980, 1, 1), dt.date(1985, 1, 1))
    assert read_first_date(services.store, SOURCE) is None


def test_an_outage_is_retried_and_then_an_error_and_never_an_empty_date(services: Services, upstream: Upstream) -> None:
    upstream.trouble({"kind": "500"})
    slept: list[float] = []
    with pytest.raises(SourceUnavailable) as caught:
        find(services, sleep=slept.append)
    assert caught.value.partition == END.isoformat()
    assert slept == [0.5, 0.5]
    assert upstream.calls.report()["total"] == 3
    assert read_first_date(services.store, SOURCE) is None


def test_a_block_begins_the_cooldown_and_the_next_search_makes_no_call(services: Services, upstream: Upstream) -> None:
    upstream.trouble({"kind": "html403"})
    with pytest.raises(BlockedBySource):
        find(services)
    with pytest.raises(ConfigurationError, match="in cooldown"):
        refuse_while_cooling(services.store, SOURCE, utc_now())
    with pytest.raises(ConfigurationError, match="in cooldown"):
        find(services)
    assert upstream.calls.report()["total"] == 1


def test_a_search_waits_for_no_run_and_runs_beside_none(
    services: Services, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease.acquire(services.store, SOURCE, Holder("bf-other"), now=utc_now(), ttl_s=60)
    for work in (lambda: find(services), lambda: forget_first_date(services, SOURCE)):
        with pytest.raises(LeaseHeld, match="bf-other"):
            work()
    lease.release(utc_now())
    monkeypatch.setenv("GAPLESS_BLACKOUTS", '{"*": ["00:00-00:00 UTC"]}')
    with pytest.raises(ConfigurationError, match="blackout"):
        find(Services(Settings()))
    assert upstream.calls.report()["total"] == 0


def test_an_unreadable_record_stops_the_plan_and_can_be_forgotten(services: Services) -> None:
    services.store.write(first_date_name(SOURCE), b"{}")
    with pytest.raises(StateUnreadable, match="--forget"):
        known_scraper(services, SOURCE)
    assert forget_first_date(services, SOURCE)
    assert known_scraper(services, SOURCE).floor == dt.date(1946, 11, 1)


def test_the_command_searches_shows_and_forgets(services: Services, upstream: Upstream, gapless: Any) -> None:
    assert "not searched for yet" in gapless("first-date", SOURCE).out
    asked = gapless("first-date", SOURCE, "1989-06-01", "1990-03-31", "--json")
    assert (asked.code, asked.data["first_date"], asked.data["recorded"]) == (0, "1990-01-01", True), asked.err
    shown = gapless("first-date", SOURCE)
    assert shown.out.startswith(f"{SOURCE} has rows from 1990-01-01 on: {asked.data['calls']} calls")
    assert "1989-12-31" in shown.out
    assert upstream.calls.report()["total"] == asked.data["calls"]
    assert "forgotten" in gapless("first-date", SOURCE, "--forget").out
    assert gapless("first-date", SOURCE, "1990-01-01").code == 2
    whole = gapless("first-date", "civic_band", "2020-01-01", "2020-02-01")
    assert (whole.code, "fetched by entity" in whole.err) == (1, True)
