"""Shops of coffee roasters: what each look at a shop has seen, a row a product and a row a variant.

A look is written once and replaced as a whole. What is for sale now, and how prices went, are views over all looks.
"""

import datetime as dt
import hashlib
import html
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlencode

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, States, Table
from processors.told_values import joined, unless_blank, unless_nobody
from scrapers.partition import Partition
from scrapers.platforms import shopify, woocommerce
from scrapers.sources.coffee_shops import is_first

LOOK = ("shop", "scraped_on")
PRODUCT = "title handle product_type vendor categories tags published_at"
VARIANT = "title sku grams is_available price regular_price currency"
NO_OPTION = "Default Title"
"""What Shopify calls the only variant of a product without options."""


class Look(Row):
    """What all rows of a look have in common."""

    shop: str = Field(description="its host, as the settings name it")
    scraped_on: dt.date = Field(description="UTC date of the look")


class ScrapeRun(Look):
    """A complete look at a shop."""

    scrape_run_id: str = Field(description="shop@date")
    platform: str = Field(description="shopify or woo")
    currency: str = Field(description="ISO 4217, by the settings at that time")
    started_at: AwareDatetime = Field(description="when its first page came, UTC")


class ScrapeArtifact(Look):
    """An answer of the shop with rows of the look; pages that were read twice to compare are not here."""

    request: str = Field(description="path and query")
    scrape_run_id: str
    fetched_at: AwareDatetime
    http_status: int
    body_sha256: str = Field(description="of the unpacked body")
    body_bytes: int
    object_name: str = Field(description="where it lies in the bucket")


class ProductSighting(Look):
    """A product as a look saw it."""

    product_id: str = Field(description="of the shop")
    title: str = Field(description="HTML entities are read once")
    handle: str | None = Field(description="its name in the address")
    product_type: str | None = Field(description="Shopify: as the shop says; Woo: simple, variable, subscription ...")
    vendor: str | None
    categories: str | None = Field(description="Woo, separated by commas")
    tags: str | None = Field(description="separated by commas")
    published_at: AwareDatetime | None
    scraped_at: AwareDatetime = Field(description="when its page came, UTC")


class VariantSighting(Look):
    """A variant with its price as a look saw it; a product without variants is its own."""

    product_id: str
    variant_id: str = Field(description="of the shop; the product's where it has no variants")
    title: str | None = Field(description="its options; NULL where there are none")
    sku: str | None
    grams: int | None = Field(description="as the shop says, NULL where it says 0 or nothing")
    is_available: bool
    price: Decimal | None = Field(description="in major units of currency; NULL where it has none, as not for sale")
    regular_price: Decimal | None = Field(description="before a reduction; NULL where there is none")
    currency: str = Field(description="ISO 4217")
    scraped_at: AwareDatetime = Field(description="when its page came, UTC")


class CoffeeShops(Processor):
    """Both platforms in one form."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "product_sightings",
            ProductSighting,
            (*LOOK, "product_id"),
            "scraped_on",
            entity_field="shop",
            states=(States("products", "shop product_id", PRODUCT, "scrape_runs", latest=True),),
        ),
        Table(
            "variant_sightings",
            VariantSighting,
            (*LOOK, "product_id", "variant_id"),
            "scraped_on",
            entity_field="shop",
            parent=("product_sightings", (*LOOK, "product_id")),
            states=(
                States("variants", "shop product_id variant_id", VARIANT, "scrape_runs", latest=True),
                States("prices", "shop product_id variant_id", "price regular_price currency", "scrape_runs"),
            ),
        ),
        Table("scrape_runs", ScrapeRun, LOOK, "scraped_on", entity_field="shop"),
        Table(
            "scrape_artifacts",
            ScrapeArtifact,
            (*LOOK, "request"),
            "scraped_on",
            entity_field="shop",
            parent=("scrape_runs", LOOK),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of a page; those of the look with its first one."""
        platform, _, currency = page.item.partition(" ")
        look = {"shop": partition.entity, "scraped_on": partition.start}
        run_id = f"{partition.entity}@{partition.start}"
        if is_first(page.params):
            run = {"scrape_run_id": run_id, "platform": platform, "currency": currency, "started_at": page.fetched_at}
            yield "scrape_runs", look | run
        yield (
            "scrape_artifacts",
            look
            | {
                "request": f"{page.path}?{urlencode(page.params, safe=',')}",
                "scrape_run_id": run_id,
                "fetched_at": page.fetched_at,
                "http_status": page.status,
                "body_sha256": hashlib.sha256(page.body).hexdigest(),
                "body_bytes": len(page.body),
                "object_name": page.object_name,
            },
        )
        seen = look | {"scraped_at": page.fetched_at}
        if platform == "shopify":
            yield from _of_shopify(page, seen, currency)
        else:
            yield from _of_woo(page, seen, currency)


def _of_shopify(page: LandedPage, seen: Mapping[str, Any], currency: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for product in shopify.products_in(page.body):
        product_id = str(product["id"])
        yield (
            "product_sightings",
            {
                **seen,
                "product_id": product_id,
                "title": html.unescape(product["title"]),
                "handle": unless_blank(product.get("handle")),
                "product_type": unless_blank(product.get("product_type")),
                "vendor": unless_blank(product.get("vendor")),
                "categories": None,
                "tags": joined(product.get("tags")),
                "published_at": product.get("published_at"),
            },
        )
        for variant in product["variants"]:
            price, before = Decimal(variant["price"]), variant.get("compare_at_price")
            yield (
                "variant_sightings",
                {
                    **seen,
                    "product_id": product_id,
                    "variant_id": str(variant["id"]),
                    "title": None if variant.get("title") == NO_OPTION else variant.get("title"),
                    "sku": unless_blank(variant.get("sku")),
                    "grams": unless_nobody(variant.get("grams")),
                    "is_available": variant["available"],
                    "price": price,
                    "regular_price": reduced_from(price, Decimal(before) if before else None),
                    "currency": currency,
                },
            )


def _of_woo(page: LandedPage, seen: Mapping[str, Any], currency: str) -> Iterator[tuple[str, dict[str, Any]]]:
    is_of_variations = woocommerce.is_of_variations(page.params)
    for row in woocommerce.rows_in(page.body, currency):
        product_id = str(row["parent"] if is_of_variations else row["id"])
        if not is_of_variations:
            yield (
                "product_sightings",
                {
                    **seen,
                    "product_id": product_id,
                    "title": html.unescape(row["name"]),
                    "handle": unless_blank(row.get("slug")),
                    "product_type": unless_blank(row.get("type")),
                    "vendor": None,
                    "categories": names_of(row.get("categories")),
                    "tags": names_of(row.get("tags")),
                    "published_at": None,
                },
            )
        if is_of_variations or not row.get("variations"):
            prices = row["prices"]
            unit = prices["currency_minor_unit"]
            price = in_major_units(prices["price"], unit) if is_priced(row) else None
            regular = in_major_units(prices.get("regular_price") or "", unit)
            yield (
                "variant_sightings",
                {
                    **seen,
                    "product_id": product_id,
                    "variant_id": str(row["id"]),
                    "title": html.unescape(row.get("variation") or "") or None,
                    "sku": unless_blank(row.get("sku")),
                    "grams": None,
                    "is_available": row["is_in_stock"] and row["is_purchasable"],
                    "price": price,
                    "regular_price": reduced_from(price, regular),
                    "currency": currency,
                },
            )


def is_priced(row: Mapping[str, Any]) -> bool:
    """Whether the price of a Woo product is one: a 0 of what cannot be bought is none, and not a gift."""
    return bool(row["prices"]["price"]) and (row["is_purchasable"] or row["prices"]["price"] != "0")


def in_major_units(text: str, minor_unit: int) -> Decimal | None:
    """A price in minor units; how many decimals these are is a setting of the shop, whatever its currency has.

    >>> in_major_units("18000", 3), in_major_units("1500", 0), in_major_units("", 2)
    (Decimal('18.000'), Decimal('1500'), None)
    """
    return Decimal(text).scaleb(-minor_unit) if text else None


def reduced_from(price: Decimal | None, before: Decimal | None) -> Decimal | None:
    """The price before a reduction, None where there is none.

    >>> reduced_from(Decimal("9.50"), Decimal("12.00")), reduced_from(Decimal("9.50"), Decimal("9.5"))
    (Decimal('12.00'), None)
    """
    return before if price is not None and before is not None and before > price else None


def names_of(terms: Any) -> str | None:
    """Names of categories or tags, separated by commas."""
    return ", ".join(html.unescape(term["name"]) for term in terms or ()) or None
