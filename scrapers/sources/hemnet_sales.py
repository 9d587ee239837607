"""Hemnet, sold homes: every sale that its lists show, of areas by location id. https://www.hemnet.se/salda

A date cannot be asked for, and of a list no more than 2,500 sales are shown. So each area is read as a whole, in bands
of plots and homes, of living area, and of price, until each band is below that. See docs/sources/hemnet.md.
"""

import datetime as dt
import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from alerting.errors import SourceContractError
from alerting.reading_faults import reading_fault
from scrapers.bands import Band
from scrapers.base import Findings, Page, Request, Swept
from scrapers.html_bodies import parsed_embedded_json
from scrapers.partition import Partition
from scrapers.platforms.hemnet import ZONE, Hemnet
from scrapers.sweeps import digest_of

PATH = "/salda/bostader"
DATA = "__NEXT_DATA__"
PRICE_STEP_SEK = 25_000

_PLOTS, _HOMES = "tomt", ("villa", "radhus", "bostadsratt", "fritidshus", "gard", "other")
_GROUPS = {
    "villa": "HOUSES",
    "radhus": "ROW_HOUSES",
    "bostadsratt": "APARTMENTS",
    "fritidshus": "VACATION_HOMES",
    "tomt": "PLOTS",
    "gard": "HOMESTEADS",
    "other": "OTHERS",
}
_BOUNDS = {"living_area": "livingArea", "price": "price"}
_NUMBER, _BETWEEN_THOUSANDS = re.compile(r"\d+(?:,\d+)?"), re.compile(r"(?<=\d)\s(?=\d{3})")
# Of a card: what makes the sale another one. Neither pictures nor people.
_FACTS: tuple[str, ...] = (
    "soldAt",
    "finalPrice",
    "askingPrice",
    "livingArea",
    "landArea",
    "rooms",
    "fee",
    "squareMeterPrice",
)
_FACTS += ("locationDescription", "listingId")
_STOCKHOLM = ZoneInfo(ZONE)


class HemnetSales(Hemnet):
    """A sale counts in the month in which it was sold, in Stockholm. Bounds of the site are inclusive on both sides."""

    title = "Hemnet: sold homes"
    tables = ("hemnet_sales",)
    accept = "text/html"
    step = "month"
    sweeps: tuple[str, ...] = ("17989",)
    # Plots or homes; square metres, of which the last step has all above; steps of 25,000 kronor, the last likewise.
    axes: ClassVar = (range(2), range(600), range(2_000))
    page_size = 50
    result_cap = 2_500
    grows = True
    floor = dt.date(2005, 1, 1)
    # Sales are reported days later, and corrected at any time: a later sweep finds them.
    settles_after = dt.timedelta(days=2)
    calls_guess = 60.0
    # Pages name brokers, streets and coordinates.
    raw_days = 180

    def first_request(self, partition: Partition) -> Request:  # noqa: ARG002 - a date cannot be asked for
        """The first page of all that the first area has."""
        return self.band_request(Band(self.sweeps[0], self.axes))

    def band_request(self, band: Band) -> Request:
        """The first page of a band; a side of it that is open is not asked for."""
        kinds, *bounds = band.ranges
        asked = [("location_ids[]", band.of)]
        if kinds != self.axes[0]:
            asked += [("item_types[]", kind) for kind in ((_PLOTS,) if kinds.start == 0 else _HOMES)]
        sizes = {"living_area": 1, "price": PRICE_STEP_SEK}
        for name, steps, axis in zip(_BOUNDS, bounds, self.axes[1:], strict=True):
            if steps.start != axis.start:
                asked.append((f"{name}_min", str(steps.start * sizes[name])))
            if steps.stop != axis.stop:
                # Half square metres lie between two steps; kronor are whole.
                end = steps.stop if name == "living_area" else steps.stop * PRICE_STEP_SEK - 1
                asked.append((f"{name}_max", str(end)))
        return Request(PATH, (*asked, ("page", "1")), cursor="1")

    def inspect(self, partition: Partition, page: Page) -> Findings:  # noqa: ARG002 - rows of every month are named
        """Every sale of the page, after a look at what the site understood."""
        document = parsed_embedded_json(page.body, DATA)
        number = int(dict(page.request.params)["page"])
        try:
            state = document["props"]["pageProps"]["__APOLLO_STATE__"]
            listed, understood = _list_and_echo(state["ROOT_QUERY"], self.page_size, (number - 1) * self.page_size)
            _refuse_another_echo(understood, page.request.params)
            total = _count(listed["total"])
            swept = tuple(self._swept(state[one["__ref"]]) for one in listed["cards"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SourceContractError(f"the sales have an unexpected shape: {reading_fault(error)}") from None
        if len({one.key for one in swept}) != len(swept) or len(swept) > self.page_size:
            raise SourceContractError(
                f"page {number} has {len(swept)} sales, and a page has {self.page_size}, each once"
            )
        following = None
        if number * self.page_size < min(total, self.result_cap):
            params = (*page.request.params[:-1], ("page", str(number + 1)))
            following = Request(PATH, params, cursor=str(number + 1))
        return Findings(
            {"hemnet_sales": len(swept)},
            source_total=total,
            swept=swept,
            next_request=following,
            empty_evidence="" if swept or total else f"{page.status}, total 0, and the bounds are echoed",
        )

    def _swept(self, card: Mapping[str, Any]) -> Swept:
        facts = [card[name] for name in _FACTS]
        form = card["housingForm"]["symbol"]
        if not (card["id"].isascii() and card["id"].isdigit()) or not isinstance(form, str):
            raise ValueError(f"the id is {card['id']!r}, the form {form!r}")
        sold_at = dt.datetime.fromtimestamp(float(card["soldAt"]), _STOCKHOLM)
        area, price = _number_in(card["livingArea"]), _number_in(card["finalPrice"])
        where = (
            0 if form == "PLOT" else 1,
            None if area is None else min(math.floor(area), self.axes[1].stop - 1),
            None if price is None else min(int(price) // PRICE_STEP_SEK, self.axes[2].stop - 1),
        )
        return Swept(card["id"], sold_at.date(), digest_of(json.dumps([*facts, form])), where)


def _list_and_echo(
    query: Mapping[str, Any], page_size: int, offset: int
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The list of sold homes, among lists of other things, and the search as the site has understood it."""
    found = {
        json.dumps(_arguments(name).get("limit")): (_arguments(name), one)
        for name, one in query.items()
        if _is_sold(name)
    }
    arguments, listed = found[str(page_size)]
    if arguments["offset"] != offset or arguments["sort"] != "NEWEST":
        raise SourceContractError(f"asked from sale {offset} on, the site gave from {arguments['offset']!r} on")
    return listed, found["0"][1]["inputSearch"]


def _is_sold(name: str) -> bool:
    return name.startswith("searchSales(")


def _arguments(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(name.partition("(")[2].removesuffix(")"))
    return found


def _refuse_another_echo(understood: Mapping[str, Any], params: tuple[tuple[str, str], ...]) -> None:
    """A bound that the site does not know is ignored in silence, as dates are: it must have understood all of them."""
    asked = dict(params)
    expected: dict[str, Any] = {
        "locationIds": [value for name, value in params if name == "location_ids[]"],
        "soldSince": "all",
    }
    for name, its in _BOUNDS.items():
        for side in ("min", "max"):
            value = asked.get(f"{name}_{side}")
            expected[f"{its}{side.capitalize()}"] = None if value is None else int(value)
    told = {name: understood[name] for name in expected}
    kinds = [_GROUPS[value] for name, value in params if name == "item_types[]"] or list(_GROUPS.values())
    if told != expected or sorted(understood["housingFormGroups"]) != sorted(kinds):
        raise SourceContractError(f"asked for {asked}, the site understood {told} of {understood['housingFormGroups']}")


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"the total is {value!r}")
    return value


def _number_in(text: str | None) -> float | None:
    """The first number of a text for people; None where there is none.

    >>> _number_in("42,5 m²"), _number_in("73+73 m²"), _number_in("3 600 000 kr"), _number_in("Pris på förfrågan")
    (42.5, 73.0, 3600000.0, None)
    """
    if text is None:
        return None
    found = _NUMBER.search(_BETWEEN_THOUSANDS.sub("", text))
    return float(found[0].replace(",", ".")) if found else None
