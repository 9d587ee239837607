"""Shopify storefronts: ``/products.json``, which every shop has unless it is closed or has switched it off.

Pages of at most 250 products, the newest first, until one is empty; no total, no link, no currency. A short page proves
nothing: shops give fewer than were asked for, 30 or whatever they are set to. A product that is published meanwhile
pushes the others back, so that one comes twice; one that is withdrawn pulls them forward, so that one never comes.
Where there is more than one page with products the list is therefore read a second time, with pages of another size
where the shop heeds that, and both readings have to agree.
"""

from __future__ import annotations

import re
from typing import Any

from alerting.errors import NothingPublished, SourceContractError
from scrapers.answers import parsed_json
from scrapers.base import Findings, Page, Request

LARGEST_PAGE = 250

_AGAIN = "again "
_BEHIND_ONE = 2
"""The page that is empty where one page has all products: these are one state of the shop."""
_PRICE = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,4})?")


def first_page(site: str, path: str, limit: int, item: str) -> Request:
    """Begins the reading of a shop."""
    return _page(Request(f"{path}/products.json", site=site, item=item), limit, 1)


def _page(like: Request, limit: int, number: int, *, again: bool = False) -> Request:
    params = (("limit", str(limit)), ("page", str(number)))
    cursor = f"{_AGAIN if again else ''}{number}"
    return Request(like.path, params, site=like.site, item=like.item, cursor=cursor)


def products_in(page_body: bytes) -> list[dict[str, Any]]:
    """The products of a page. Raises ``SourceContractError`` for another shape."""
    document = parsed_json(page_body)
    products = document.get("products") if isinstance(document, dict) else None
    if not isinstance(products, list):
        raise SourceContractError("expected an object with a list of products")
    for product in products:
        _check(product)
    return products


def _check(product: Any) -> None:
    if not isinstance(product, dict) or type(product.get("id")) is not int or not isinstance(product.get("title"), str):
        raise SourceContractError("a product has no id, or no title")
    variants = product.get("variants")
    if not isinstance(variants, list) or not variants:
        raise SourceContractError(f"product {product['id']} has no list of variants")
    for variant in variants:
        if not isinstance(variant, dict) or type(variant.get("id")) is not int:
            raise SourceContractError(f"product {product['id']} has a variant without id")
        if not isinstance(variant.get("price"), str) or not _PRICE.fullmatch(variant["price"]):
            raise SourceContractError(f"variant {variant['id']} has no price in major units, as in 12.50")
        before = variant.get("compare_at_price")
        if before not in (None, "") and not (isinstance(before, str) and _PRICE.fullmatch(before)):
            raise SourceContractError(f"variant {variant['id']} has an earlier price that is none, as in 12.50")
        if type(variant.get("available")) is not bool:
            raise SourceContractError(f"variant {variant['id']} does not say whether it is available")


def findings(page: Page) -> Findings:
    """What a page has, and which one comes next."""
    products, request = products_in(page.body), page.request
    limit, number = int(dict(request.params)["limit"]), int(dict(request.params)["page"])
    again = request.cursor.startswith(_AGAIN)
    if len(products) > limit:
        raise SourceContractError(f"asked for {limit} products, got {len(products)}")
    if not products and number == 1:
        raise NothingPublished("the shop lists no product, and nothing proves that it has none")
    following = None
    if products:
        following = _page(request, limit, number + 1, again=again)
    elif number > _BEHIND_ONE and not again:
        following = _page(request, max(1, limit - 1), 1, again=True)
    keys = tuple(str(product["id"]) for product in products)
    if again:
        return Findings({}, keys=keys, confirms=True, next_request=following)
    variants = sum(len(product["variants"]) for product in products)
    return Findings(
        {"product_sightings": len(products), "variant_sightings": variants}, keys=keys, next_request=following
    )
