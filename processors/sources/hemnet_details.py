"""Hemnet, sold homes one by one: one row a sale, beside that of hemnet_sales."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition

_STOCKHOLM = ZoneInfo("Europe/Stockholm")


class HemnetDetail(Row):
    """One sold home, as its own page has it."""

    sale_id: str
    sold_on: dt.date = Field(description="date of the sale in Stockholm")
    sold_at: AwareDatetime = Field(description="UTC")
    selling_price_sek: int | None
    asking_price_sek: int | None
    living_area_m2: Decimal | None
    extra_area_m2: Decimal | None = Field(description="cellars and the like, beside the living area")
    land_area_m2: Decimal | None
    rooms: Decimal | None
    construction_year: str | None = Field(description="as written: a year, or several")
    floor: str | None = Field(description="as written: 2 av 5, hiss finns")
    monthly_fee_sek: int | None
    running_costs_sek: int | None = Field(description="a year")
    tenure: str | None = Field(description="Bostadsrätt, Äganderätt ...")
    energy_class: str | None


class HemnetDetails(Processor):
    """One page, one sale."""

    tables = (Table("hemnet_details", HemnetDetail, ("sale_id",), "sold_on"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002
        """The sale, if the site had it."""
        sale = landed_json(page.body)["data"]["soldListing"]
        if sale is None:
            return
        sold_at = dt.datetime.fromtimestamp(float(sale["soldAt"]), dt.UTC)
        yield (
            "hemnet_details",
            {
                "sale_id": sale["id"],
                "sold_on": sold_at.astimezone(_STOCKHOLM).date(),
                "sold_at": sold_at,
                "selling_price_sek": _inner(sale["sellingPrice"], "amount"),
                "asking_price_sek": _inner(sale.get("askingPrice"), "amount"),
                "living_area_m2": _decimal(sale["livingArea"]),
                "extra_area_m2": _decimal(sale.get("supplementalArea")),
                "land_area_m2": _decimal(sale.get("landArea")),
                "rooms": _decimal(sale["numberOfRooms"]),
                "construction_year": sale.get("legacyConstructionYear"),
                "floor": sale.get("formattedFloor"),
                "monthly_fee_sek": _inner(sale.get("fee"), "amount"),
                "running_costs_sek": _inner(sale.get("runningCosts"), "amount"),
                "tenure": _inner(sale.get("tenure"), "name"),
                "energy_class": _inner(sale.get("energyClassification"), "classification"),
            },
        )


def _inner(value: Any, name: str) -> Any:
    return None if value is None else value[name]


def _decimal(value: Any) -> Any:
    """A number of JSON by its own digits: 42.5 has no more of them as a NUMERIC.

    >>> _decimal(42.5), _decimal(None)
    (Decimal('42.5'), None)
    """
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value
