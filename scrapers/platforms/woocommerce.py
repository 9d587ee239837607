"""WooCommerce shops: the public Store API. https://developer.woocommerce.com/docs/apis/store-api/

A page is a bare array; ``X-WP-Total`` and ``X-WP-TotalPages`` say how many there are. A variable product names its
variations without their prices: after each page of products the variations of its variable ones are asked for, by
``parent``. All lists are asked for by id, so that what is added meanwhile comes last and shifts nothing.
"""

from __future__ import annotations

import re
from typing import Any

from alerting.errors import NotSettled, PipelineError, SiteClosed, SourceContractError
from alerting.wording import plural
from scrapers.answers import Answer, parsed_json
from scrapers.base import Findings, Page, Request

LARGEST_PAGE = 100
_MINOR_UNITS = re.compile(r"[0-9]{0,18}")
_BY_ID = (("orderby", "id"), ("order", "asc"))


def first_page(site: str, path: str, limit: int, item: str) -> Request:
    """Begins the reading of a shop."""
    return _products(Request(f"{path}/wp-json/wc/store/v1/products", site=site, item=item), limit, 1)


def _products(like: Request, limit: int, number: int) -> Request:
    params = (("per_page", str(limit)), ("page", str(number)), *_BY_ID)
    return Request(like.path, params, site=like.site, item=like.item, cursor=str(number))


def _variations(like: Request, limit: int, parents: str, number: int, cursor: str) -> Request:
    paging = (("per_page", str(limit)), ("page", str(number)))
    params = (("type", "variation"), ("parent", parents), *paging, *_BY_ID)
    return Request(like.path, params, site=like.site, item=like.item, cursor=cursor)


def is_of_variations(params: tuple[tuple[str, str], ...]) -> bool:
    """Whether a request asks for variations, and not for products."""
    return dict(params).get("type") == "variation"


def switched_off(answer: Answer) -> bool:
    """Whether the site says that it has no Store API."""
    return answer.status == 404 and b"rest_no_route" in answer.body


def rows_in(page_body: bytes, currency: str) -> list[dict[str, Any]]:
    """Products or variations of a page. Raises ``SourceContractError`` for another shape or currency."""
    rows = parsed_json(page_body)
    if not isinstance(rows, list):
        raise SourceContractError("expected a bare array of products")
    for row in rows:
        _check(row, currency)
    return rows


def _check(row: Any, currency: str) -> None:
    if not isinstance(row, dict) or type(row.get("id")) is not int or not isinstance(row.get("name"), str):
        raise SourceContractError("a product has no id, or no name")
    prices = row.get("prices")
    if not isinstance(prices, dict) or type(prices.get("currency_minor_unit")) is not int:
        raise SourceContractError(f"product {row['id']} has no prices in minor units")
    if not 0 <= prices["currency_minor_unit"] <= 6:
        raise SourceContractError(f"product {row['id']} has {prices['currency_minor_unit']} decimals")
    for price in (prices.get("price"), prices.get("regular_price") or ""):
        if not isinstance(price, str) or not _MINOR_UNITS.fullmatch(price):
            raise SourceContractError(f"product {row['id']} has a price that is not a number of minor units")
    if prices.get("currency_code") != currency:
        raise SourceContractError(
            f"product {row['id']} costs {prices.get('currency_code')}, the settings say {currency}",
            hint="fix the currency of this shop in GAPLESS_SOURCE_ENTITIES",
        )
    if type(row.get("is_purchasable")) is not bool or type(row.get("is_in_stock")) is not bool:
        raise SourceContractError(f"product {row['id']} does not say whether it can be bought")
    if not isinstance(row.get("variations", []), list):
        raise SourceContractError(f"product {row['id']} has no list of variations")


def findings(page: Page, currency: str) -> Findings:
    """What a page has, and which one comes next."""
    rows, request = rows_in(page.body, currency), page.request
    params = dict(request.params)
    limit, number = int(params["per_page"]), int(params["page"])
    total, pages = _announced(page, limit)
    expected = max(0, min(limit, total - (number - 1) * limit))
    if len(rows) != expected:
        raise NotSettled(
            f"page {number} of {plural(total, 'row')} has {len(rows)}, expected {expected}: the list shifted"
        )
    if is_of_variations(request.params):
        return _of_variations(request, rows, total, pages)
    parents = ",".join(str(row["id"]) for row in rows if row.get("variations"))
    following = _products(request, limit, number + 1) if number < pages else None
    if parents:
        following = _variations(request, limit, parents, 1, f"{number}/{pages}")
    return Findings(
        {"product_sightings": len(rows), "variant_sightings": sum(not row.get("variations") for row in rows)},
        source_total=total,
        keys=tuple(str(row["id"]) for row in rows),
        next_request=following,
    )


def _of_variations(request: Request, rows: list[dict[str, Any]], total: int, pages: int) -> Findings:
    """Variations of one page of products; the cursor has that page, how many there are, and the total it began with."""
    params = dict(request.params)
    limit, number = int(params["per_page"]), int(params["page"])
    place, _, began_with = request.cursor.partition("+")
    if began_with and int(began_with) != total:
        raise NotSettled(f"there were {began_with} variations, then {total}")
    asked = set(params["parent"].split(","))
    stray = next((row["id"] for row in rows if str(row.get("parent")) not in asked), None)
    if stray is not None:
        raise SourceContractError(f"asked for variations of {plural(len(asked), 'product')}, got {stray} of another")
    if number < pages:
        cursor = f"{place}+{total}"
        following: Request | None = _variations(request, limit, params["parent"], number + 1, cursor)
    else:
        of, last = map(int, place.split("/"))
        following = _products(request, limit, of + 1) if of < last else None
    return Findings({"variant_sightings": len(rows)}, next_request=following)


def _announced(page: Page, limit: int) -> tuple[int, int]:
    told = [page.headers.get(name, "") for name in ("x-wp-total", "x-wp-totalpages")]
    if not all(text.isdecimal() for text in told):
        raise SourceContractError("the response has no X-WP-Total and X-WP-TotalPages: the total is unknown")
    total, pages = map(int, told)
    if pages != -(-total // limit):
        raise SourceContractError(f"asked for {limit} a page, got {plural(total, 'row')} on {plural(pages, 'page')}")
    return total, pages


def closed(answer: Answer) -> PipelineError | None:
    """What a site without a Store API is."""
    if not switched_off(answer):
        return None
    return SiteClosed(
        "the shop has no WooCommerce Store API (rest_no_route)",
        status=answer.status,
        hint="check its platform in GAPLESS_SOURCE_ENTITIES, and whether it still sells",
    )
