"""Links first, details later: what one source has landed is the list of another, and no item is fetched twice."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from sold_bench import NOW, SmallHemnetSales, SoldBench

from alerting.errors import BlockedBySource, NothingPublished, SourceContractError
from deployments.local.upstreams.sold_upstream import Challenge, SoldUpstream
from deployments.local.upstreams.sold_world import SoldWorld
from processors.base import LandedPage
from processors.registry import processor
from scrapers.base import SourceAccess
from scrapers.client import SourceClient
from scrapers.feeding import listed_in
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

MONTH = Partition.month(2020, 3, "Europe/Stockholm")


@pytest.fixture(scope="module")
def server() -> Iterator[SoldUpstream]:
    with SoldUpstream(world=_world(), page_size=20, pages=5) as upstream:
        yield upstream


def _world() -> SoldWorld:
    return SoldWorld(150, months=6, areas=2)


@pytest.fixture
def bench(server: SoldUpstream) -> SoldBench:
    server.world = _world()
    server.count_anew()
    return SoldBench(server)


Details = Callable[..., Manifest]


@pytest.fixture
def details(bench: SoldBench) -> Details:
    """Sweeps, then fetches the details of a month; ``sweeps`` False goes by the sweep before."""
    lists: dict[str, Manifest] = {}

    def details(
        *,
        sweeps: bool = True,
        partition: Partition = MONTH,
        backfill_id: str = "b1",
        again: bool = False,
        now: dt.datetime = NOW,
    ) -> Manifest:
        if sweeps:
            lists.update(bench.sweep(backfill_id=backfill_id))
            bench.upstream.calls.clear()
        source = scraper("hemnet_details")

        def listed(asked: Partition) -> object:
            found = lists.get(asked.key)
            return found and listed_in(found, SmallHemnetSales(), bench.landing)

        with SourceClient(source, SourceAccess(bench.upstream.url), Budget(Rate())) as client:
            context = ScrapeContext(source, client, bench.landing, backfill_id, "0", now=lambda: now)
            return scrape(partition, replace(context, listed=listed, fetches_again=again))  # type: ignore[arg-type]

    return details


def fetched(bench: SoldBench) -> int:
    return bench.upstream.calls.report()["by_path"].get("/graphql", 0)


def ids(bench: SoldBench, manifest: Manifest) -> list[str]:
    bodies = [json.loads(body)["data"]["soldListing"] for body in bench.landing.read_pages(manifest)]
    return [one["id"] for one in bodies if one]


def test_every_sale_of_the_list_is_fetched_once_and_counted_against_it(bench: SoldBench, details: Details) -> None:
    manifest = details()
    sales = bench.upstream.world.months()[MONTH.key]
    assert set(ids(bench, manifest)) == sales
    assert fetched(bench) == manifest.source_total == manifest.counts["hemnet_details"] == len(sales)
    assert {page.method for page in manifest.pages} == {"POST"}


def test_a_block_in_the_middle_costs_no_call_twice(bench: SoldBench, details: Details) -> None:
    details(sweeps=True, partition=Partition.month(2020, 1, "Europe/Stockholm"))
    bench.upstream.calls.clear()
    for _ in range(3):
        bench.upstream.challenge, bench.upstream.count = Challenge(4), 0
        with pytest.raises(BlockedBySource):
            details(sweeps=False)
    bench.upstream.challenge = None
    manifest = details(sweeps=False)
    answered = [one for one in bench.upstream.calls.report()["requests"] if one["status"] == 200]
    assert len(answered) == len(manifest.pages) == len(bench.upstream.world.months()[MONTH.key])
    assert manifest.resumed_pages == 12


def test_a_later_list_costs_a_call_for_what_is_new_or_changed_and_for_nothing_else(
    bench: SoldBench, details: Details
) -> None:
    first = details()
    world = bench.upstream.world
    gone, corrected, *_ = sorted(world.months()[MONTH.key])
    world.withdraw(gone)
    world.correct(corrected, price=4_440_000)
    late = world.add(sorted(world.months()[MONTH.key])[-1])
    second = details(backfill_id="b2")
    assert fetched(bench) == 2
    assert set(ids(bench, second)) == world.months()[MONTH.key] >= {late}
    assert second.fed_by != first.fed_by
    third = details(backfill_id="b3")
    assert fetched(bench) == 0
    assert (third.content_hash, third.fed_by) == (second.content_hash, second.fed_by)


def test_a_full_run_fetches_all_again_and_goes_on_where_it_was_blocked(bench: SoldBench, details: Details) -> None:
    many = len(ids(bench, details()))
    bench.upstream.calls.clear()
    bench.upstream.challenge, bench.upstream.count = Challenge(5), 0
    # Attempts are told apart by the second in which they begin.
    with pytest.raises(BlockedBySource):
        details(sweeps=False, again=True, backfill_id="b2", now=NOW + dt.timedelta(minutes=1))
    bench.upstream.challenge = None
    details(sweeps=False, again=True, backfill_id="b2", now=NOW + dt.timedelta(minutes=2))
    answered = [one for one in bench.upstream.calls.report()["requests"] if one["status"] == 200]
    assert len(answered) == many
    bench.upstream.calls.clear()
    details(sweeps=False, again=True, backfill_id="b3", now=NOW + dt.timedelta(minutes=3))
    assert fetched(bench) == many


def test_a_sale_that_is_gone_by_now_is_absent_and_named_and_no_failure(bench: SoldBench, details: Details) -> None:
    details(partition=Partition.month(2020, 1, "Europe/Stockholm"))
    gone = sorted(bench.upstream.world.months()[MONTH.key])[0]
    bench.upstream.world.withdraw(gone)
    manifest = details(sweeps=False)
    assert manifest.absent == (gone,)
    assert manifest.source_total == manifest.counts["hemnet_details"] == len(bench.upstream.world.months()[MONTH.key])


def test_a_month_that_the_lister_has_not_done_is_not_asked_for_and_an_empty_list_is_proof(
    bench: SoldBench, details: Details
) -> None:
    with pytest.raises(NothingPublished, match="hemnet_sales is not done with 2020-03"):
        details(sweeps=False)
    for one in bench.upstream.world.months()[MONTH.key]:
        bench.upstream.world.withdraw(one)
    manifest = details()
    assert (manifest.empty_evidence, manifest.pages) == ("hemnet_sales has none of 2020-03", ())
    assert fetched(bench) == 0


def test_the_answer_for_another_sale_is_refused(bench: SoldBench, details: Details) -> None:
    details(partition=Partition.month(2020, 1, "Europe/Stockholm"))
    world = bench.upstream.world
    one, other = sorted(world.months()[MONTH.key])[:2]
    world.correct(one, id=other)
    with pytest.raises(SourceContractError, match=f"asked for sale {one}"):
        details(sweeps=False)


def test_a_row_of_details_is_that_of_the_sale_and_names_nobody(bench: SoldBench, details: Details) -> None:
    manifest, source = details(), processor("hemnet_details")
    model, found = source.tables[0].model, {}
    for record in manifest.pages:
        body = bench.landing.read_page(record)
        page = LandedPage(record.path, (), 200, {}, record.fetched_at, body, record.json_body, record.item)
        for _, row in source.rows(MONTH, page):
            found[row["sale_id"]] = model.model_validate(row).model_dump()
    for sale_id, row in found.items():
        sale = bench.upstream.world.sale(sale_id)
        assert sale is not None
        assert row["selling_price_sek"] == sale.price
        assert row["living_area_m2"] == sale.living_m2
        assert row["rooms"] == sale.rooms
        assert row["sold_at"] == sale.sold_at.astimezone(dt.UTC)
        assert row["construction_year"] == (str(sale.built) if sale.built else None)
        assert sale.street not in str(row)
        assert sale.broker not in str(row)
