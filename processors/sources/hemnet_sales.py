"""Hemnet, sold homes: one row a sale, without who sold it and its address."""

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from processors.told_values import unless_blank
from scrapers.html_bodies import landed_embedded_json
from scrapers.partition import Partition

_STOCKHOLM = ZoneInfo("Europe/Stockholm")
_SPACES, _DIGIT, _NUMBER = re.compile(r"\s+"), re.compile(r"\d"), re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SQUARE_METRES = {"m²": Decimal(1), "ha": Decimal(10_000)}


class HemnetSale(Row):
    """One sold home. Nothing in it names a person, a street or a point on the map."""

    sale_id: str = Field(description="of Hemnet; up to 19 digits")
    listing_id: str | None = Field(description="of the advertisement; NULL where there was none")
    sold_on: dt.date = Field(description="date of the sale in Stockholm")
    sold_at: AwareDatetime = Field(description="UTC")
    housing_form: str = Field(description="APARTMENT, HOUSE, ROW_HOUSE, TWIN_HOUSE, VACATION_HOUSE, PLOT ...")
    district: str | None = Field(description="as the site names it, without the municipality")
    municipality: str | None
    final_price_sek: int | None
    asking_price_sek: int | None = Field(description="NULL where it was on request")
    living_area_m2: Decimal | None = Field(description="square metres, in halves or tenths; NULL for plots")
    extra_area_m2: Decimal | None = Field(description="cellars and the like, beside the living area")
    land_area_m2: Decimal | None = Field(description="hectares of the site are 10,000 of it, rounded by the site")
    rooms: Decimal | None
    monthly_fee_sek: int | None = Field(description="of a housing cooperative")
    price_per_m2_sek: int | None = Field(description="as the site has computed it")


class HemnetSales(Processor):
    """Only the fields named here are taken from a page: what is not wanted reaches neither rows nor rejects."""

    tables = (Table("hemnet_sales", HemnetSale, ("sale_id",), "sold_on"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002
        """One row a sale, of whatever month it is."""
        state = landed_embedded_json(page.body, "__NEXT_DATA__")["props"]["pageProps"]["__APOLLO_STATE__"]
        for name, card in state.items():
            if not name.startswith("SaleCard:"):
                continue
            sold_at = dt.datetime.fromtimestamp(float(card["soldAt"]), dt.UTC)
            district, _, municipality = (card["locationDescription"] or "").rpartition(", ")
            living, extra = _areas(card["livingArea"])
            yield (
                "hemnet_sales",
                {
                    "sale_id": card["id"],
                    "listing_id": unless_blank(card["listingId"]),
                    "sold_on": sold_at.astimezone(_STOCKHOLM).date(),
                    "sold_at": sold_at,
                    "housing_form": card["housingForm"]["symbol"],
                    "district": district or None,
                    "municipality": municipality or None,
                    "final_price_sek": _amount(card["finalPrice"], "kr"),
                    "asking_price_sek": _amount(card["askingPrice"], "kr"),
                    "living_area_m2": living,
                    "extra_area_m2": extra,
                    "land_area_m2": _land(card["landArea"]),
                    "rooms": _amount(card["rooms"], "rum"),
                    "monthly_fee_sek": _amount(card["fee"], "kr/mån"),
                    "price_per_m2_sek": _amount(card["squareMeterPrice"], "kr/m²"),
                },
            )


def _amount(text: str | None, unit: str) -> Decimal | str | None:
    """The number before the unit; None without digits; the text as it is, which refuses the row, for anything else.

    >>> _amount("3 600 000 kr", "kr"), _amount("3,5 rum", "rum"), _amount("Pris på förfrågan", "kr")
    (Decimal('3600000'), Decimal('3.5'), None)
    >>> _amount("9 €", "kr")
    '9 €'
    """
    if not text or not _DIGIT.search(text):
        return None
    packed = _SPACES.sub("", text)
    number = packed.removesuffix(unit).replace(",", ".")
    return Decimal(number) if packed.endswith(unit) and _NUMBER.fullmatch(number) else text


def _areas(text: str | None) -> tuple[Decimal | str | None, Decimal | str | None]:
    """Living area and what lies beside it.

    >>> _areas("73+12,5 m²"), _areas("42,5 m²"), _areas(None)
    ((Decimal('73'), Decimal('12.5')), (Decimal('42.5'), None), (None, None))
    """
    living, plus, extra = (text or "").partition("+")
    return _amount(f"{living} m²" if plus else text, "m²"), _amount(extra, "m²")


def _land(text: str | None) -> Decimal | str | None:
    """In square metres.

    >>> _land("1 234 m²"), _land("1,8 ha")
    (Decimal('1234'), Decimal('18000.0'))
    """
    unit = next((unit for unit in _SQUARE_METRES if text and text.endswith(unit)), "m²")
    amount = _amount(text, unit)
    return amount * _SQUARE_METRES[unit] if isinstance(amount, Decimal) else amount
