"""Shops as they answer: pages that shift, totals that contradict, shops that are no shop; and recorded pages."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alerting.errors import (
    ConfigurationError,
    NothingPublished,
    NotSettled,
    RateLimited,
    SiteClosed,
    SourceContractError,
    SourceUnavailable,
)
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.shops_upstream import ShopsUpstream
from deployments.local.upstreams.shops_world import FIRST_DAY, SETTINGS, SHOPS, ShopsWorld
from processors.base import LandedPage
from processors.registry import processor
from scrapers.base import Page, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources.coffee_shops import CoffeeShops

RECORDED = Path(__file__).parents[3] / "shared" / "fixtures" / "coffee"
NOW = dt.datetime.combine(FIRST_DAY, dt.time(9), dt.UTC)
SHOPIFY, WOO = "alpine.example", "delta.example"


def shops(page_size: int = 10, **told: Any) -> CoffeeShops:
    source = CoffeeShops()
    source.source = "coffee_shops"
    source.told_facts = told or SETTINGS
    source.entities = tuple(source.told_facts)
    source.page_size = page_size
    return source


@dataclass
class Street:
    upstream: ShopsUpstream
    landing: Landing

    def client(self, patience_s: float = 60.0) -> SourceClient:
        access = SourceAccess(f"{self.upstream.url}/{{site}}", rate=Rate())
        return SourceClient(shops(), access, Budget(Rate(), source="coffee_shops"), patience_s=patience_s)

    def look(self, shop: str, *, page_size: int = 10, client: SourceClient | None = None) -> Manifest:
        """A complete look at a shop on its first day."""
        with contextlib.nullcontext(client) if client else self.client() as asked:
            context = ScrapeContext(shops(page_size), asked, self.landing, "bf-1", "test", now=lambda: NOW)
            return scrape(Partition.day(FIRST_DAY, "UTC", shop), context)

    def asked(self) -> list[str]:
        """Queries of the calls so far."""
        found = [f"{one['path'].rpartition('/')[2]}?{one['query']}" for one in self.upstream.calls.report()["requests"]]
        self.upstream.calls.clear()
        return found


@pytest.fixture
def street() -> Iterator[Street]:
    with ShopsUpstream(day=FIRST_DAY) as upstream:
        yield Street(upstream, Landing(MemoryObjectStore()))


def counts(shop: str) -> dict[str, int]:
    products = ShopsWorld().products(shop, FIRST_DAY)
    return {"product_sightings": len(products), "variant_sightings": sum(len(one.variants) for one in products)}


@pytest.mark.parametrize("shop", SHOPS)
def test_a_look_has_every_product_and_variant_that_the_shop_has(street: Street, shop: str) -> None:
    manifest = street.look(shop)
    pages = [page for page in manifest.pages if page.holds_rows]
    assert manifest.counts == {**counts(shop), "scrape_runs": 1, "scrape_artifacts": len(pages)}


def test_a_shopify_list_is_read_until_an_empty_page_and_compared_with_a_second_reading(street: Street) -> None:
    street.look(SHOPIFY)
    first = [f"products.json?limit=10&page={number}" for number in (1, 2, 3, 4)]
    assert street.asked() == [*first, *(f"products.json?limit=9&page={number}" for number in (1, 2, 3, 4))]
    street.look(SHOPIFY, page_size=250)
    assert street.asked() == [f"products.json?limit=250&page={number}" for number in (1, 2)]


def test_a_short_page_of_a_shopify_shop_is_not_taken_for_the_last_one(street: Street) -> None:
    """Shops give fewer than were asked for, in any number."""
    street.upstream.trouble({"kind": "capped", "path": SHOPIFY})
    manifest = street.look(SHOPIFY, page_size=250)
    assert {table: manifest.counts[table] for table in counts(SHOPIFY)} == counts(SHOPIFY)
    assert street.asked()[:4] == [f"products.json?limit=250&page={number}" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("of", ["products", "variations"])
def test_a_row_that_goes_while_another_comes_is_noticed_under_the_same_total(street: Street, of: str) -> None:
    if of == "products":
        days = street.upstream.world._days[WOO]
        days[0] = tuple(dataclasses.replace(one, kind="simple", variants=one.variants[:1]) for one in days[0])
    query = f"{'&' * (of == 'variations')}per_page=10&page=2"
    swapped = {"kind": "swapped", "path": WOO, "query": query}
    street.upstream.trouble({**swapped, "times": 1})
    assert street.look(WOO).counts["product_sightings"] == counts(WOO)["product_sightings"]
    assert sum(query in one for one in street.asked()) == 2, "the list was read again"
    street.upstream.trouble(swapped)
    with pytest.raises(NotSettled, match="during each of 3 sweeps"):
        street.look(WOO)


def test_lists_of_one_page_each_are_read_once(street: Street) -> None:
    street.look(WOO, page_size=100)
    assert len(street.asked()) == 2


@pytest.mark.parametrize("kind", ["inserted", "removed"])
@pytest.mark.parametrize(("shop", "query"), [(SHOPIFY, "limit=10&page=2"), (WOO, "per_page=10&page=2")])
def test_a_product_that_comes_or_goes_between_two_pages_is_noticed_and_the_list_read_again(
    street: Street, shop: str, query: str, kind: str
) -> None:
    street.upstream.trouble({"kind": kind, "path": shop, "query": query, "times": 1})
    manifest = street.look(shop)
    assert manifest.counts["product_sightings"] == counts(shop)["product_sightings"]
    assert street.asked().count("products.json?limit=10&page=1") in (0, 2)
    street.upstream.trouble({"kind": kind, "path": shop, "query": query})
    with pytest.raises(NotSettled, match="during each of 3 sweeps"):
        street.look(shop)


def test_a_shop_that_ignores_the_size_of_a_page_is_read_to_its_end(street: Street) -> None:
    world = street.upstream.world
    world._days[SHOPIFY][0] = world._days[SHOPIFY][0] * 2
    many = [
        dataclasses.replace(one, id=10 * one.id + place) for place, one in enumerate(world.products(SHOPIFY, FIRST_DAY))
    ]
    world._days[SHOPIFY][0] = tuple(many)
    street.upstream.trouble({"kind": "no_limit", "path": SHOPIFY})
    assert street.look(SHOPIFY, page_size=250).counts["product_sightings"] == len(many) > 30


@pytest.mark.parametrize(
    ("shop", "kind", "told"),
    [
        (SHOPIFY, "no_price", "has no price in major units"),
        (WOO, "no_price", "has a price that is not a number of minor units"),
        (WOO, "no_total", "has no X-WP-Total"),
        (WOO, "other_currency", "costs XAU, the settings say EUR.*fix the currency of this shop"),
    ],
)
def test_an_answer_that_breaks_the_contract_says_how(street: Street, shop: str, kind: str, told: str) -> None:
    street.upstream.trouble({"kind": kind, "path": shop})
    with pytest.raises(SourceContractError) as raised:
        street.look(shop)
    assert re.search(told, str(raised.value))


@pytest.mark.parametrize(
    ("shop", "trouble", "told"),
    [
        (WOO, {"kind": "closed"}, "no WooCommerce Store API.*check its platform"),
        (SHOPIFY, {"kind": "closed"}, "alpine.example sends us to https://alpine.example/password: status 302"),
        (SHOPIFY, {"kind": "status", "code": 401}, "alpine.example lets nobody in: status 401"),
        (SHOPIFY, {"kind": "status", "code": 404}, "alpine.example is not there: status 404"),
    ],
)
def test_a_closed_shop_is_its_own_failure_and_is_not_asked_again(
    street: Street, shop: str, trouble: dict[str, Any], told: str
) -> None:
    street.upstream.trouble({**trouble, "path": shop})
    with street.client() as client:
        for _ in range(2):
            with pytest.raises(SiteClosed) as raised:
                street.look(shop, client=client)
            assert re.search(told, str(raised.value))
        assert len(street.asked()) == 1
        street.look("bergen.example", client=client)


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "429", "retry_after_s": 600},
        {"kind": "status", "code": 430, "retry_after_s": 600},
        {"kind": "status", "code": 503, "retry_after_s": 600},
    ],
)
def test_a_wish_to_wait_pauses_that_shop_alone(street: Street, trouble: dict[str, Any]) -> None:
    street.upstream.trouble({**trouble, "path": SHOPIFY, "times": 1})
    with street.client(patience_s=0.0) as client:
        with pytest.raises((RateLimited, SourceUnavailable)):
            street.look(SHOPIFY, client=client)
        with pytest.raises(RateLimited, match="the next call is allowed"):
            street.look(SHOPIFY, client=client)
        assert len(street.asked()) == 1
        assert street.look("bergen.example", client=client).counts["scrape_runs"] == 1


def test_a_date_as_retry_after_is_waited_for(street: Street) -> None:
    street.upstream.trouble({"kind": "busy_until", "path": SHOPIFY, "times": 1})
    with street.client() as client:
        with pytest.raises(SourceUnavailable):
            street.look(SHOPIFY, client=client)
        assert street.look(SHOPIFY, client=client).counts["scrape_runs"] == 1


def page_of(body: Any, item: str = "shopify EUR", **headers: str) -> Page:
    source = shops(100, **{"a.example": {"platform": item.split()[0], "currency": item.split()[1]}})
    request = source.first_request(Partition.day(FIRST_DAY, "UTC", "a.example"))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Page(request, 1, 200, headers, raw, NOW, 0.1)


def inspected(page: Page) -> dict[str, int]:
    return dict(shops().inspect(Partition.day(FIRST_DAY, "UTC", "a.example"), page).counts)


def test_totals_may_come_twice_and_a_shop_with_smaller_pages_says_what_to_set() -> None:
    twice = {"x-wp-total": "0, 0", "x-wp-totalpages": "0,0"}
    assert inspected(page_of([], "woo EUR", **twice))["product_sightings"] == 0
    for told in ({"x-wp-total": "0, 7"}, {"x-wp-total": "-1"}, {"x-wp-total": ""}):
        with pytest.raises(SourceContractError, match="the total is unknown"):
            inspected(page_of([], "woo EUR", **{**twice, **told}))
    with pytest.raises(SourceContractError, match=r"230 rows on 5 pages.*GAPLESS_SOURCE_PAGE_SIZE"):
        inspected(page_of([], "woo EUR", **{"x-wp-total": "230", "x-wp-totalpages": "5"}))


def test_an_empty_list_without_a_total_proves_nothing_and_one_with_it_does() -> None:
    with pytest.raises(NothingPublished, match="nothing proves"):
        inspected(page_of({"products": []}))
    told = {"x-wp-total": "0", "x-wp-totalpages": "0"}
    assert inspected(page_of([], "woo EUR", **told)) == {
        "product_sightings": 0,
        "variant_sightings": 0,
        "scrape_runs": 1,
        "scrape_artifacts": 1,
    }


GOOD = {
    "id": 7,
    "title": "Huila &amp; Co",
    "variants": [{"id": 8, "price": "12.50", "available": True}],
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "7"},
        {"title": None},
        {"variants": None},
        {"variants": []},
        {"variants": [{"id": True, "price": "1.00", "available": True}]},
        {"variants": [{"id": 8, "price": 1.0, "available": True}]},
        {"variants": [{"id": 8, "price": "1,00", "available": True}]},
        {"variants": [{"id": 8, "price": "NaN", "available": True}]},
        {"variants": [{"id": 8, "price": "1.00", "available": "yes"}]},
    ],
)
def test_a_product_of_another_shape_is_refused_before_it_is_called_landed(wrong: dict[str, Any]) -> None:
    assert inspected(page_of({"products": [GOOD]}))["variant_sightings"] == 1
    with pytest.raises(SourceContractError):
        inspected(page_of({"products": [GOOD | wrong]}))


def test_a_shop_without_a_currency_is_refused_before_it_is_asked() -> None:
    source = shops(**{"a.example": {"platform": "shopify"}})
    with pytest.raises(ConfigurationError, match=r"coffee_shops, a\.example: currency: Field required\."):
        source.first_request(Partition.day(FIRST_DAY, "UTC", "a.example"))


def rows_of(body: bytes, item: str, **params: str) -> dict[str, list[dict[str, Any]]]:
    page = LandedPage("/products", tuple({"page": "1", **params}.items()), 200, {}, NOW, body, item=item)
    of, found = processor("coffee_shops"), dict[str, list[dict[str, Any]]]()
    models = {table.name: table.model for table in of.tables}
    for table, raw in of.rows(Partition.day(FIRST_DAY, "UTC", "a.example"), page):
        found.setdefault(table, []).append(models[table].model_validate(raw).model_dump())
    return found


WOO_ROW = {
    "id": 5,
    "name": "SUBSCRIPTION &#8211; 24 DELIVERIES",
    "prices": {"price": "18000", "regular_price": "20000", "currency_minor_unit": 3, "currency_code": "USD"},
    "is_purchasable": True,
    "is_in_stock": True,
    "variations": [],
}


@pytest.mark.parametrize(
    ("price", "regular", "unit", "is_purchasable", "expected"),
    [
        ("18000", "20000", 3, True, (Decimal(18), Decimal(20))),
        ("1500", "1500", 0, True, (Decimal(1500), None)),
        ("29000", "", 2, True, (Decimal(290), None)),
        ("0", "0", 2, False, (None, None)),
        ("", "", 2, False, (None, None)),
        ("0", "500", 2, True, (Decimal(0), Decimal(5))),
        ("700", "700", 2, False, (Decimal(7), None)),
    ],
)
def test_prices_are_in_the_decimals_that_the_shop_shows_and_nothing_for_sale_has_none(
    price: str, regular: str, unit: int, is_purchasable: bool, expected: tuple[Decimal | None, Decimal | None]
) -> None:
    prices = {"price": price, "regular_price": regular, "currency_minor_unit": unit, "currency_code": "USD"}
    row = WOO_ROW | {"prices": prices, "is_purchasable": is_purchasable}
    (variant,) = rows_of(json.dumps([row]).encode(), "woo USD")["variant_sightings"]
    assert (variant["price"], variant["regular_price"]) == expected
    assert variant["variant_id"] == variant["product_id"] == "5"


def test_entities_of_html_are_read_once() -> None:
    found = rows_of(json.dumps([WOO_ROW | {"name": "A &amp;amp; B &#8211; C"}]).encode(), "woo USD")
    assert found["product_sightings"][0]["title"] == "A &amp; B – C"


def test_what_shopify_writes_where_there_is_nothing_is_null() -> None:
    blank = {"title": "Default Title", "sku": "", "grams": 0, "compare_at_price": "0.00"}
    product = GOOD | {"variants": [{"id": 8, "price": "12.50", "available": True, **blank}], "tags": ["a", "b"]}
    found = rows_of(json.dumps({"products": [product]}).encode(), "shopify EUR")
    (variant,) = found["variant_sightings"]
    assert [variant[name] for name in ("title", "sku", "grams", "regular_price")] == [None] * 4
    assert found["product_sightings"][0]["tags"] == "a, b"


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded payloads are not part of the repository")
@pytest.mark.parametrize(
    ("name", "item", "products"),
    [
        ("shopify_bluetokai_products", "shopify INR", 30),
        ("shopify_rosette_products", "shopify CAD", 22),
        ("shopify_elsewedy_page1", "shopify EGP", 4),
        ("shopify_elsewedy_page4_last", "shopify EGP", 3),
        ("shopify_udsy_products", "shopify INR", 2),
        ("woo_bababeans_store_products", "woo INR", 10),
        ("woo_samehgabriel_store_products", "woo EGP", 18),
    ],
)
def test_recorded_pages_become_rows_and_nothing_of_them_is_lost(name: str, item: str, products: int) -> None:
    body = (RECORDED / f"{name}.json").read_bytes()
    headers = {"x-wp-total": str(products), "x-wp-totalpages": "1"} if item.startswith("woo") else {}
    counted = inspected(page_of(body, item, **headers))
    found = rows_of(body, item)
    assert counted["product_sightings"] == len(found["product_sightings"]) == products
    assert counted["variant_sightings"] == len(found.get("variant_sightings", ()))
    assert all("&#" not in row["title"] for row in found["product_sightings"])
    assert not any(row["price"] == 0 and not row["is_available"] for row in found.get("variant_sightings", ()))
