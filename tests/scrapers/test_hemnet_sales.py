"""Sold homes: a site that cannot be asked for a date, by a sample with its oddities, and its challenges."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from sold_bench import NOW, SoldBench

from alerting.errors import BlockedBySource, PipelineError, SourceContractError
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.sold_answers import CHALLENGE_LANGUAGES
from deployments.local.upstreams.sold_upstream import SESSION_COOKIE, SOLD_SESSION, Challenge, SoldUpstream
from deployments.local.upstreams.sold_world import Sale, SoldWorld, fewest_pages
from processors.base import LandedPage
from processors.registry import processor
from scrapers.base import Page, Request, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext
from scrapers.sources.hemnet_sales import PATH, HemnetSales
from scrapers.sweeps import SweepScrape

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "hemnet"


@pytest.fixture(scope="module")
def server() -> Iterator[SoldUpstream]:
    with SoldUpstream(world=_world(), page_size=20, pages=5) as upstream:
        yield upstream


@pytest.fixture
def bench(server: SoldUpstream) -> SoldBench:
    server.world, server.session, server.renew_every = _world(), "", 0
    server.count_anew()
    return SoldBench(server)


def _world() -> SoldWorld:
    return SoldWorld(700, months=14, areas=3)


class WholeHemnetSales(HemnetSales):
    """As it is; the registry gives the name to a class that stands alone in its module."""

    source = "hemnet_sales"


def loaded(bench: SoldBench, manifests: dict[str, Manifest]) -> dict[str, dict[str, tuple[object, ...]]]:
    """Ids by month with price and size, read as a load reads them: of the month, what was superseded left out."""
    source, found = processor("hemnet_sales"), {}
    for key, manifest in manifests.items():
        rows: dict[str, tuple[object, ...]] = {}
        for record in manifest.pages:
            page = LandedPage(record.path, record.params, 200, {}, record.fetched_at, bench.landing.read_page(record))
            for _, row in source.rows(manifest.as_partition(), page):
                if manifest.as_partition().contains(row["sold_on"]) and row["sale_id"] not in record.superseded:
                    facts = row["final_price_sek"], row["living_area_m2"], row["sold_at"]
                    assert rows.setdefault(row["sale_id"], facts) == facts, "two forms of one sale"
        found[key] = rows
    return found


def assert_exact(bench: SoldBench, manifests: dict[str, Manifest]) -> None:
    months: dict[str, list[Sale]] = {}
    for one in bench.upstream.world.sales:
        months.setdefault(one.month, []).append(one)
    truth = {
        month: {one.id: (one.price, one.living_m2, one.sold_at.astimezone(dt.UTC)) for one in sales}
        for month, sales in months.items()
    }
    assert {key: rows for key, rows in loaded(bench, manifests).items() if rows} == truth
    assert {key: one.counts["hemnet_sales"] for key, one in manifests.items()} == {
        month.key: len(truth.get(month.key, {})) for month in bench.months
    }


def test_one_sweep_fills_every_month_with_each_sale_once_by_at_most_twice_the_fewest_calls(bench: SoldBench) -> None:
    manifests = bench.sweep()
    assert_exact(bench, manifests)
    world = bench.upstream.world
    assert bench.upstream.count <= 2 * fewest_pages(world.sales, world.areas, 20)
    assert not any("sold_m" in one for one in bench.asked)


def test_every_band_that_was_read_to_its_end_is_below_the_cap_and_what_does_not_split_by_size_splits_by_price(
    bench: SoldBench,
) -> None:
    bench.sweep()
    pages = Counter(one.rpartition("&page=")[0] for one in bench.asked)
    assert max(pages.values()) <= 5
    assert any("living_area_min=38&living_area_max=39&price_m" in one for one in pages)
    assert any("item_types%5B%5D=tomt" in one and "living_area" not in one for one in pages)


def test_half_square_metres_and_edges_are_in_two_bands_and_count_once(bench: SoldBench) -> None:
    bench.sweep()
    edges = {dict(parse_qsl(one)).get("living_area_max") for one in bench.asked} - {None}
    on_edges = [one for one in bench.upstream.world.sales if one.living_m2 is not None and str(one.living_m2) in edges]
    between = [one for one in bench.upstream.world.sales if one.living_m2 is not None and one.living_m2 % 1]
    assert on_edges
    assert between


def test_a_sale_after_midnight_is_of_its_date_in_stockholm(bench: SoldBench) -> None:
    edge = next(one for one in bench.upstream.world.sales if one.living_m2)
    bench.upstream.world.correct(edge.id, sold_at=dt.datetime(2020, 6, 1, 0, 15, tzinfo=edge.sold_at.tzinfo))
    found = loaded(bench, bench.sweep())
    assert edge.id in found["2020-06"]
    assert edge.id not in found["2020-05"]


@pytest.mark.parametrize("language", CHALLENGE_LANGUAGES)
@pytest.mark.parametrize("status", [200, 403, 429, 503])
@pytest.mark.parametrize("sign", ["header", "machinery"])
def test_a_challenge_is_a_block_on_any_status_and_in_any_language(
    bench: SoldBench, language: str, status: int, sign: str
) -> None:
    bench.upstream.challenge = Challenge(2, status, language, sign == "header", sign == "machinery")
    with pytest.raises(BlockedBySource):
        bench.sweep()
    assert bench.upstream.count == 3, "no call after the challenge"


@pytest.mark.parametrize("kind", ["no_data", "html403"])
def test_a_page_without_its_data_and_a_refusal_are_blocks(bench: SoldBench, kind: str) -> None:
    bench.upstream.trouble({"kind": kind, "times": 1})
    with pytest.raises(BlockedBySource):
        bench.sweep()


def test_a_block_in_the_middle_costs_no_call_twice(bench: SoldBench) -> None:
    whole = SoldBench(bench.upstream)
    whole.sweep()
    asked = whole.asked
    bench.upstream.count_anew()
    bench.upstream.challenge = Challenge(25)
    with pytest.raises(BlockedBySource):
        bench.sweep()
    bench.upstream.challenge = None
    assert_exact(bench, bench.sweep())
    assert bench.asked == asked


def test_a_site_that_does_not_understand_the_bounds_is_found_out(bench: SoldBench) -> None:
    bench.upstream.trouble({"kind": "ignored_bounds"})
    with pytest.raises(SourceContractError, match="the site understood"):
        bench.sweep()


@pytest.mark.parametrize("kind", ["renamed_field", "truncated_body", "truncated_gzip", "bad_json", "500"])
def test_an_answer_that_is_not_whole_is_an_error(bench: SoldBench, kind: str) -> None:
    bench.upstream.trouble({"kind": kind, "times": 1})
    with pytest.raises(PipelineError):
        bench.sweep()


def test_a_band_that_comes_empty_though_it_had_sales_is_found_out(bench: SoldBench) -> None:
    whole = SoldBench(bench.upstream)
    whole.sweep()
    last = whole.upstream.count
    bench.upstream.count_anew()
    bench.upstream.at[last - 1] = functools.partial(bench.upstream.trouble, {"kind": "empty", "times": 1})
    assert_exact(bench, bench.sweep())


def test_sales_that_come_go_and_change_while_they_are_read_are_read_again_in_their_band_alone(
    bench: SoldBench,
) -> None:
    still = SoldBench(bench.upstream)
    still.sweep()
    calls = bench.upstream.count
    bench.upstream.count_anew()
    world = bench.upstream.world
    newest = sorted(world.sales, key=lambda one: one.sold_at, reverse=True)
    homes = [one for one in newest if one.kind == "APARTMENT" and one.area == world.areas[0]]
    bench.upstream.at = {
        8: functools.partial(world.add, homes[0].id),
        20: functools.partial(world.withdraw, homes[5].id),
        30: functools.partial(world.correct, homes[9].id, price=homes[9].price + 1_000_000),
        40: functools.partial(world.correct, homes[12].id, living_m2=Decimal("101.5")),
    }
    found = loaded(bench, bench.sweep())
    ids = {one for rows in found.values() for one in rows}
    settled = {one.id for one in world.sales} - {homes[9].id, homes[12].id}
    assert settled - ids <= {one for one in settled if one.startswith("77")}, "what was there all the time is there"
    assert bench.upstream.count < 1.5 * calls


def test_a_later_sweep_changes_the_months_of_what_changed_and_no_other(bench: SoldBench) -> None:
    first = bench.sweep()
    world = bench.upstream.world
    gone, corrected = (next(one for one in world.sales if one.month == month) for month in ("2020-03", "2020-09"))
    world.withdraw(gone.id)
    world.correct(corrected.id, price=corrected.price + 5_000)
    bench.upstream.world.correct(next(one for one in world.sales if one.month == "2020-12").id, broker="Another")
    second = bench.sweep(backfill_id="b2")
    changed = [key for key in first if first[key].content_hash != second[key].content_hash]
    assert changed == ["2020-03", "2020-09"], "who sold a home is no fact of ours"


def test_the_session_is_sent_renewed_and_kept_and_without_it_the_site_blocks(bench: SoldBench) -> None:
    bench.upstream.session, bench.upstream.renew_every = SOLD_SESSION, 15
    with pytest.raises(BlockedBySource):
        bench.sweep()
    bench.upstream.session = SOLD_SESSION
    bench.session = f"{SESSION_COOKIE}={SOLD_SESSION}; other=1"
    assert_exact(bench, bench.sweep())
    assert len(bench.renewed) >= 3
    assert bench.upstream.session in bench.renewed[-1]
    landed = b"".join(bench.landing.read_page(one) for one in bench.sweep()["2020-05"].pages)
    assert SOLD_SESSION.encode() not in landed


def test_nobody_is_named_in_a_row_nor_in_one_that_is_refused(bench: SoldBench) -> None:
    manifest = bench.sweep()["2020-05"]
    source = processor("hemnet_sales")
    sales = [one for one in bench.upstream.world.sales if one.month == "2020-05"]
    personal = {text for one in sales for text in (one.street, one.street.lower(), one.broker)}
    for record in manifest.pages:
        body = bench.landing.read_page(record)
        assert any(text.encode() in body for text in personal)
        page = LandedPage(record.path, record.params, 200, {}, record.fetched_at, body)
        rows = json.dumps(list(source.rows(manifest.as_partition(), page)), default=str)
        assert not any(text in rows for text in personal)
        assert "55.6" not in rows


@pytest.mark.long
def test_sixty_thousand_sales_come_exactly_once_in_their_months_by_at_most_twice_the_fewest_calls() -> None:
    with SoldUpstream(world=SoldWorld()) as upstream:
        bench = SoldBench(upstream, WholeHemnetSales())
        upstream.challenge = Challenge(700)
        with pytest.raises(BlockedBySource):
            bench.sweep()
        upstream.challenge = None
        manifests = bench.sweep()
        assert len(manifests) == 71
        assert_exact(bench, manifests)
        assert max(Counter(bench.asked).values()) == 1
        assert len(bench.asked) <= 2 * fewest_pages(upstream.world.sales, upstream.world.areas)


def recorded_page(name: str, *params: tuple[str, str]) -> Page:
    """A page that somebody recorded at the real site."""
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return Page(Request(PATH, (*params, ("page", "1"))), 1, 200, {}, path.read_bytes(), NOW, 0.1)


@pytest.mark.parametrize(
    ("name", "params", "total"),
    [
        ("sold_page_bare.html", (), 1_585_488),
        (
            "sold_page_narrowed_stockholm_2rum.html",
            (
                ("location_ids[]", "17744"),
                ("item_types[]", "bostadsratt"),
                ("price_min", "2000000"),
                ("price_max", "6000000"),
            ),
            119_228,
        ),
    ],
)
def test_recorded_pages_are_read_whole(name: str, params: tuple[tuple[str, str], ...], total: int) -> None:
    page = recorded_page(name, *params)
    found = scraper("hemnet_sales").inspect(Partition.sweep("Europe/Stockholm"), page)
    assert (found.source_total, len(found.swept)) == (total, 50)
    assert all(None not in one.where for one in found.swept)
    landed = LandedPage(PATH, page.request.params, 200, {}, NOW, page.body)
    rows = [
        processor("hemnet_sales").tables[0].model.model_validate(row)
        for _, row in processor("hemnet_sales").rows(Partition.month(2026, 6, "Europe/Stockholm"), landed)
    ]
    assert {row.sale_id for row in rows} == {one.key for one in found.swept}  # type: ignore[attr-defined]
    assert all(row.municipality and row.final_price_sek for row in rows)  # type: ignore[attr-defined]
    assert not any(word in str(rows) for word in ("Exempelgatan", "exempelgatan", "Mäklare"))


def test_a_recorded_page_that_answers_something_else_is_refused() -> None:
    page = recorded_page("sold_page_narrowed_stockholm_2rum.html", ("location_ids[]", "17744"))
    with pytest.raises(SourceContractError, match="the site understood"):
        scraper("hemnet_sales").inspect(Partition.sweep("Europe/Stockholm"), page)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda page, name: page[: page.index(b"SaleCard:") + 900] + b"</script></html>", "the JSON ends too early"),
        (lambda page, name: page.replace(b'"soldAt":', b'"soldAt":7,"soldAt":'), "an object has a key twice"),
        (
            lambda page, name: re.sub(rb'"soldAt":\s*"[^"]+"', b'"soldAt":"' + name + b'"', page),
            "soldAt: got a text",
        ),
        (lambda page, name: re.sub(rb'"__ref":\s*"[^"]+"', b'"__ref":"' + name + b'"', page), "__ref: got a text"),
    ],
    ids=["cut", "a key twice", "a person for a date", "a person for a reference"],
)
def test_no_error_about_a_page_that_cannot_be_read_names_whom_and_where_it_is_about(bench, changed, told):
    with SourceClient(bench.scraper, SourceAccess(bench.upstream.url), Budget(Rate())) as client:
        page = client.fetch(bench.scraper.first_request(bench.months[0]))
    names = {name for one in bench.upstream.world.sales for name in (one.street, one.broker)}
    name = next(name.encode() for name in sorted(names) if name.encode() in page.body)
    data = re.sub(rb'(__NEXT_DATA__"[^<>]*>\s*\{)', rb'\1"seller":"' + name + b'",', page.body, count=1)

    class Changed:
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            return replace(page, body=changed(data, name))

    context = ScrapeContext(bench.scraper, Changed(), Landing(MemoryObjectStore()), "b", "0", now=lambda: NOW)
    with pytest.raises(PipelineError, match=told) as caught:
        SweepScrape(bench.months, context).go_on(1)
    said = f"{caught.value} {caught.value.facts}"
    assert not [name for name in names if name in said]
