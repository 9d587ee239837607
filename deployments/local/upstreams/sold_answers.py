"""What the sample of Hemnet says: pages of HTML with their data embedded, answers to documents, and challenges."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from deployments.local.upstreams.sold_world import AREAS, KINDS, Sale

NBSP = "\u00a0"
_TITLES = {
    "en": "Just a moment...",
    "sv": "Ett ögonblick…",
    "de": "Nur einen Moment…",
    "ja": "しばらくお待ちください...",
}
CHALLENGE_LANGUAGES = tuple(_TITLES)


def challenge_page(language: str, *, has_machinery: bool) -> bytes:
    """A page of Cloudflare's kind; without its machinery only the title, and the header beside it, tell."""
    script = "<script>window._cf_chl_opt={cvId:'3',cType:'managed'};</script>" if has_machinery else ""
    return (
        f'<!DOCTYPE html><html lang="{language}"><head><title>{_TITLES[language]}</title>'
        f'<meta http-equiv="refresh" content="360">{script}</head><body></body></html>'
    ).encode()


def slug(sale: Sale) -> str:
    """The end of its address, which holds the street."""
    name = KINDS[sale.kind][0].lower().replace("ä", "a").replace("å", "a").replace(" ", "-")
    rooms = f"-{_number(sale.rooms)}rum" if sale.rooms is not None else ""
    return f"{name}{rooms}-{AREAS[sale.area].lower()}-kommun-{sale.street.lower()}-{sale.number}-{sale.id}"


def card(sale: Sale) -> dict[str, Any]:
    """A sale as lists show it: texts for people, and nothing else."""
    name, _ = KINDS[sale.kind]
    extra = f"+{sale.extra_m2}" if sale.extra_m2 else ""
    living = None if sale.living_m2 is None else f"{_number(sale.living_m2)}{extra}{NBSP}m²"
    change = None if sale.asking is None else round(100 * (sale.price - sale.asking) / sale.asking)
    return {
        "__typename": "SaleCard",
        "id": sale.id,
        "listingId": sale.listing_id,
        "slug": slug(sale),
        "streetAddress": f"{sale.street} {sale.number}",
        "soldAt": f"{int(sale.sold_at.timestamp())}.0",
        "soldAtLabel": f"Såld {sale.sold_at:%Y-%m-%d}",
        "askingPrice": "Pris på förfrågan" if sale.asking is None else _kronor(sale.asking),
        "finalPrice": _kronor(sale.price),
        "image": {"__typename": "CardImage", "filename": f"{sale.id}.jpg", "lqipBase64": None},
        "livingArea": living,
        "locationDescription": f"{sale.district}, {AREAS[sale.area]} kommun",
        "fee": None if sale.fee is None else f"{_kronor(sale.fee)}/mån",
        "squareMeterPrice": None if not sale.living_m2 else f"{_kronor(int(sale.price / sale.living_m2))}/m²",
        "housingForm": {"__typename": "HousingForm", "symbol": sale.kind, "name": name},
        "rooms": None if sale.rooms is None else f"{_number(sale.rooms)}{NBSP}rum",
        "landArea": _land(sale.land_m2),
        "priceChange": None if change is None else f"{'±' if not change else ''}{change:+d}{NBSP}%".replace("±+", "±"),
        "coordinates": {"__typename": "GeometryPoint", "lat": 55.6, "long": 13.0},
        "brokerAgencyName": f"{sale.broker} AB",
        "brokerName": sale.broker,
        "labels": [],
        "product": "NONE",
        "recordType": "COMMON",
    }


def sold_listing(sale: Sale) -> dict[str, Any]:
    """A sale as the answer to a document has it: money and areas are numbers. Only what is asked for would be there."""
    return {
        "__typename": "SoldPropertyListing",
        "id": sale.id,
        "soldAt": f"{int(sale.sold_at.timestamp())}.0",
        "sellingPrice": {"amount": sale.price},
        "askingPrice": None if sale.asking is None else {"amount": sale.asking},
        "livingArea": None if sale.living_m2 is None else float(sale.living_m2),
        "supplementalArea": sale.extra_m2,
        "landArea": sale.land_m2,
        "numberOfRooms": None if sale.rooms is None else float(sale.rooms),
        "legacyConstructionYear": None if sale.built is None else str(sale.built),
        "formattedFloor": None,
        "fee": None if sale.fee is None else {"amount": sale.fee},
        "runningCosts": None if sale.running_cost is None else {"amount": sale.running_cost},
        "tenure": {"name": "Bostadsrätt" if sale.kind == "APARTMENT" else "Äganderätt"},
        "energyClassification": None,
    }


def sold_page(
    search: Mapping[str, Any], sales: Sequence[Sale], total: int, viewable: int, page: Mapping[str, Any]
) -> bytes:
    """A page of sold homes: the list among other lists, and what of the request was understood.

    Args:
        search: What of the request was understood, as `inputSearch` has it.
        sales: Of this page.
        total: Of the search.
        viewable: How many of them can be paged to.
        page: ``limit`` and ``offset``.
    """
    asked = {name: value for name, value in search.items() if value not in (None, [], "all")} or {"locationSlugs": None}
    whole = {
        "__typename": "SoldListingResults",
        "total": total,
        "sort": "NEWEST",
        "totalViewable": min(total, viewable),
        "inputSearch": {"__typename": "SaleSearch", **search},
    }
    cards = {f"SaleCard:{one.id}": card(one) for one in sales}
    listed = {
        "__typename": "SoldListingResults",
        "total": total,
        "sort": "NEWEST",
        "cards": [{"__ref": name} for name in cards],
    }
    others = {"__typename": "ListingResults", "total": 1361, "totalViewable": 1361}
    query = {
        "__typename": "Query",
        _key("searchForSaleListings", {"limit": 0, "search": asked}): others,
        _key("searchSales", {"limit": 0, "search": asked}): whole,
        _key("searchUpcomingListings", {"limit": 0, "search": asked}): {**others, "total": 256},
        _key("searchSales", {**page, "search": asked, "searchContext": "LIST", "sort": "NEWEST"}): listed,
    }
    document = {"props": {"pageProps": {"page": None, "__APOLLO_STATE__": {"ROOT_QUERY": query, **cards}}}}
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return (
        '<!DOCTYPE html><html lang="sv"><head><meta charSet="utf-8"/><title>Slutpriser | Hemnet</title></head><body>'
        f'<div id="__next"></div><script id="__NEXT_DATA__" type="application/json">{text}</script></body></html>'
    ).encode()


def _key(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({json.dumps(arguments, sort_keys=True, separators=(',', ':'), ensure_ascii=False)})"


def _number(value: Decimal) -> str:
    return f"{value:f}".rstrip("0").rstrip(".").replace(".", ",") if "." in f"{value:f}" else f"{value:f}"


def _kronor(amount: int) -> str:
    return f"{amount:,}".replace(",", NBSP) + f"{NBSP}kr"


def _land(land_m2: int | None) -> str | None:
    if land_m2 is None:
        return None
    if land_m2 >= 10_000:
        return f"{_number(Decimal(land_m2 // 1000) / 10)}{NBSP}ha"
    return f"{land_m2:,}".replace(",", NBSP) + f"{NBSP}m²"
