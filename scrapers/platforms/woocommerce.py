"""WooCommerce shops: the public Store API. https://developer.woocommerce.com/docs/apis/store-api/

A page is a bare array; ``X-WP-Total`` and ``X-WP-TotalPages`` say how many there are. A variable product names its
variations without their prices: after each page of products the variations of its variable ones are asked for, by
``parent``. All lists are asked for by id, so that what is added meanwhile comes last and shifts nothing. What is taken
away while another one is added shifts the pages under the same total: where a list has more than one page, all of them
are read a second time, with pages of another size, and both readings have to agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from alerting.errors import NotSettled, PipelineError, SiteClosed, SourceContractError
from alerting.wording import plural
from scrapers.answers import Answer, parsed_json
from scrapers.base import Findings, Page, Request

LARGEST_PAGE = 100
_MINOR_UNITS = re.compile(r"[0-9]{0,18}")
_BY_ID = (("orderby", "id"), ("order", "asc"))


@dataclass(frozen=True, slots=True)
class _Place:
    """How far the reading of a shop is, as the cursor of a request says it.

    Attributes:
        page, pages: Of the products; ``pages`` is 0 until the first one came.
        is_several: Whether a list of this shop had more than one page so far.
        is_again: Whether it is the second reading.
        announced: Of variations behind their first page, how many that one announced; else None.
    """

    page: int
    pages: int = 0
    is_several: bool = False
    is_again: bool = False
    announced: int | None = None

    @classmethod
    def of(cls, cursor: str) -> _Place:
        found = _PLACE.fullmatch(cursor)
        if found is None:
            raise SourceContractError(f"{cursor[:40]!r} is no place in the lists of a shop")
        again, page, pages, several, announced = found.groups()
        return cls(int(page), int(pages or 0), bool(several), bool(again), int(announced) if announced else None)

    def __str__(self) -> str:
        several = " of several" if self.is_several else ""
        behind = "" if self.announced is None else f"+{self.announced}"
        return (
            f"{'again ' if self.is_again else ''}{self.page}{f'/{self.pages}' if self.pages else ''}{several}{behind}"
        )


_PLACE = re.compile(r"(again )?([0-9]+)(?:/([0-9]+))?( of several)?(?:\+([0-9]+))?")


def first_page(site: str, path: str, limit: int, item: str) -> Request:
    """Begins the reading of a shop."""
    return _products(Request(f"{path}/wp-json/wc/store/v1/products", site=site, item=item), limit, _Place(1))


def _products(like: Request, limit: int, place: _Place) -> Request:
    params = (("per_page", str(limit)), ("page", str(place.page)), *_BY_ID)
    return Request(like.path, params, site=like.site, item=like.item, cursor=str(place))


def _variations(like: Request, limit: int, parents: str, number: int, place: _Place) -> Request:
    paging = (("per_page", str(limit)), ("page", str(number)))
    params = (("type", "variation"), ("parent", parents), *paging, *_BY_ID)
    return Request(like.path, params, site=like.site, item=like.item, cursor=str(place))


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
    place = _Place.of(request.cursor)
    place = replace(place, is_several=place.is_several or pages > 1)
    if is_of_variations(request.params):
        return _of_variations(request, rows, total, pages, place)
    place = replace(place, pages=pages)
    parents = ",".join(str(row["id"]) for row in rows if row.get("variations"))
    following = _variations(request, limit, parents, 1, place) if parents else _behind(request, limit, place)
    keys = tuple(str(row["id"]) for row in rows)
    if place.is_again:
        return Findings({}, source_total=total, keys=keys, confirms=True, next_request=following)
    return Findings(
        {"product_sightings": len(rows), "variant_sightings": sum(not row.get("variations") for row in rows)},
        source_total=total,
        keys=keys,
        next_request=following,
    )


def _of_variations(request: Request, rows: list[dict[str, Any]], total: int, pages: int, place: _Place) -> Findings:
    """Variations of one page of products."""
    params = dict(request.params)
    limit, number = int(params["per_page"]), int(params["page"])
    if place.announced not in (None, total):
        raise NotSettled(f"there were {place.announced} variations, then {total}")
    asked = set(params["parent"].split(","))
    stray = next((row["id"] for row in rows if str(row.get("parent")) not in asked), None)
    if stray is not None:
        raise SourceContractError(f"asked for variations of {plural(len(asked), 'product')}, got {stray} of another")
    if number < pages:
        following: Request | None = _variations(
            request, limit, params["parent"], number + 1, replace(place, announced=total)
        )
    else:
        following = _behind(request, limit, replace(place, announced=None))
    keys, counts = tuple(str(row["id"]) for row in rows), {} if place.is_again else {"variant_sightings": len(rows)}
    return Findings(counts, keys=keys, confirms=place.is_again, next_request=following)


def _behind(request: Request, limit: int, place: _Place) -> Request | None:
    """What is asked behind a page of products and its variations."""
    if place.page < place.pages:
        return _products(request, limit, replace(place, page=place.page + 1))
    if place.is_several and not place.is_again:
        return _products(request, max(1, limit - 1), _Place(1, is_several=True, is_again=True))
    return None


def _announced(page: Page, limit: int) -> tuple[int, int]:
    # A cache on the way may say the same once more.
    told = [{*re.split(r",\s*", page.headers.get(name, ""))} for name in ("x-wp-total", "x-wp-totalpages")]
    if not all(len(texts) == 1 and next(iter(texts)).isdecimal() for texts in told):
        raise SourceContractError("the response has no X-WP-Total and X-WP-TotalPages: the total is unknown")
    total, pages = (int(texts.pop()) for texts in told)
    if pages != -(-total // limit):
        raise SourceContractError(
            f"asked for {limit} a page, got {plural(total, 'row')} on {plural(pages, 'page')}",
            hint="where the shop gives fewer a page, lower GAPLESS_SOURCE_PAGE_SIZE of this source",
        )
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
