"""The sample of six roasters' shops, three of Shopify and three of WooCommerce, with their oddities and troubles.

    with ShopsUpstream() as upstream:    # f"{upstream.url}/{{site}}"; shops_world.SETTINGS names the shops
        upstream.day = FIRST_DAY + dt.timedelta(days=3)

Data: ``/<shop>/products.json`` (``limit`` up to 250, ``page``) of a Shopify shop, and
``/<shop>/wp-json/wc/store/v1/products`` (``per_page`` up to 100, ``page``, ``type=variation``, ``parent``, by id) of a
WooCommerce shop, with ``X-WP-Total`` and ``X-WP-TotalPages``. A shop shows how it is on ``day``, and knows no other.

Assumptions, where nothing is recorded: a closed Shopify shop redirects to its password page; a page beyond the last
one is an empty array.

Control, see `sample_server`; and ``POST day`` (``{"day": "2026-06-04"}``, null = today). Kinds of trouble of its own:
`ShopsKind`. The ``path`` of a rule names the shop.

Truth: `shops_world.ShopsWorld`.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import TypeAdapter

from deployments.local.upstreams.sample_rules import Rule, TransportKind
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream
from deployments.local.upstreams.shops_world import SHOPS, Product, ShopsWorld

ShopsKind = Literal[
    TransportKind,
    "inserted",  # one product more stands before the others: the pages shift
    "removed",  # the newest product is gone: the pages shift the other way
    "closed",  # Shopify: 302 to /password; WooCommerce: 404 rest_no_route
    "busy_until",  # 503 with Retry-After as an HTTP date, two seconds ahead
    "no_limit",  # Shopify ignores limit and gives 30 a page
    "capped",  # Shopify gives 7 a page, or fewer where fewer are asked for
    "swapped",  # the first row of the list is gone and one more stands last: the pages shift under the same total
    "no_total",  # WooCommerce without X-WP-Total
    "no_price",  # the first variant has no price
    "other_currency",  # WooCommerce shows another currency
]
"""Troubles; each concerns the call that it strikes."""

_NEW = 999


class ShopsUpstream(SampleUpstream[ShopsKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        world: What there is.
        day: The simulated day; None is today.
        latency_ms: Added to every data answer.
        listener: Takes its connections instead of those of ``port``.
    """

    rules = TypeAdapter(list[Rule[ShopsKind]])

    def __init__(
        self,
        port: int = 0,
        *,
        world: ShopsWorld | None = None,
        day: dt.date | None = None,
        latency_ms: float = 0.0,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.world = world or ShopsWorld()
        self.day = day
        self.controls |= {"day": self._set_day}
        self._lock = threading.Lock()

    def refusal(self, call: Call) -> Answer | None:  # noqa: ARG002 - everybody may look
        """Nobody is refused."""
        return None

    def error(self, status: int, text: str) -> Answer:
        """A page, as shops have them."""
        page = f"<!DOCTYPE html><html><head><title>{status}</title></head><body>{text}</body></html>"
        return Answer(status, page.encode(), media_type="text/html; charset=utf-8")

    def date_of(self, call: Call) -> dt.date | None:  # noqa: ARG002 - a shop takes no date
        """The simulated day."""
        return self.today

    @property
    def today(self) -> dt.date:
        """The day that the shops show."""
        return self.day or dt.datetime.now(dt.UTC).date()

    def answer(self, call: Call, kind: ShopsKind | None) -> Answer:
        """By shop and platform."""
        _, _, rest = call.path.partition("/")
        name, _, path = rest.partition("/")
        shop = SHOPS.get(name)
        if kind == "busy_until":
            at = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2), usegmt=True)
            return replace(self.error(503, "Service Unavailable"), headers={"Retry-After": at})
        if shop is None:
            return self.error(404, "Not Found")
        if shop.platform == "shopify" and kind == "closed":
            return Answer(302, b"", {"Location": f"https://{name}/password"}, "text/html")
        if shop.platform == "shopify" and path == "products.json":
            return self._shopify(name, call, kind)
        if shop.platform == "woo" and path == "wp-json/wc/store/v1/products" and kind != "closed":
            return self._woo(name, call, kind)
        if path.startswith("wp-json"):
            return Answer(404, {"code": "rest_no_route", "message": "No route was found", "data": {"status": 404}})
        return self.error(404, "Not Found")

    def products(self, name: str, kind: ShopsKind | None = None) -> Sequence[Product]:
        """What a shop shows now, newest first."""
        with self._lock:
            products = self.world.products(name, self.today)
        if kind == "inserted":
            new = replace(products[0], id=products[0].id + _NEW, title="New", variants=products[-1].variants[:1])
            return (replace(new, variants=(replace(new.variants[0], id=new.id + 1),)), *products)
        return products[1:] if kind == "removed" else products

    def _shopify(self, name: str, call: Call, kind: ShopsKind | None) -> Answer:
        most = 7 if kind == "capped" else 250
        limit, page = (30 if kind == "no_limit" else min(most, _number(call, "limit", 30))), _number(call, "page", 1)
        shown = self.products(name, kind)[(page - 1) * limit : page * limit]
        products = [self._shopify_product(name, one) for one in shown]
        if kind == "no_price" and products:
            products[0]["variants"][0]["price"] = None
        return Answer(200, {"products": products})

    def _shopify_product(self, name: str, product: Product) -> dict[str, Any]:
        at = f"{product.published_on}T09:00:00+03:00"
        has_options = product.kind == "variable"
        variants = [
            {
                "id": one.id,
                "title": one.title if has_options else "Default Title",
                "option1": one.title if has_options else "Default Title",
                "option2": None,
                "option3": None,
                "sku": None if one.id % 2 else f"SKU-{one.id}",
                "requires_shipping": True,
                "taxable": True,
                "featured_image": None,
                "available": one.is_available,
                "price": f"{self.world.major(name, one.price):.2f}",
                "grams": 0 if one.id % 3 else 250,
                "compare_at_price": _compared(self.world.major(name, one.regular_price or 0), one.id),
                "position": place,
                "product_id": product.id,
                "created_at": at,
                "updated_at": f"{self.today}T09:00:00+03:00",
            }
            for place, one in enumerate(product.variants, start=1)
        ]
        return {
            "id": product.id,
            "title": product.title,
            "handle": product.handle,
            "body_html": f"<p>{product.title}</p>",
            "published_at": at,
            "created_at": at,
            "updated_at": f"{self.today}T09:00:00+03:00",
            "vendor": name.partition(".")[0].title(),
            "product_type": "Coffee",
            "tags": ["beans", product.handle],
            "variants": variants,
            "images": [],
            "options": [{"name": "Size" if has_options else "Title", "position": 1, "values": []}],
        }

    def _woo(self, name: str, call: Call, kind: ShopsKind | None) -> Answer:
        size, page = _number(call, "per_page", 10), _number(call, "page", 1)
        if not 1 <= size <= 100:
            return Answer(400, {"code": "rest_invalid_param", "message": "Invalid parameter(s): per_page"})
        products = sorted(self.products(name, kind), key=lambda one: one.id)
        rows = [self._woo_product(name, one) for one in products]
        if call.get("type") == "variation":
            asked = set(call.all("parent"))
            rows = [
                self._woo_variation(name, product, place)
                for product in products
                if product.kind == "variable" and str(product.id) in asked
                for place in range(len(product.variants))
            ]
        if kind == "swapped" and rows:
            rows = [*rows[1:], {**rows[-1], "id": rows[-1]["id"] + _NEW}]
        shown = rows[(page - 1) * size : page * size]
        if kind == "no_price" and shown:
            shown[0]["prices"]["price"] = None
        for row in shown if kind == "other_currency" else ():
            row["prices"]["currency_code"] = "XAU"
        told = {"X-WP-Total": str(len(rows)), "X-WP-TotalPages": str(-(-len(rows) // size))}
        return Answer(200, shown, {} if kind == "no_total" else told)

    def _prices(self, name: str, price: int, regular_price: int | None) -> dict[str, Any]:
        return {
            "price": str(price),
            "regular_price": str(regular_price or price),
            "sale_price": str(price) if regular_price else "",
            "price_range": None,
            "currency_code": SHOPS[name].currency,
            "currency_symbol": "¤",
            "currency_minor_unit": SHOPS[name].minor_unit,
            "currency_decimal_separator": ".",
            "currency_thousand_separator": ",",
            "currency_prefix": "¤",
            "currency_suffix": "",
        }

    def _woo_product(self, name: str, product: Product) -> dict[str, Any]:
        first = product.variants[0]
        has_variants = product.kind == "variable"
        return {
            "id": product.id,
            "name": product.title.replace("&", "&amp;").replace("–", "&#8211;"),
            "slug": product.handle,
            "parent": 0,
            "type": product.kind,
            "variation": "",
            "permalink": f"https://{name}/product/{product.handle}/",
            "sku": "",
            "on_sale": first.regular_price is not None,
            "prices": self._prices(name, first.price, first.regular_price),
            "categories": [{"id": 1, "name": "Single &amp; blend", "slug": "single", "link": ""}],
            "tags": [],
            "attributes": [],
            "variations": [
                {"id": one.id, "attributes": [{"name": "Size", "value": one.title}]}
                for one in (product.variants if has_variants else ())
            ],
            "has_options": has_variants,
            "is_purchasable": product.kind != "subscription",
            "is_in_stock": first.is_available or has_variants,
            "is_on_backorder": False,
        }

    def _woo_variation(self, name: str, product: Product, place: int) -> dict[str, Any]:
        one = product.variants[place]
        return {
            **self._woo_product(name, product),
            "id": one.id,
            "parent": product.id,
            "type": "variation",
            "variation": f"Size: {one.title}",
            "prices": self._prices(name, one.price, one.regular_price),
            "variations": [],
            "has_options": False,
            "is_in_stock": one.is_available,
        }

    def _set_day(self, document: Any) -> None:
        self.day = None if document["day"] is None else dt.date.fromisoformat(document["day"])


def _compared(before: Any, number: int) -> str | None:
    """What shops write where nothing is reduced: nothing, or 0.00."""
    return f"{before:.2f}" if before else (None if number % 4 else "0.00")


def _number(call: Call, name: str, default: int) -> int:
    text = call.get(name) or ""
    return int(text) if text.isdecimal() else default
