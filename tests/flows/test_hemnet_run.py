"""Sold homes from plan to mail: all months by one command, blocks, later sweeps, and what never reaches a table."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shlex
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from alerting.errors import ConfigurationError, LeaseHeld, PipelineError
from alerting.instant import utc_now
from deployments.local.upstreams.shops_upstream import ShopsUpstream
from deployments.local.upstreams.shops_world import SETTINGS
from deployments.local.upstreams.sold_upstream import SESSION_COOKIE, SOLD_SESSION, Challenge, SoldUpstream
from deployments.local.upstreams.sold_world import SoldWorld, fewest_pages
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.coordination.cooldown import refuse_while_cooling
from flows.ledger.ledger import Ledger, Verdict
from flows.ledger.verdicts import backfill_verdict
from flows.parameters import Mode
from flows.planning.planner import plan_asked
from flows.planning.requirements import partitions_of_key
from flows.run.artifacts import now_of
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.progress import Progress
from flows.run.run import Run
from flows.truth.cleanup import find_leftovers
from flows.wiring import Services, build_services
from scrapers.sources.hemnet_sales import HemnetSales

if TYPE_CHECKING:
    from ..conftest import Provisioned
    from .conftest import Place, Ran

FIRST, LAST = "2020-01-01", "2025-11-30"
YEAR = ("2020-01-01", "2020-12-31")


@pytest.fixture(scope="module")
def server() -> Iterator[SoldUpstream]:
    with SoldUpstream(page_size=50, pages=4, world=_world()) as upstream:
        yield upstream


def _world() -> SoldWorld:
    return SoldWorld(1_500, areas=3)


@pytest.fixture
def site(server: SoldUpstream, monkeypatch: pytest.MonkeyPatch) -> SoldUpstream:
    """A site of which 200 sales of a list can be seen."""
    monkeypatch.setattr(HemnetSales, "result_cap", 200)
    server.world, server.session, server.renew_every = _world(), "", 0
    server.count_anew()
    return server


@pytest.fixture
def place(provisioned: Provisioned, site: SoldUpstream, inbox: Any) -> Place:
    from .conftest import Place

    services = provisioned(
        "hemnet_sales",
        site.url,
        {"hemnet_session": f"{SESSION_COOKIE}={SOLD_SESSION}"},
        GAPLESS_SOURCE_URLS=json.dumps({"hemnet_sales": site.url, "hemnet_details": site.url}),
        GAPLESS_ACCEPTABLE_SHARE="0.77",
        GAPLESS_SOURCE_ENTITIES=json.dumps({"hemnet_sales": list(site.world.areas)}),
        GAPLESS_SOURCE_PAUSE_S=json.dumps({"hemnet": [0, 0]}),
        PREFECT_API_URL="",
    )
    for table in services.source_kit("hemnet_details").processor.tables:
        services.warehouse.ensure_table(table)
    return Place(services, None, inbox)  # type: ignore[arg-type]


def loaded(place: Place, table: str = "hemnet_sales") -> dict[str, set[str]]:
    name = place.services.warehouse.name_of(table)
    found: dict[str, set[str]] = {}
    rows = place.services.warehouse.query(f"SELECT FORMAT_DATE('%Y-%m', sold_on) AS m, sale_id FROM {name}")
    for row in rows:
        ids = found.setdefault(row["m"], set())
        assert row["sale_id"] not in ids
        ids.add(row["sale_id"])
    return found


def test_71_months_by_one_command_are_those_of_the_site_and_a_later_sweep_loads_those_that_changed(
    place: Place, ran: Ran, site: SoldUpstream
) -> None:
    run, facts = ran(FIRST, LAST, source="hemnet_sales")
    assert (facts.verdict, facts.verdict_counts) == ("COMPLETE", {"verified": 71})
    assert loaded(place) == site.world.months()
    assert facts.calls == site.count <= 2 * fewest_pages(site.world.sales, site.world.areas)
    assert {run.ledger.get(key).attempts for key in run.work.partitions} == {1}  # type: ignore[union-attr]

    by_month = {month: sorted(ids) for month, ids in site.world.months().items()}
    site.world.correct(by_month["2021-05"][0], price=1_230_000)
    site.world.withdraw(by_month["2022-07"][0])
    late = site.world.add(by_month["2024-02"][0])
    asked = Asked(source="hemnet_sales", start_date=FIRST, end_date=LAST, mode=Mode.FULL)
    estimated = plan_asked(place.services, asked, utc_now()).estimate.calls
    again, facts = ran(FIRST, LAST, source="hemnet_sales", mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    assert abs(estimated - facts.calls) <= 0.1 * facts.calls, "a sweep takes what the last one took"
    assert {key for one in again.tally.receipts for key in one.partitions} == {"2021-05", "2022-07", "2024-02"}
    assert loaded(place) == site.world.months()
    assert late in loaded(place)["2024-02"]
    calls = site.count
    _, facts = ran(FIRST, LAST, source="hemnet_sales")
    assert (facts.verdict, site.count) == ("COMPLETE", calls), "what is done is not asked for again"


def test_a_block_in_the_middle_stops_the_run_once_and_the_next_one_goes_on_without_a_call_twice(
    place: Place, ran: Ran, site: SoldUpstream
) -> None:
    site.world = SoldWorld(300, months=12, areas=3)
    site.challenge = Challenge(3, 403, "sv")
    _, facts = ran(*YEAR, source="hemnet_sales")
    assert facts.verdict == "ABORTED(critical)"
    assert facts.verdict_counts == {"blocked": 12}
    assert [one.name for one in place.store.list("cooldowns/")] == ["cooldowns/hemnet.json"]
    assert loaded(place) == {}
    site.challenge = None
    place.store.delete("cooldowns/hemnet.json")
    _, facts = ran(*YEAR, source="hemnet_sales")
    assert facts.verdict == "COMPLETE"
    answered = [one["query"] for one in site.calls.report()["requests"] if one["status"] == 200]
    assert len(answered) == len(set(answered))
    assert loaded(place) == site.world.months()


def test_a_challenge_is_one_block_of_one_domain_with_one_alert_and_other_sources_go_on(
    place: Place, ran: Ran, site: SoldUpstream, gapless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "GAPLESS_CONSOLE_ONLY": "false",
        "GAPLESS_SMTP_HOST": "127.0.0.1",
        "GAPLESS_SMTP_PORT": str(place.inbox.smtp_port),
        "GAPLESS_SMTP_SECURITY": "none",
        "GAPLESS_MAIL_TO": "you@example.org",
    }.items():
        monkeypatch.setenv(name, value)
    site.world = SoldWorld(100, months=12, areas=2)
    site.challenge = Challenge(3, 200, "sv")
    year = ("2020-01-01", "2020-12-31")
    place.services = build_services()
    run, _ = ran(*year, source="hemnet_sales")
    subjects = [one["subject"] for one in place.inbox.messages()]
    assert len(subjects) == 2, subjects
    assert ["BLOCKED" in one for one in sorted(subjects)].count(True) == 1
    calls, now = site.count, utc_now()
    for source in ("hemnet_sales", "hemnet_details"):
        with pytest.raises(ConfigurationError, match=f"the account hemnet blocked {run.backfill_id}"):
            refuse_while_cooling(place.store, source, now)
        checks = {one["name"]: one["result"] for one in gapless("preflight", source, "--json").data["checks"]}
        assert checks["time"] == "fail"
        assert gapless("status", source, "--json").data["state"] == "in cooldown"
    refuse_while_cooling(place.store, "coffee_shops", now)
    with ShopsUpstream() as shops:
        monkeypatch.setenv("GAPLESS_SOURCE_URLS", json.dumps({"coffee_shops": f"{shops.url}/{{site}}"}))
        shop = {"alpine.example": SETTINGS["alpine.example"]}
        monkeypatch.setenv("GAPLESS_SOURCE_ENTITIES", json.dumps({"coffee_shops": shop}))
        place.services = build_services()
        for table in place.services.source_kit("coffee_shops").processor.tables:
            place.services.warehouse.ensure_table(table)
        today = str(now.date())
        _, facts = ran(today, today, source="coffee_shops")
    assert (facts.verdict, site.count) == ("COMPLETE", calls)


def test_no_table_ledger_reject_or_record_names_a_person_a_street_or_a_session(
    place: Place, ran: Ran, site: SoldUpstream
) -> None:
    site.world = SoldWorld(300, months=12, areas=3)
    site.session = SOLD_SESSION
    site.world.correct(sorted(site.world.months()["2020-05"])[0], price=10**20)
    _, facts = ran(*YEAR, source="hemnet_sales")
    assert facts.verdict_counts == {"verified": 11, "failed_permanent": 1}
    name = place.services.warehouse.name_of("hemnet_sales")
    texts = [json.dumps(place.services.warehouse.query(f"SELECT * FROM {name}"), default=str)]
    told = [name for name in place.objects() if not name.startswith("landing/") or name.endswith("manifest.json")]
    texts += [place.store.read(name)[0].decode("utf-8", "replace") for name in told]
    said = "\n".join(texts)
    assert "100000000000000000000" in said, "the row that was refused is kept"
    people = {text for sale in site.world.sales for text in (sale.street, sale.street.lower(), sale.broker)}
    assert not [text for text in people if text in said]
    assert SOLD_SESSION not in said


def test_details_follow_the_lists_month_by_month_and_55_of_71_are_acceptable_by_the_total_of_the_plan(
    place: Place, ran: Ran, site: SoldUpstream
) -> None:
    site.world = SoldWorld(300, areas=3)
    with pytest.raises(ConfigurationError, match="hemnet_sales is not done with 2020-01"):
        ran(FIRST, LAST, source="hemnet_details")
    ran(FIRST, LAST, source="hemnet_sales")
    months = site.world.months()
    full = sorted(months, key=lambda month: -len(months[month]))[:16]
    asked = Asked(source="hemnet_details", start_date=FIRST, end_date=LAST)
    assert plan_asked(place.services, asked, utc_now()).estimate.calls == 300, "a call a listed sale"
    # The first sales of a month come, then the site is down for it.
    site.trouble(
        *({"kind": "slow", "path": "/graphql", "delay_s": 0, "times": 2, **_dates_of(month)} for month in full),
        *({"kind": "500", "path": "/graphql", **_dates_of(month)} for month in full),
    )
    _, facts = ran(FIRST, LAST, source="hemnet_details", breaker=False)
    good = facts.verdict_counts["verified"] + facts.verdict_counts.get("empty_ok", 0)
    assert (good, facts.verdict_counts["failed_retryable"]) == (55, 16)
    assert facts.verdict == "ACCEPTABLE"
    counts = {Verdict(name): count for name, count in facts.verdict_counts.items()}
    assert backfill_verdict(counts, 0.78) == "FAILED", "of 71 that were planned, not of those that were reached"

    site.trouble()
    in_a_week = utc_now() + dt.timedelta(days=7)
    assert not find_leftovers(place.services, "hemnet_details", in_a_week, dt.timedelta(days=1))
    calls = site.count
    _, facts = ran(FIRST, LAST, source="hemnet_details")
    assert facts.verdict == "COMPLETE"
    assert site.count - calls == sum(len(months[month]) - 2 for month in full)
    assert loaded(place, "hemnet_details") == months


def test_a_month_of_details_opens_again_when_its_list_changes_and_fetches_what_is_new(
    place: Place, ran: Ran, gapless: Any, site: SoldUpstream
) -> None:
    site.world = SoldWorld(200, months=12, areas=3)
    first, last = "2020-01-01", "2020-12-31"
    ran(first, last, source="hemnet_sales")
    ran(first, last, source="hemnet_details")
    late = site.world.add(sorted(site.world.months()["2020-05"])[0])
    ran(first, last, source="hemnet_sales", mode=Mode.FULL)
    asked = Asked(source="hemnet_details", start_date=first, end_date=last)
    planned = plan_asked(place.services, asked, utc_now())
    assert [one.key for one in planned.plan.to_fetch] == ["2020-05"]
    assert planned.estimate.calls == 1
    assert [one.why for one in planned.plan.items if one.partition.key == "2020-05"] == [
        "hemnet_sales has another list by now"
    ]
    for command in (
        ("gaps", "hemnet_details", first, last),
        ("audit", "hemnet_details", "--from", first, "--to", last),
    ):
        told = gapless(*command).out
        assert "another list by now" in told, told
        assert "2020-05" in told
    calls = site.count
    _, facts = ran(first, last, source="hemnet_details")
    assert (facts.verdict, site.count - calls) == ("COMPLETE", 1)
    assert late in loaded(place, "hemnet_details")["2020-05"]
    assert not plan_asked(place.services, asked, utc_now()).plan.to_fetch


def _dates_of(month: str) -> dict[str, str]:
    first, last = partitions_of_key(month)
    return {"from": str(first), "to": str(last)}


def test_the_runbook_of_sold_homes_does_in_its_order_what_it_says(
    place: Place, ran: Ran, gapless: Any, site: SoldUpstream, documented_commands: list[Any]
) -> None:
    site.world = SoldWorld(300, areas=2)
    page = [one.text for one in documented_commands if one.page == "docs/sources/hemnet-runbook.md"]
    # Without a server nothing is started by a deployment, looked up there, or found by the id of a run.
    page = [text for text in page if not text.startswith(("prefect ", "gapless preflight", "gapless record"))]
    assert len(page) > 25
    wrong = []
    for text in page:
        verb, *words = shlex.split(text.partition("#")[0])[1:]
        if verb in ("run", "reprocess"):
            source, first, last, *options = words
            named = dict(zip(options[::2], options[1::2], strict=True))
            given = {"mode": named.get("--mode", "reprocess" if verb == "reprocess" else "incremental")}
            given |= {"dates": named["--dates"]} if "--dates" in named else {}
            _, facts = ran(first, last, source=source, **given)
            wrong += [] if facts.verdict == "COMPLETE" else [f"{text}: {facts.verdict}"]
            continue
        answered = gapless(verb, *words)
        if answered.code != (verb == "lift-cooldown"):
            wrong.append(f"{text}: {answered.code} {answered.out[-300:]} {answered.err[-300:]}")
    assert not wrong, "\n".join(wrong)


def test_every_question_of_the_guide_of_sold_homes_has_its_answer(
    place: Place, ran: Ran, gapless: Any, site: SoldUpstream
) -> None:
    site.world = SoldWorld(200, months=12, areas=2)
    months, year = site.world.months(), ("2020-01-01", "2020-12-31")
    checks = {one["name"]: one["result"] for one in gapless("preflight", "hemnet_sales", "--json").data["checks"]}
    assert [name for name, result in checks.items() if result == "fail"] == ["prefect api"], "there is no server here"

    ran("2020-01-01", "2020-05-31", source="hemnet_sales")
    planned = gapless("plan", "hemnet_sales", *year).out
    assert "12 partitions: 7 to fetch" in planned
    assert "5 done already" in planned
    calls = site.count
    run, facts = ran(*year, source="hemnet_sales")
    assert (facts.verdict, site.count) == ("COMPLETE", calls), "one sweep fills all months"
    now = gapless("status", "hemnet_sales", "--json").data
    assert (now["done"], now["rows"]) == ("2020-01…2020-12", {"hemnet_sales": 200})
    assert now["last_update"]
    summary = json.loads(place.store.read(f"runs/backfill={run.backfill_id}/summary.json")[0])
    assert (summary["planned"], summary["verdict_counts"]) == (12, {"verified": 12})
    assert summary["tables"][0]["verified"] == 200
    lines = gapless("verify", "hemnet_sales", *year).out.splitlines()
    assert len([line for line in lines if "PASS" in line]) == 5
    truth = {
        key: (entry.verdict, entry.content_hash) for key, entry in Ledger(place.store, "hemnet_sales").refresh().items()
    }
    for one in list(place.store.list("ledger/source=hemnet_sales/")):
        place.store.delete(one.name)
    assert gapless("reconcile", "hemnet_sales", "--apply").code == 0
    rebuilt = Ledger(place.store, "hemnet_sales").refresh()
    assert {key: (entry.verdict, entry.content_hash) for key, entry in rebuilt.items()} == truth

    site.trouble({"kind": "500", "path": "/graphql", **_dates_of("2020-03")})
    _, facts = ran(*year, source="hemnet_details", breaker=False)
    assert facts.verdict_counts == {"verified": 11, "failed_retryable": 1}, "one that fails stops no other"
    now = gapless("status", "hemnet_details", "--json").data
    (failed,) = now["failed"]
    assert (failed["error_type"], failed["ranges"], failed["partitions"]) == ("SourceUnavailable", "2020-03", 1)
    assert failed["example"].startswith("hemnet_details 2020-03 [scrape]: ")
    assert now["next_step"] == "gapless retry-failed hemnet_details --reason errors"
    site.trouble()
    calls = site.count
    _, facts = ran("2020-03-01", "2020-03-31", source="hemnet_details")
    assert (facts.verdict, site.count - calls) == ("COMPLETE", len(months["2020-03"]))
    assert loaded(place, "hemnet_details") == months


class AtPart(PlainOrchestrator):
    """Does something before the ``at``-th part of work, which is a month or a load."""

    def __init__(self, at: int, what: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._left, self._what = at, what

    async def subflow(self, flow: Any, parameters: Any, part: Any) -> None:
        self._left -= 1
        if not self._left:
            await self._what()
        await super().subflow(flow, parameters, part)


@pytest.fixture
def listed(place: Place, ran: Ran, site: SoldUpstream) -> dict[str, set[str]]:
    """Sales by month of a year whose lists are read."""
    site.world = SoldWorld(120, months=12, areas=2)
    ran(*YEAR, source="hemnet_sales")
    return site.world.months()


def test_h02_h26_a_run_at_its_time_limit_leaves_whole_months_and_the_next_one_makes_no_call_twice(
    place: Place, ran: Ran, site: SoldUpstream, listed: dict[str, set[str]]
) -> None:
    begun: list[Run] = []
    seen: list[Progress] = []

    async def six_hours_later() -> None:
        (run,) = begun
        seen.append(now_of(run))
        run.obey(run.breaker.tick(utc_now() + dt.timedelta(hours=6)))

    place.services = Services(place.services.settings.model_copy(update={"run_deadline_s": 6 * 3600}))
    lists = site.count
    orchestrator = AtPart(7, six_hours_later)
    _, facts = ran(*YEAR, begun.append, source="hemnet_details", orchestrator=orchestrator, max_concurrency=1)

    assert facts.verdict == "ABORTED(deadline)"
    (at,) = seen
    assert 0 < at.handled < 12
    assert 0 < at.percent < 100
    assert at.eta_s is not None
    done = {key for key, verdict in facts.calendar.items() if verdict != "planned"}
    assert at.handled <= len(done) <= at.handled + 1, "all but the month that was being read"
    there = loaded(place, "hemnet_details")
    assert all(listed[month] == ids for month, ids in there.items()), "no month is half there"
    _, facts = ran(*YEAR, source="hemnet_details")
    assert facts.verdict == "COMPLETE"
    assert site.count - lists == sum(map(len, listed.values()))
    assert loaded(place, "hemnet_details") == listed


def test_h03_six_months_at_once_never_conflict_and_another_run_is_told_who_has_the_source(
    place: Place, site: SoldUpstream, listed: dict[str, set[str]]
) -> None:
    refused: list[PipelineError] = []

    def asked_for(first: str, last: str) -> Asked:
        given = {"source": "hemnet_details", "start_date": first, "end_date": last, "max_concurrency": 6}
        return Asked.model_validate(given)

    async def the_other_half() -> None:
        other = run_backfill(place.services, asked_for("2020-07-01", YEAR[1]), "bf-half00000002", PlainOrchestrator())
        try:
            await other
        except PipelineError as error:
            refused.append(error)

    first_half = run_backfill(
        place.services, asked_for(YEAR[0], "2020-06-30"), "bf-half00000001", AtPart(3, the_other_half)
    )
    assert asyncio.run(first_half).is_completed()
    (error,) = refused
    assert isinstance(error, LeaseHeld)
    assert "bf-half00000001" in error.message
    again = run_backfill(place.services, asked_for("2020-07-01", YEAR[1]), "bf-half00000003", PlainOrchestrator())
    assert asyncio.run(again).is_completed()
    manifests = [name for name in place.objects() if "source=hemnet_details/" in name and "manifest" in name]
    assert len(manifests) == 12
    assert loaded(place, "hemnet_details") == listed


def test_h11_h13_months_and_a_most_of_calls_are_checked_before_the_site_is_asked_and_nobody_is_asked_to_confirm(
    place: Place, ran: Ran, site: SoldUpstream, gapless: Any
) -> None:
    before = site.count, place.objects().keys()
    for wrong in ("2025-13", "2025-1x", "202513"):
        told = gapless("run", "hemnet_sales", wrong, "--reason", "test")
        assert told.code != 0
        assert wrong in told.err
    with pytest.raises(ValidationError, match="max_calls"):
        Asked.model_validate({"source": "hemnet_sales", "start_date": FIRST, "end_date": LAST, "max_calls": -1})
    # Whoever pipes it has no terminal: it goes as far as the server, which there is none of.
    unattended = gapless("run", "hemnet_sales", "2020", "--reason", "test")
    assert unattended.code == 1
    assert "12 to fetch" in unattended.out
    assert "?" not in unattended.out
    assert (site.count, place.objects().keys()) == before

    _, facts = ran(FIRST, LAST, source="hemnet_sales", max_calls=5)
    assert facts.verdict == "ABORTED(budget)"
    assert site.count == 5
