"""A made-up world of sold homes: months by the dozen, a few areas, and what makes them hard to read.

    world = SoldWorld(sales=60_000)    # 71 months from January 2020, 8 areas
    world.months()                     # ids by month in Stockholm: the truth

Deterministic: the same arguments give the same sales. In it, as on the site that it imitates: half square metres; a
street of student rooms, all of one size, so that an area does not split by size alone; plots, which have no living
area; ids of 16 to 19 digits beside old ones of 5 to 8; sales just after midnight, which are of the day before in UTC.
Nobody in it exists.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from zoneinfo import ZoneInfo

STOCKHOLM = ZoneInfo("Europe/Stockholm")

AREAS = {
    "17989": "Malmö",
    "90002": "Norrby",
    "90003": "Söderby",
    "90004": "Österby",
    "90005": "Västerby",
    "90006": "Kyrkby",
    "90007": "Strandby",
    "90008": "Skogby",
}
"""Names by location id; all but the first are made up."""

KINDS = {
    "APARTMENT": ("Lägenhet", "APARTMENTS"),
    "HOUSE": ("Villa", "HOUSES"),
    "ROW_HOUSE": ("Radhus", "ROW_HOUSES"),
    "VACATION_HOUSE": ("Fritidshus", "VACATION_HOMES"),
    "AGRICULTURAL_ESTATE": ("Gård med jordbruk", "HOMESTEADS"),
    "PLOT": ("Tomt", "PLOTS"),
}
"""The site's word and its group, by symbol."""

_WEIGHTS = (70, 14, 8, 4, 1, 3)
_DISTRICTS = ("Centrum", "Gamla staden", "Hamnen", "Norra sidan", "Lugnet", "Sjövik")
_STREETS = ("Exempelgatan", "Provvägen", "Mönstergränd", "Påhittsstigen")
_BROKERS = ("Mäklare Adamsson", "Mäklare Bertilsson", "Mäklare Cesarsson")
_STUDENTS_ROOM_M2 = Decimal(38)


@dataclass(frozen=True, slots=True)
class Sale:
    """One sold home. Areas are square metres, money is kronor; None where the home has no such thing.

    Attributes:
        area: Location id, one of `AREAS`.
        sold_at: Aware, in Stockholm.
        extra_m2: Of cellars and the like, beside the living area.
        asking: None: "Pris på förfrågan".
        street, number, broker: Personal data, made up.
        built: Year; None where nobody knows. On the detail page alone, as ``running_cost`` a year.
    """

    id: str
    listing_id: str
    area: str
    kind: str
    sold_at: dt.datetime
    living_m2: Decimal | None
    extra_m2: int | None
    land_m2: int | None
    rooms: Decimal | None
    fee: int | None
    price: int
    asking: int | None
    district: str
    street: str
    number: int
    broker: str
    built: int | None
    running_cost: int | None

    @property
    def month(self) -> str:
        """Of the sale, in Stockholm: ``2020-01``."""
        return f"{self.sold_at:%Y-%m}"


class SoldWorld:
    """See the module. Not thread-safe by itself: the upstream changes it under its lock.

    Args:
        sales: How many.
        months: From ``first`` on.
        first: First month.
        seed: Another world.
        areas: How many of `AREAS`.
        same_size_share: Of the first area, the share that is student rooms of one size.
    """

    def __init__(
        self,
        sales: int = 60_000,
        months: int = 71,
        *,
        first: dt.date = dt.date(2020, 1, 1),
        seed: int = 1,
        areas: int = 8,
        same_size_share: float = 0.3,
    ) -> None:
        self.areas = tuple(AREAS)[:areas]
        self.first, self.last_month = first, _month_after(first, months - 1)
        chance = random.Random(seed)  # noqa: S311 - a made-up world
        end = _month_after(first, months)
        span_s = int((_midnight(end) - _midnight(first)).total_seconds())
        # The first area is as large as three others.
        weights = [3, *[1] * (areas - 1)]
        ids: dict[str, None] = {}
        while len(ids) < sales:
            digits = chance.randint(5, 8) if chance.random() < 0.05 else chance.randint(16, 19)
            ids[str(chance.randrange(10 ** (digits - 1), 10**digits))] = None
        self._sales = {
            one: _sale(one, chance, span_s, first, chance.choices(self.areas, weights)[0], same_size_share)
            for one in ids
        }
        self.version = 0
        self._added = 0

    @property
    def sales(self) -> tuple[Sale, ...]:
        """All that are there now."""
        return tuple(self._sales.values())

    def sale(self, sale_id: str) -> Sale | None:
        """The one of that id; None where there is none, or no more."""
        return self._sales.get(sale_id)

    def months(self) -> dict[str, set[str]]:
        """Ids by month in Stockholm."""
        found: dict[str, set[str]] = {}
        for one in self._sales.values():
            found.setdefault(one.month, set()).add(one.id)
        return found

    def withdraw(self, sale_id: str) -> None:
        """The sale is gone."""
        del self._sales[sale_id]
        self.version += 1

    def correct(self, sale_id: str, **facts: object) -> None:
        """The sale has other facts from now on."""
        self._sales[sale_id] = replace(self._sales[sale_id], **facts)  # type: ignore[arg-type]
        self.version += 1

    def add(self, like: str, **facts: object) -> str:
        """A sale like another one, under an id of its own, which comes back."""
        self._added += 1
        added = f"77{self._added:015d}"
        self._sales[added] = replace(self._sales[like], id=added, listing_id="", **facts)  # type: ignore[arg-type]
        self.version += 1
        return added


def fewest_pages(sales: Iterable[Sale], areas: Iterable[str], page_size: int = 50) -> int:
    """No reader does with less: a page holds the sales of one area, and each area is asked for at least once."""
    by_area = dict.fromkeys(areas, 0)
    for one in sales:
        by_area[one.area] += 1
    return sum(max(1, -(-count // page_size)) for count in by_area.values())


def _midnight(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(), STOCKHOLM).astimezone(dt.UTC)


def _month_after(first: dt.date, months: int) -> dt.date:
    at = first.year * 12 + first.month - 1 + months
    return dt.date(at // 12, at % 12 + 1, 1)


def _sale(sale_id: str, chance: random.Random, span_s: int, first: dt.date, area: str, same_size_share: float) -> Sale:
    begins = _midnight(first)
    sold_at = (begins + dt.timedelta(seconds=chance.randrange(span_s))).astimezone(STOCKHOLM)
    if chance.random() < 0.03:
        sold_at = sold_at.replace(hour=0, minute=15, second=0)
    kind = chance.choices(tuple(KINDS), _WEIGHTS)[0]
    is_students = area == next(iter(AREAS)) and chance.random() < same_size_share
    if is_students:
        kind, living = "APARTMENT", _STUDENTS_ROOM_M2
    else:
        middle, spread = (62, 20) if kind == "APARTMENT" else (120, 35)
        living = Decimal(max(36, round(2 * chance.gauss(middle, spread)))) / 2
    has_home, has_land = kind != "PLOT", kind not in ("APARTMENT",)
    per_m2 = chance.randint(18_000, 70_000)
    price = max(200_000, round(int(living) * per_m2 if has_home else chance.randint(300_000, 3_000_000), -4))
    rooms = None if not has_home else Decimal(max(2, round(2 * int(living) / 26))) / 2
    return Sale(
        id=sale_id,
        listing_id=str(chance.randrange(10_000_000, 30_000_000)) if chance.random() < 0.9 else "",
        area=area,
        kind=kind,
        sold_at=sold_at,
        living_m2=living if has_home else None,
        extra_m2=chance.randint(5, 90) if kind == "HOUSE" and chance.random() < 0.5 else None,
        land_m2=chance.randint(200, 30_000) if has_land else None,
        rooms=rooms if chance.random() < 0.97 else None,
        fee=chance.randint(1_500, 8_000) if kind == "APARTMENT" else None,
        price=price,
        asking=None if chance.random() < 0.02 else round(int(price * chance.uniform(0.85, 1.1)), -3),
        district=chance.choice(_DISTRICTS),
        street=chance.choice(_STREETS),
        number=chance.randint(1, 99),
        broker=chance.choice(_BROKERS),
        built=chance.randint(1880, 2019) if has_home and chance.random() < 0.9 else None,
        running_cost=chance.randint(3_000, 60_000) if has_home else None,
    )
