"""Six shops, looked at on the days of a month: what is landed, loaded, verified, and told of days nobody looked at.

And what the guide of the collector before Gapless promised of them (rows K of docs/requirements.md), on single days.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import logging
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alerting.errors import ConfigurationError, PipelineError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from deployments.local.upstreams.shops_upstream import ShopsUpstream
from deployments.local.upstreams.shops_world import DAYS, FIRST_DAY, SETTINGS, SHOPS, PriceSpan
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.canaries import try_canaries
from flows.closing.close import close_dead_runs
from flows.closing.finish import finish
from flows.coordination.cooldown import lift_by_hand
from flows.coordination.intervention import Intervention
from flows.coordination.lease import Holder, Lease, lease_record, list_leases
from flows.daily import live_plan
from flows.ledger.cooldowns import sites_left_alone
from flows.ledger.ledger import Ledger, Verdict
from flows.ledger.resumes import read_resumes
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.planner import plan_asked
from flows.run import resume
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import land, record_failure
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.truth.cleanup import find_leftovers
from flows.wiring import Services, build_services
from scrapers.partition import Partition
from scrapers.sources.coffee_shops import CoffeeShops

SOURCE = "coffee_shops"
NOBODY = "nobody looked that day, and the source keeps no history"
LAST_DAY = FIRST_DAY + dt.timedelta(days=DAYS - 1)


@dataclass
class Street:
    """The shops, and the place where looks at them are kept."""

    services: Services
    upstream: ShopsUpstream
    patch: pytest.MonkeyPatch
    ids: Iterator[int] = field(default_factory=itertools.count)

    @property
    def ledger(self) -> Ledger:
        ledger = Ledger(self.services.store, SOURCE)
        ledger.refresh()
        return ledger

    def run(self, first: dt.date, last: dt.date, **rest: Any) -> tuple[Run, RunFacts]:
        """A backfill from plan to mail."""
        asked = Asked.model_validate({"source": SOURCE, "start_date": first, "end_date": last, **rest})
        run = Run(self.services, asked, f"bf-run{next(self.ids):09d}", PlainOrchestrator())
        try:
            planned = plan_asked(self.services, asked, utc_now(), run.backfill_id)
            run.begin(planned, starting_facts(self.services, planned.plan, {}, run.backfill_id, asked))

            async def work() -> None:
                await map_windows(run, await try_canaries(run, planned.plan))
                await resume.note_resume(run)

            asyncio.run(work())
            return run, finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
        finally:
            run.close()

    def set(self, **settings: str) -> None:
        """Other settings, as a person exports them."""
        for name, value in settings.items():
            self.patch.setenv(name, value)
        self.services = build_services()

    def look(self, *days: dt.date, shops: str = "all") -> None:
        """Lands a look at each shop on each of these days, as the daily run of that day does; records a failure."""
        with self.patch.context() as clock:
            # The shops show their simulated day; to the clock of this machine every one of them is past.
            clock.setattr(CoffeeShops, "keeps_history", True)
            for day in days:
                self.upstream.day = day
                asked = Asked(source=SOURCE, start_date=day, end_date=day, entities=shops)
                # A run of its own: a shop that was closed yesterday may be open today.
                with Run(self.services, asked, f"bf-look{next(self.ids):08d}", PlainOrchestrator()) as run:
                    plan = plan_asked(self.services, asked, utc_now()).plan
                    run.work.partitions = {one.key: one for one in plan.to_fetch}
                    run.ledger.refresh()
                    for key in sorted(run.work.partitions):
                        try:
                            land(run, key)
                        except PipelineError as error:
                            record_failure(run, key, error, "scrape", key)

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Names in braces are tables."""
        names = ("products", "prices", *CoffeeShops.tables)
        return self.services.warehouse.query(statement.format(**{n: self.services.warehouse.name_of(n) for n in names}))

    def prices(self) -> list[PriceSpan]:
        """The view, in the form of the generator's truth."""
        rows = self.sql("SELECT * FROM {prices} ORDER BY shop, variant_id, valid_from")
        return [PriceSpan(**row) for row in rows]


@pytest.fixture
def street(provisioned: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Street]:
    with ShopsUpstream(day=FIRST_DAY) as upstream:
        services = provisioned(
            SOURCE,
            f"{upstream.url}/{{site}}",
            {},
            GAPLESS_SOURCE_ENTITIES=json.dumps({SOURCE: SETTINGS}),
            GAPLESS_SOURCE_RATE_PER_MINUTE=json.dumps({SOURCE: 60_000}),
            GAPLESS_SOURCE_PAUSE_S=json.dumps({SOURCE: [0, 0]}),
            GAPLESS_SOURCE_PAGE_SIZE=json.dumps({SOURCE: 10}),
            GAPLESS_BREAKER_MIN_SAMPLE="1000",
        )
        yield Street(services, upstream, monkeypatch)


def days_from(first: dt.date, count: int) -> list[dt.date]:
    return [first + dt.timedelta(days=number) for number in range(count)]


BUSY, CLOSED, BROKEN = "bergen.example", "edo.example", "alpine.example"
NO_LOOK = {FIRST_DAY + dt.timedelta(days=number) for number in (4, 11, 12)}
FAILED = FIRST_DAY + dt.timedelta(days=7)
SHIFTED = FIRST_DAY + dt.timedelta(days=9)
CUT_SHORT = FIRST_DAY + dt.timedelta(days=15)
CLOSED_DAYS = days_from(FIRST_DAY + dt.timedelta(days=19), 3)


@pytest.mark.long
def test_the_price_history_of_a_month_is_that_of_the_shops_as_far_as_somebody_looked(street: Street) -> None:
    """Nobody looks on three days, one shop fails on a day, one on its second page, one is closed for three days."""
    days = [day for day in days_from(FIRST_DAY, DAYS) if day not in NO_LOOK]
    street.upstream.trouble(
        {"kind": "500", "path": BUSY, "dates": [FAILED]},
        {"kind": "inserted", "path": BROKEN, "query": "limit=10&page=2", "dates": [SHIFTED], "times": 1},
        {"kind": "500", "path": BROKEN, "query": "page=3", "dates": [CUT_SHORT]},
        {"kind": "closed", "path": CLOSED, "dates": CLOSED_DAYS},
    )
    street.look(*days)
    missed = {BUSY: {FAILED}, BROKEN: {CUT_SHORT}, CLOSED: {*CLOSED_DAYS}}
    looks = {shop: [day for day in days if day not in missed.get(shop, ())] for shop in SHOPS}
    calls = street.upstream.calls.report()["total"]
    _, facts = street.run(FIRST_DAY, LAST_DAY)
    assert facts.verdict == "COMPLETE"
    assert street.upstream.calls.report()["total"] == calls, "past days are loaded from what was landed"

    entries = street.ledger.refresh()
    for shop, day in itertools.product(SHOPS, days_from(FIRST_DAY, DAYS)):
        entry = entries[f"{shop}@{day}"]
        assert entry.verdict is (Verdict.VERIFIED if day in looks[shop] else Verdict.UNAVAILABLE), (shop, day)
    assert entries[f"{BUSY}@{min(NO_LOOK)}"].evidence == NOBODY
    assert entries[f"{BUSY}@{FAILED}"].evidence == f"{NOBODY}; its last try failed: SourceUnavailable"

    world = street.upstream.world
    assert street.prices() == world.price_history(looks)
    now = street.sql("SELECT shop, product_id, title, last_seen, gone_on FROM {products}")
    there = {(row["shop"], row["product_id"]) for row in now if row["gone_on"] is None}
    assert there == {(shop, str(one.id)) for shop in SHOPS for one in world.products(shop, LAST_DAY)}
    assert all(row["gone_on"] in looks[row["shop"]] for row in now if row["gone_on"])

    # Again by a mended processor, from what is landed of every day.
    street.patch.setattr(type(street.services.source_kit(SOURCE).processor), "version", 2)
    run, facts = street.run(FIRST_DAY, LAST_DAY, mode="reprocess", entities=f"{CLOSED}, {BUSY}")
    assert run.tally.calls == 0
    again = [key for key, entry in street.ledger.refresh().items() if entry.backfill_id == run.backfill_id]
    assert {key for key in again if entries[key].verdict is Verdict.VERIFIED} == {
        f"{shop}@{day}" for shop in (CLOSED, BUSY) for day in looks[shop]
    }
    assert street.prices() == world.price_history(looks)


def test_a_shop_that_fails_for_three_days_leaves_the_others_verified_and_is_itself_named(
    street: Street, gapless: Any, tmp_path: Path
) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.upstream.trouble({"kind": "closed", "path": BUSY})
    for day in days_from(FIRST_DAY, 3):
        street.upstream.day = day
        run, facts = street.run(day, day)
        assert facts.verdict == "FAILED"
        found = {key: entry.verdict for key, entry in street.ledger.refresh().items() if str(day) in key}
        assert found == {
            f"{shop}@{day}": Verdict.FAILED_PERMANENT if shop == BUSY else Verdict.VERIFIED for shop in SHOPS
        }
        mail = street.services.store.read(f"runs/backfill={run.backfill_id}/mail.txt")[0].decode()
        assert "SiteClosed" in mail
        assert f"{BUSY}@{day}" in mail
        assert not [shop for shop in SHOPS if shop != BUSY and f"{shop}@{day}" in mail]
    tables = CoffeeShops.tables
    last = FIRST_DAY + dt.timedelta(days=2)
    gaps = gapless("gaps", SOURCE, str(FIRST_DAY), str(last), "--json").data["gaps"]
    assert {(one["entity"], one["table"], one["partitions"], one["ranges"]) for one in gaps} == {
        (BUSY, table, 3, f"{BUSY}@{FIRST_DAY}…{last}") for table in tables
    }
    assert f"failed_permanent (SiteClosed): {BUSY}@{FIRST_DAY}…{last}" in gapless("calendar", SOURCE).out
    assert gapless("calendar", SOURCE, "--html", str(tmp_path / "shops.html")).code == 0
    assert all(shop in (tmp_path / "shops.html").read_text() for shop in SHOPS)


THREE = (BUSY, "delta.example", CLOSED)
OF_THREE = json.dumps({SOURCE: {shop: SETTINGS[shop] for shop in THREE}})
TODAY = str(FIRST_DAY)


def test_every_question_of_the_guide_has_its_answer_before_and_after_a_day_with_a_closed_shop(
    street: Street, gapless: Any, caplog: pytest.LogCaptureFixture
) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE)
    before = gapless("status", SOURCE, "--json").data
    assert (before["partitions"], before["verdicts"], before["rows"]) == (0, {}, dict.fromkeys(CoffeeShops.tables, 0))
    assert len(before["answers"]) == 15
    checks = {one["name"]: one["result"] for one in gapless("preflight", SOURCE, "--json").data["checks"]}
    assert [name for name, result in checks.items() if result == "fail"] == ["prefect api"], "there is no server here"
    assert {checks[name] for name in ("disk", "memory", "bucket", "tables", "limiter")} == {"pass"}
    planned = gapless("estimate", SOURCE, TODAY, TODAY, "--json").data
    assert (planned["calls"], planned["learned_from"]) == (3 * CoffeeShops.calls_guess, 0)
    assert planned["optimistic_s"] < planned["realistic_s"] < planned["pessimistic_s"]
    assert planned["bigquery_jobs"] >= 2 * len(CoffeeShops.tables)

    street.upstream.trouble({"kind": "closed", "path": CLOSED})
    caplog.set_level(logging.INFO, logger="gapless.partition")
    caplog.clear()
    began = utc_now()
    run, facts = street.run(FIRST_DAY, FIRST_DAY, reason="schema_change")
    world = street.upstream.world
    told = [one.gapless for one in caplog.records if one.name == "gapless.partition"]  # type: ignore[attr-defined]
    assert {(one["partition"], one["verdict"], one["backfill_id"]) for one in told} == {
        (f"{BUSY}@{TODAY}", "verified", run.backfill_id),
        (f"delta.example@{TODAY}", "verified", run.backfill_id),
        (f"{CLOSED}@{TODAY}", "failed_permanent", run.backfill_id),
    }
    mail = street.services.store.read(f"runs/backfill={run.backfill_id}/mail.txt")[0].decode()
    assert "schema_change" in mail

    now = gapless("status", SOURCE, "--json").data
    assert now["verdicts"] == {"verified": 2, "failed_permanent": 1}
    assert [one["blame"] for one in now["failed"]] == ["the source: that site is closed, has moved or refuses us"]
    assert (now["progress"]["planned"], now["progress"]["verified"], now["progress"]["failed"]) == (3, 2, 1)
    sold = {shop: world.products(shop, FIRST_DAY) for shop in (BUSY, "delta.example")}
    rows = now["rows"]
    assert rows["product_sightings"] == sum(len(products) for products in sold.values())
    assert rows["variant_sightings"] == sum(len(one.variants) for products in sold.values() for one in products)
    assert rows["scrape_runs"] == 2
    found = gapless("verify", SOURCE, TODAY, TODAY, "--json")
    assert found.code == 1
    assert {name: one["loaded"] for name, one in found.data["tables"].items()} == rows
    assert [one["name"] for one in found.data["checks"] if not one["passed"]] == ["partitions done", "nothing failed"]
    assert found.data["problems"] == {}
    (last,) = gapless("runs", "--last", "10", "--json").data
    assert (last["backfill_id"], last["verdict"], last["reason"]) == (run.backfill_id, facts.verdict, "schema_change")
    assert last["mail"].startswith("sent ")
    causes = gapless("errors", "--hours", "24", "--json").data
    assert (causes["by_type"], [one["ranges"] for one in causes["causes"]]) == (
        {"SiteClosed": 1},
        [f"{CLOSED}@{TODAY}"],
    )
    # Other tests had runs of the same id in the same BigQuery.
    listed = [one for one in street.services.warehouse._client.list_jobs() if one.created >= began]
    jobs = [one for one in listed if run.backfill_id in one.job_id]
    assert len(jobs) == 2 * len(CoffeeShops.tables), "a load and a replace of each table"
    assert {(one.labels or {}).get("backfill") for one in jobs if one.job_type == "load"} == {run.backfill_id}


def test_a_look_that_broke_off_goes_on_at_its_page_and_a_full_run_in_which_a_shop_is_down_keeps_its_rows(
    street: Street, gapless: Any
) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.upstream.trouble({"kind": "500", "path": BROKEN, "query": "page=3"})
    _, facts = street.run(FIRST_DAY, FIRST_DAY, entities=f"{BROKEN},{BUSY}")
    assert facts.verdict_counts == {"verified": 1, "failed_retryable": 1}
    assert street.sql("SELECT shop FROM {scrape_runs}") == [{"shop": BUSY}], "nothing of half a look is a row"
    in_a_week = utc_now() + dt.timedelta(days=7)
    (left,) = find_leftovers(street.services, SOURCE, in_a_week, dt.timedelta(days=1))
    assert (left.kind, f"{BROKEN}@{TODAY}" in left.name) == ("attempt", True)
    street.upstream.trouble()
    calls = street.upstream.calls.report()["total"]
    _, facts = street.run(FIRST_DAY, FIRST_DAY, entities=f"{BROKEN},{BUSY}")
    asked = [one["query"] for one in street.upstream.calls.report()["requests"][calls:]]
    assert facts.verdict == "COMPLETE"
    assert asked
    assert "limit=10&page=1" not in asked, "it goes on where it stopped"

    counted = (
        "SELECT shop, COUNT(*) AS rows_, MAX(price) AS dearest FROM {variant_sightings} GROUP BY shop ORDER BY shop"
    )
    before = street.sql(counted)
    street.upstream.trouble({"kind": "500", "path": BROKEN})
    _, facts = street.run(FIRST_DAY, FIRST_DAY, entities=f"{BROKEN},{BUSY}", mode="full", reason="stale")
    assert facts.verdict_counts == {"verified": 1, "failed_retryable": 1}
    assert street.sql(counted) == before, "rows are replaced by better ones, and never deleted first"


def test_what_is_lost_orphaned_or_doubled_is_found_by_shop_and_table_and_restored_without_a_call(
    street: Street, gapless: Any
) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE)
    street.run(FIRST_DAY, FIRST_DAY)
    counted = "SELECT shop, COUNT(*) AS rows_ FROM {variant_sightings} GROUP BY shop ORDER BY shop"
    calls, before = street.upstream.calls.report()["total"], street.sql(counted)
    assert gapless("audit", SOURCE, "--from", TODAY, "--to", TODAY).code == 0
    # A shop loses its products, so that its variants have no parent; another has a variant twice.
    street.sql(f"DELETE FROM {{product_sightings}} WHERE shop = '{BUSY}'")
    street.sql(
        "INSERT INTO {variant_sightings} SELECT * FROM {variant_sightings} WHERE shop = 'delta.example' "
        "AND variant_id = (SELECT MIN(variant_id) FROM {variant_sightings} WHERE shop = 'delta.example')"
    )
    gaps = gapless("gaps", SOURCE, TODAY, TODAY, "--json").data["gaps"]
    assert {(one["entity"], one["table"], one["why"]) for one in gaps} == {
        (BUSY, "product_sightings", "the table has fewer rows than verified"),
        ("delta.example", "variant_sightings", "the table has more rows than verified"),
    }
    found = gapless("verify", SOURCE, TODAY, TODAY, "--json").data["problems"]
    assert "18 rows without their product_sightings row" in found[f"{BUSY}@{TODAY}"]
    assert "variant_sightings" in found[f"delta.example@{TODAY}"]
    deficits = gapless("audit", SOURCE, "--from", TODAY, "--to", TODAY, "--json").data["deficits"]
    assert [one["ranges"] for one in deficits] == [f"{BUSY}@{TODAY}, delta.example@{TODAY}"]

    _, facts = street.run(FIRST_DAY, FIRST_DAY, mode="reprocess", reason="corrupted")
    assert (facts.verdict, street.sql(counted)) == ("COMPLETE", before)
    assert street.upstream.calls.report()["total"] == calls
    assert gapless("verify", SOURCE, TODAY, TODAY).code == 0


def planned_of(street: Street, days: list[dt.date]) -> list[Partition]:
    asked = Asked(source=SOURCE, start_date=days[0], end_date=days[-1])
    return [one.partition for one in plan_asked(street.services, asked, utc_now()).plan.items]


def test_a_shop_that_blocks_us_is_left_alone_by_all_runs_until_its_cooldown_ends_or_is_lifted(
    street: Street, gapless: Any
) -> None:
    """One that asks us to wait for long is not asked again meanwhile; both say nothing of the third."""
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE, GAPLESS_MAIL_CONTACTS=json.dumps({"primary": "ada@example.org"}))
    days = days_from(FIRST_DAY, 2)
    street.upstream.trouble(
        {"kind": "html403", "path": BUSY}, {"kind": "status", "code": 503, "path": CLOSED, "retry_after_s": 7200}
    )
    run, facts = street.run(*days, order="sequential")
    assert facts.verdict_counts == {"verified": 2, "blocked": 2, "failed_retryable": 2}
    paths = [one["path"] for one in street.upstream.calls.report()["requests"]]
    assert [sum(shop in path for path in paths) for shop in (BUSY, CLOSED)] == [1, 1]
    assert [one.name for one in street.services.store.list("cooldowns/")] == [f"cooldowns/coffee_shops/{BUSY}.json"]
    lift = f"gapless lift-cooldown {SOURCE} --site {BUSY} --reason WHY"
    mail = street.services.store.read(f"runs/backfill={run.backfill_id}/mail.txt")[0].decode()
    assert lift in " ".join(mail.split())
    assert "ada@example.org" in mail

    street.upstream.trouble()
    calls, window = street.upstream.calls.report()["total"], planned_of(street, days)
    planned = gapless("plan", SOURCE, *map(str, days)).out
    assert "2 to fetch" in planned
    assert "2 waiting for a site that blocked us" in planned
    checks = {one["name"]: one for one in gapless("preflight", SOURCE, "--json").data["checks"]}
    assert (checks["time"]["result"], lift in checks["time"]["remedy"]) == ("warn", True)
    assert list(gapless("status", SOURCE, "--json").data["left_alone"]) == [BUSY]
    _, facts = street.run(*days)
    assert facts.verdict_counts == {"verified": 4, "blocked": 2}
    assert not [one for one in street.upstream.calls.report()["requests"][calls:] if BUSY in one["path"]]
    assert any(f"{BUSY} blocked {run.backfill_id}" in note for note in facts.notes)
    gaps = gapless("gaps", SOURCE, *map(str, days), "--json").data["gaps"]
    assert {(one["entity"], one["why"]) for one in gaps} == {(BUSY, "blocked: BlockedBySource")}
    daily = live_plan(street.services, SOURCE, window)
    assert {one.key for one in daily.to_fetch} == {f"{shop}@{day}" for shop in THREE if shop != BUSY for day in days}
    assert lift in gapless("status", SOURCE, "--json").data["next_step"]
    with pytest.raises(ConfigurationError, match=f"nothing can start: {BUSY} blocked"):
        street.run(*days, entities=BUSY)

    assert gapless("lift-cooldown", SOURCE, "--reason", "x").code == 1
    assert gapless("lift-cooldown", SOURCE, "--site", BUSY, "--reason", "the shop agreed").code == 0
    assert [one.name for one in street.services.store.list(f"audit/cooldowns/source={SOURCE}/site={BUSY}/")]
    _, facts = street.run(*days)
    assert facts.verdict == "COMPLETE"


def scheduled_by(street: Street) -> list[tuple[dt.datetime, dict[str, Any]]]:
    """What runs from here on schedule, as if a deployment had started them."""
    found: list[tuple[dt.datetime, dict[str, Any]]] = []

    async def schedule(run: Run, at: dt.datetime) -> tuple[str, str]:
        found.append((at, run.asked.resumed(run.backfill_id)))
        return f"run-{len(found)}", "grey-owl"

    street.patch.setattr(resume.deployment, "id", "d-1", raising=False)
    street.patch.setattr(resume, "schedule_resume", schedule)
    return found


def test_what_a_shop_that_blocks_us_keeps_back_is_asked_for_again_by_itself_and_the_mail_says_from_when(
    street: Street,
) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE)
    days, scheduled = days_from(FIRST_DAY, 2), scheduled_by(street)
    street.upstream.trouble({"kind": "html403", "path": BUSY})
    run, facts = street.run(*days, order="sequential")

    (until,) = {one.until for one in sites_left_alone(street.services.store, CoffeeShops(), utc_now()).values()}
    ((at, parameters),) = scheduled
    assert Asked.model_validate(parameters).resume_of == run.backfill_id
    assert at == until + dt.timedelta(minutes=1)
    assert facts.verdict_counts == {"verified": 4, "blocked": 2}
    (kept,) = read_resumes(street.services.store, SOURCE)
    assert set(kept.keys) == {f"{BUSY}@{day}" for day in days}
    mail = " ".join(street.services.store.read(f"runs/backfill={run.backfill_id}/mail.txt")[0].decode().split())
    assert f"resumes at {at:%Y-%m-%d %H:%M} UTC automatically as flow run grey-owl" in mail
    works = f"Works from {until:%Y-%m-%d %H:%M} UTC on; flow run grey-owl does them then; before that:"
    assert mail.count(works) == mail.count("prefect deployment run ") > 0

    # Blocked again, it is a person's.
    lift_by_hand(street.services.store, SOURCE, Intervention("me", "to see", utc_now()), BUSY)
    _, facts = street.run(*days, resume_of=run.backfill_id)
    assert len(scheduled) == 1
    assert any(f"blocked by {BUSY} again after the cooldown" in note for note in facts.notes)


def test_a_command_for_more_than_what_a_blocked_shop_keeps_back_says_of_how_much_it_is_true(street: Street) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE)
    street.upstream.trouble({"kind": "html403", "path": BUSY}, {"kind": "500", "path": CLOSED})
    run, facts = street.run(FIRST_DAY, FIRST_DAY)
    assert facts.verdict_counts == {"verified": 1, "blocked": 1, "failed_retryable": 1}
    mail = " ".join(street.services.store.read(f"runs/backfill={run.backfill_id}/mail.txt")[0].decode().split())
    assert "For 1 of them it works from" in mail
    assert "run it again then (it was not started from a deployment)" in mail


def test_a_day_that_is_over_before_its_shop_may_be_asked_again_is_told_and_nothing_is_scheduled(
    street: Street,
) -> None:
    street.upstream.day, today = None, utc_now().date()
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE, GAPLESS_BLOCK_COOLDOWN_H="30")
    scheduled = scheduled_by(street)
    street.upstream.trouble({"kind": "html403", "path": BUSY})
    _, facts = street.run(today, today)
    assert not scheduled
    assert any(f"{BUSY}@{today}, blocked by {BUSY}: over by" in note for note in facts.notes)


def test_the_runbook_of_the_shops_does_in_its_order_what_it_says(
    street: Street, gapless: Any, documented_commands: list[Any]
) -> None:
    street.upstream.day, today = None, f"{utc_now():%Y-%m-%d}"
    page = [one.text for one in documented_commands if one.page == "docs/sources/coffee-shops-runbook.md"]
    # Without a server nothing is started by a deployment, or looked up there.
    page = [text for text in page if not text.startswith(("prefect ", "gapless preflight"))]
    assert len(page) > 20
    wrong = []
    for text in page:
        verb, *words = shlex.split(text.replace("$(date -u +%F)", today))[1:]
        if verb in ("run", "reprocess"):
            _, first, last, *options = words
            named = dict(zip(options[::2], options[1::2], strict=True))
            given = {name: named[f"--{name}"] for name in ("dates", "entities") if f"--{name}" in named}
            mode = named.get("--mode", "reprocess" if verb == "reprocess" else "incremental")
            _, facts = street.run(dt.date.fromisoformat(first), dt.date.fromisoformat(last), mode=mode, **given)
            wrong += [] if facts.verdict == "COMPLETE" else [f"{text}: {facts.verdict}"]
            continue
        answered = gapless(verb, *words)
        if answered.code != (verb == "lift-cooldown"):
            wrong.append(f"{text}: {answered.code} {answered.out[-300:]} {answered.err[-300:]}")
    assert not wrong, "\n".join(wrong)


def test_shops_that_are_all_down_stop_the_run_by_a_red_flag_and_one_of_them_does_not(street: Street) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_BREAKER_MIN_SAMPLE="3", GAPLESS_BREAKER_PROBES="0", GAPLESS_RETRY_DELAYS_S="[0]")
    street.upstream.trouble({"kind": "500"})
    run, facts = street.run(FIRST_DAY, FIRST_DAY + dt.timedelta(days=2), order="sequential")
    assert facts.verdict == "ABORTED(red_flag)"
    mail = street.services.store.read(f"runs/backfill={run.backfill_id}/mail.txt")[0].decode()
    assert "STOPPED" in mail
    assert street.upstream.calls.report()["total"] < 18, "it does not go on asking"
    street.upstream.trouble({"kind": "closed", "path": CLOSED})
    _, facts = street.run(FIRST_DAY, FIRST_DAY)
    assert facts.verdict_counts == {"verified": 5, "failed_permanent": 1}


class Ended(PlainOrchestrator):
    """When its ``at``-th part of work is done the process is gone, or somebody has cancelled the run."""

    def __init__(self, at: int, how: BaseException) -> None:
        super().__init__()
        self._left, self._how = at, how

    async def subflow(self, flow: Any, parameters: Any, part: Any) -> None:
        await super().subflow(flow, parameters, part)
        self._left -= 1
        if not self._left:
            raise self._how


def killed(street: Street, asked: Asked, run_id: str, at: int) -> None:
    """A run whose process is gone after its ``at``-th part: it closes nothing, and its lease names a dead process."""
    with street.patch.context() as dead:
        dead.setattr("flows.backfill.finish", lambda *_: None)
        with pytest.raises(SystemExit):
            asyncio.run(run_backfill(street.services, asked, run_id, Ended(at, SystemExit())))
    gone = subprocess.Popen(["true"])
    gone.wait()
    lease_record(street.services.store, SOURCE).update(lambda held: held and held.model_copy(update={"pid": gone.pid}))


def test_k02_a_worker_that_is_killed_and_a_new_one_with_another_deployment_leave_no_shop_and_ask_none_twice(
    street: Street,
) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE)
    asked = Asked.model_validate(
        {"source": SOURCE, "start_date": FIRST_DAY, "end_date": FIRST_DAY + dt.timedelta(days=1), "max_concurrency": 1}
    )
    killed(street, asked, "bf-kill00000001", at=2)
    (lease,) = list_leases(street.services.store)
    assert (lease.backfill_id, lease.state) == ("bf-kill00000001", "held")
    known = [entry.verdict for entry in street.ledger.entries().values()]
    assert 0 < len([one for one in known if one in (Verdict.LANDED, Verdict.VERIFIED)]) < 6, known

    # A new worker, with another code and another setting, when the dead one's lease is over.
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE, GAPLESS_PROGRESS_EVERY="1")
    street.patch.setattr("flows.wiring.code_version", lambda: "0.2.0+redeployed")
    state = asyncio.run(run_backfill(street.services, asked, "bf-kill00000002", PlainOrchestrator()))
    assert state.is_completed(), state.message
    entries = street.ledger.entries()
    assert {entry.verdict for entry in entries.values()} == {Verdict.VERIFIED}
    asked_for = [one["path"] + one["query"] for one in street.upstream.calls.report()["requests"]]
    assert len(asked_for) <= 2 * len(set(asked_for)) + 1, (
        "two days; of the killed run's no more than the call under way"
    )
    assert close_dead_runs(street.services, utc_now()) == ["bf-kill00000001"], "as the watchdog does"
    mails = [one.name for one in street.services.store.list("runs/") if one.name.endswith("mail.txt")]
    assert len(mails) == 2, "the killed run's, too"


def test_k19_a_cancelled_run_of_the_shops_ends_with_its_mail_and_lease_and_another_source_runs_on(
    street: Street,
) -> None:
    street.patch.setattr(CoffeeShops, "keeps_history", True)
    street.set(GAPLESS_SOURCE_ENTITIES=OF_THREE)
    other = Holder("bf-other0000001", range_text="2025-01-01..2025-01-31")
    Lease.acquire(street.services.store, "bdl_box_scores", other, now=utc_now(), ttl_s=600)
    asked = Asked.model_validate({"source": SOURCE, "start_date": FIRST_DAY, "end_date": FIRST_DAY})

    async def cancelled() -> None:
        await run_backfill(street.services, asked, "bf-cancel000001", Ended(2, asyncio.CancelledError()))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    states = {lease.source: lease.state for lease in list_leases(street.services.store)}
    assert states == {SOURCE: "released", "bdl_box_scores": "held"}
    summary = json.loads(street.services.store.read("runs/backfill=bf-cancel000001/summary.json")[0])
    assert summary["verdict"] == "ABORTED(user)"
    assert street.services.store.read("runs/backfill=bf-cancel000001/mail.txt")[0]
