"""Shops of coffee roasters: products, variants and prices as a shop shows them, one shop and UTC date a partition."""

import dataclasses
import datetime as dt
from typing import Literal

from pydantic import Field

from alerting.errors import PipelineError, RateLimited, SourceContractError
from scrapers.answers import Answer
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.entity_facts import EntityFacts
from scrapers.partition import Partition
from scrapers.platforms import shopify, woocommerce
from scrapers.rate import Rate


class Shop(EntityFacts):
    """What has to be known of a shop before it is asked."""

    platform: Literal["shopify", "woo"] = Field(examples=["shopify"])
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["EUR"], description="ISO 4217, of its prices")
    path: str = Field("", pattern=r"^(/[A-Za-z0-9._-]+)*$", description="where the shop begins on its host")


class CoffeeShops(Scraper):
    """Everything that a shop sells at the moment of the look. What it sold yesterday it does not tell."""

    title = "Coffee roasters' shops"
    zone = "UTC"
    base_url = "https://{site}"
    tables = ("product_sightings", "variant_sightings", "scrape_runs", "scrape_artifacts")
    domain = "site"
    has_series = True
    entity_facts = Shop
    keeps_history = False
    may_repeat = True
    is_paginated = True
    page_size = shopify.LARGEST_PAGE
    calls_guess = 4
    statuses = {430: RateLimited}  # noqa: RUF012 - never written; Shopify's own
    rate = Rate(per_minute=40, pause_s=(0.5, 1.5))
    timeout_s = 60.0
    settles_after = dt.timedelta(hours=1)

    def first_request(self, partition: Partition) -> Request:
        """The first page. Platform and currency are kept with it, so that it can be read when the settings differ."""
        shop: Shop = self.facts_of(partition.entity)
        item = f"{shop.platform} {shop.currency}"
        if shop.platform == "shopify":
            return shopify.first_page(partition.entity, shop.path, self.page_size, item)
        return woocommerce.first_page(partition.entity, shop.path, min(self.page_size, woocommerce.LARGEST_PAGE), item)

    def inspect(self, partition: Partition, page: Page) -> Findings:  # noqa: ARG002 - the answer names no date
        """Counts products and variants, and finds the next page; one artifact a page, and one run a shop and date."""
        platform, _, currency = page.request.item.partition(" ")
        if platform not in ("shopify", "woo"):
            raise SourceContractError(f"unknown platform {platform!r}")
        found = shopify.findings(page) if platform == "shopify" else woocommerce.findings(page, currency)
        if found.confirms:
            return found
        counts = {**found.counts, "scrape_runs": int(is_first(page.request.params)), "scrape_artifacts": 1}
        return dataclasses.replace(found, counts=counts)

    def problem(self, answer: Answer) -> PipelineError | None:
        """A site without the interface of its platform."""
        return woocommerce.closed(answer)


def is_first(params: tuple[tuple[str, str], ...]) -> bool:
    """Whether a page begins the reading of its shop."""
    return dict(params)["page"] == "1" and not woocommerce.is_of_variations(params)
