"""The Racing API: what its texts mean. All its values are texts; racecards and results write the same differently."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from processors.base import Fill, Row

RACE, RUNNER = ("race_date", "race_id"), ("race_date", "race_id", "horse_id")
NON_RUNNER = "NON-RUNNER"
"""Stands for the jockey of a withdrawn runner, with an id of its own."""

_UK = ZoneInfo("Europe/London")
_CURRENCIES = {"": "GBP", "£": "GBP", "€": "EUR", "A$": "AUD", "$": "USD", "¥": "JPY", "HK$": "HKD", "NZ$": "NZD"}
_MILES = re.compile(r"(?:([0-9]+)m)?(?:([0-9]+)f)?(?:([0-9]+)y)?")
# A comma stands before three digits: as a decimal sign it would make a hundredfold of the sum.
_MONEY = re.compile(r"([^0-9.,]*)((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?)")
_TIME = re.compile(r"(?:([0-9]+):(?=[0-5]?[0-9](?![0-9])))?([0-9]{1,3}(?:\.[0-9]+)?)")
_NUMBER_BEFORE = re.compile(r"([0-9]{1,9})(?:\s*[A-Za-z(].*)?", re.DOTALL)
_NO_NUMBERS = ("nan", "inf", "infinity")


class RaceRow(Row):
    """What card and result tell of a race alike."""

    race_id: str = Field(description="rac_...")
    race_date: dt.date = Field(alias="date", description="UK date")
    region: str = Field(description="upper case: GB, IRE, FR ...")
    course_id: str = Field(description="crs_...")
    course: str
    race_name: str
    race_type: str | None = Field(alias="type", description="Flat, Hurdle, Chase, NH Flat")
    pattern: str | None = Field(description="group, grade or listed")
    rating_band: str | None
    age_band: str | None
    going: str | None
    surface: str | None
    jumps: int | None = Field(description="hurdles or fences to jump")

    @model_validator(mode="after")
    def _begins_on_its_date(self) -> Self:
        """Where a race is run it may be another day than in Britain, and no other than the next one."""
        begins = self.__dict__.get("off_at")
        if begins is not None and abs((begins.astimezone(_UK).date() - self.race_date).days) > 1:
            raise ValueError(f"a race of {self.race_date} begins at {begins}")
        return self


class RunnerRow(Row):
    """What card and result tell of a horse in a race alike."""

    race_id: str
    race_date: dt.date
    horse_id: str = Field(description="hrs_...")
    horse: str = Field(description="name without country")
    age: int | None = Field(description="years")
    sire_id: str | None
    sire: str | None
    sire_region: str | None
    dam_id: str | None
    dam: str | None
    dam_region: str | None
    damsire_id: str | None
    damsire: str | None
    trainer_id: str | None
    trainer: str | None
    owner_id: str | None
    owner: str | None
    draw: int | None = Field(description="stall; NULL over jumps")
    headgear: str | None
    silk_url: str | None


def entity_fills(precedence: int, *, cards: bool) -> tuple[Fill, ...]:
    """The masters that a table of runners fills; cards know more of horses, trainers and damsires than results."""
    more = " dob sex colour breeder" if cards else ""
    columns = {
        ("ra_mst_horses", "horse_id"): "horse region=horse_region sex_code" + more,
        ("ra_horse_pedigree", "horse_id"): "sire_id dam_id damsire_id sire dam damsire",
        **{(f"ra_mst_{who}s", f"{who}_id"): who for who in ("jockey", "trainer", "owner")},
        **{(f"ra_mst_{who}s", f"{who}_id"): f"{who} region={who}_region" for who in ("sire", "dam", "damsire")},
    }
    if cards:
        columns["ra_mst_trainers", "trainer_id"] += " location=trainer_location"
    return tuple(
        Fill(view, key, columns=known, precedence=precedence, seen_on="race_date")
        for (view, key), known in columns.items()
    )


def told(item: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with None for what the API does not know: "", a hyphen in racecards, an en dash in results.

    >>> told({"ofr": "-", "or": "\u2013", "class": "", "going": "Good", "big_race": False})
    {'ofr': None, 'or': None, 'class': None, 'going': 'Good', 'big_race': False}
    """
    return {name: None if value in ("", "-", "\u2013") else value for name, value in item.items()}


def name_and_region(text: str | None) -> tuple[str | None, str | None]:
    """A horse without the country that results write behind its name; racecards have it in a field of its own.

    >>> name_and_region("Create (IRE)"), name_and_region("Pivotal"), name_and_region(None)
    (('Create', 'IRE'), ('Pivotal', None), (None, None))
    """
    found = re.fullmatch(r"(.+) \(([A-Z]{2,3})\)", text or "")
    return (found[1], found[2]) if found else (text, None)


def jockey_and_claim(text: str | None) -> tuple[str | None, int | None]:
    """The name without the pounds that an apprentice claims; a withdrawn runner has no jockey.

    >>> jockey_and_claim("Luke Scott(3)"), jockey_and_claim("David Bass"), jockey_and_claim("NON-RUNNER(5)")
    (('Luke Scott', 3), ('David Bass', 0), (None, 5))
    """
    if text is None:
        return None, None
    found = re.fullmatch(r"(.+?)\s*\((\d+)\)", text)
    name, claim = (found[1], int(found[2])) if found else (text, 0)
    return None if name == NON_RUNNER else name, claim


def money(text: str | None) -> tuple[Decimal | None, str | None]:
    """Amount and currency; without a sign it is sterling. A sign that is not known is kept in place of its code.

    >>> money("£4,193"), money("€7080"), money("3245.08"), money(None)
    ((Decimal('4193'), 'GBP'), (Decimal('7080'), 'EUR'), (Decimal('3245.08'), 'GBP'), (None, None))
    """
    if text is None:
        return None, None
    found = _MONEY.fullmatch(text.strip())
    sign = found[1].strip() if found else ""
    # Letters or the sign of a currency: the minus of a debt is neither.
    if found is None or not all(one.isalpha() or unicodedata.category(one) == "Sc" for one in sign):
        raise ValueError(f"{text!r} is no sum of money")
    return Decimal(found[2].replace(",", "")), _CURRENCIES.get(sign, sign)


def yards(text: str | None) -> int | None:
    """A distance as racecards write it; a mile has 1,760 yards, a furlong 220.

    >>> yards("2m53y"), yards("2m6f31y"), yards("5f"), yards(None)
    (3573, 4871, 1100, None)
    """
    if text is None:
        return None
    found = _MILES.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is no distance in miles, furlongs and yards")
    miles, furlongs, rest = (int(number or 0) for number in found.groups())
    return miles * 1760 + furlongs * 220 + rest


def seconds(text: str | None) -> Decimal | None:
    """A time of minutes and seconds.

    >>> seconds("1:43.25"), seconds("58.40"), seconds(None)
    (Decimal('103.25'), Decimal('58.40'), None)
    """
    if text is None:
        return None
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time of minutes and seconds")
    return int(found[1] or 0) * 60 + Decimal(found[2])


def price_and_mark(text: str | None) -> tuple[str | None, str | None]:
    """A starting price without the F, J or C of the favourite, the joint and the co-favourites.

    >>> price_and_mark("9/4F"), price_and_mark("EvensF"), price_and_mark("10/1"), price_and_mark(None)
    (('9/4', 'F'), ('Evens', 'F'), ('10/1', None), (None, None))
    """
    found = re.fullmatch(r"(.+?)([FJC])", text or "")
    return (found[1], found[2]) if found else (text, None)


def number_before(text: str | None) -> int | None:
    """The number with which a text begins: of "8 hurdles" and "128 (9F)".

    >>> number_before("11 hurdles"), number_before("128 (9F)"), number_before("(32F)"), number_before(None)
    (11, 128, None, None)
    """
    found = _NUMBER_BEFORE.fullmatch(text or "")
    # In brackets stands a number of something else: "(32F)" are days since a race on the flat.
    outside = re.sub(r"\([^()]*\)", "", text or "")
    if found is None and (any(map(str.isnumeric, outside)) or outside.strip("+- ").lower() in _NO_NUMBERS):
        raise ValueError(f"{text!r} begins with no whole number")
    return int(found[1]) if found else None


def uk_instant(text: str) -> dt.datetime:
    """An instant that the API writes without a zone, taken for UK time: an assumption, nothing says so.

    >>> uk_instant("2025-10-13 14:11:07").isoformat(), uk_instant("2025-10-13T14:11:07Z").isoformat()
    ('2025-10-13T13:11:07+00:00', '2025-10-13T14:11:07+00:00')
    """
    instant = dt.datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=_UK)).astimezone(dt.UTC)
