"""Six shops, looked at on the days of a month: what is landed, loaded, verified, and told of days nobody looked at."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from plain_orchestrator import PlainOrchestrator

from alerting.errors import PipelineError
from alerting.run_facts import RunFacts
from deployments.local.upstreams.shops_upstream import ShopsUpstream
from deployments.local.upstreams.shops_world import DAYS, FIRST_DAY, SETTINGS, SHOPS
from flows.canaries import try_canaries
from flows.closing.finish import finish
from flows.ledger.ledger import Ledger, Verdict
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.parameters import Asked
from flows.planning.planner import plan_asked
from flows.run.recording import land, record_failure
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.wiring import Services
from scrapers.scrape import utc_now
from scrapers.sources.coffee_shops import CoffeeShops

SOURCE = "coffee_shops"
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

            asyncio.run(work())
            return run, finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
        finally:
            run.close()

    def look(self, *days: dt.date, shops: str = "all") -> None:
        """Lands a look at each shop on each of these days, as the daily run of that day does; records a failure."""
        with self.patch.context() as clock:
            # The shops show their simulated day; to the clock of this machine every one of them is past.
            clock.setattr(CoffeeShops, "keeps_history", True)
            asked = Asked(source=SOURCE, start_date=min(days), end_date=max(days), entities=shops)
            with Run(self.services, asked, f"bf-look{next(self.ids):08d}", PlainOrchestrator()) as run:
                plan = plan_asked(self.services, asked, utc_now()).plan
                run.work.partitions = {one.key: one for one in plan.to_fetch if one.start in days}
                run.ledger.refresh()
                for key, one in sorted(run.work.partitions.items(), key=lambda item: item[1].start):
                    self.upstream.day = one.start
                    try:
                        land(run, key)
                    except PipelineError as error:
                        record_failure(run, key, error, "scrape", key)

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Names in braces are tables."""
        names = ("scrape_runs", "scrape_artifacts", "product_sightings", "variant_sightings")
        return self.services.warehouse.query(statement.format(**{n: self.services.warehouse.name_of(n) for n in names}))


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


def seen_of(
    street: Street, shops: Sequence[str], days: Sequence[dt.date]
) -> dict[tuple[str, dt.date], tuple[int, int]]:
    """Products and variants by shop and day, by the generator."""
    found = {}
    for shop, day in itertools.product(shops, days):
        products = street.upstream.world.products(shop, day)
        found[shop, day] = (len(products), sum(len(one.variants) for one in products))
    return found


def test_every_shop_and_day_is_a_partition_with_the_rows_that_the_shop_had_that_day(street: Street) -> None:
    days = days_from(FIRST_DAY, 3)
    street.look(*days)
    run, facts = street.run(FIRST_DAY, days[-1] + dt.timedelta(days=1))
    assert facts.verdict == "COMPLETE"
    entries = street.ledger.refresh()
    assert len(entries) == 6 * 4
    for shop, day in itertools.product(SHOPS, days):
        assert entries[f"{shop}@{day}"].verdict is Verdict.VERIFIED
    told = "nobody looked that day, and the source keeps no history"
    assert {entries[f"{shop}@{days[-1] + dt.timedelta(days=1)}"].evidence for shop in SHOPS} == {told}
    rows = street.sql(
        "SELECT p.shop, p.scraped_on, COUNT(DISTINCT p.product_id) AS products, COUNT(*) AS variants "
        "FROM {product_sightings} p JOIN {variant_sightings} v USING (shop, scraped_on, product_id) "
        "GROUP BY p.shop, p.scraped_on"
    )
    found = {(row["shop"], row["scraped_on"]): (row["products"], row["variants"]) for row in rows}
    assert found == seen_of(street, list(SHOPS), days)
    assert run.tally.calls == 0, "past days are loaded from what was landed"
