"""The Racing API, racecards: races, runners and prices."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Race(Row):
    """A race as its card announces it."""

    race_id: str = Field(description="rac_...")
    race_date: dt.date = Field(description="UK date")
    off_dt: AwareDatetime = Field(description="planned start")
    course_id: str = Field(description="crs_...")
    race_name: str
    is_abandoned: bool


class Runner(Row):
    """A horse in a race."""

    race_id: str
    race_date: dt.date
    horse_id: str = Field(description="hrs_...")
    horse: str = Field(description="name without country")
    number: str = Field(description="saddle cloth; NR for a withdrawn one")


class Price(Row):
    """A price that a bookmaker offered."""

    race_id: str
    race_date: dt.date
    horse_id: str
    bookmaker: str
    updated: str = Field(description="as sent, without a zone")
    fractional: str


RACE, RUNNER = ("race_date", "race_id"), ("race_date", "race_id", "horse_id")


class RacingCards(Processor):
    """Three levels of one list."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table("ra_races", Race, RACE, "race_date", unique=(("race_id",),), unique_within_days=31),
        Table("ra_runners", Runner, RUNNER, "race_date", parent=("ra_races", RACE)),
        Table("ra_runner_odds", Price, (*RUNNER, "bookmaker", "updated"), "race_date", parent=("ra_runners", RUNNER)),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002, D102
        for race in landed_json(page.body)["racecards"]:
            ours = {"race_id": race["race_id"], "race_date": race["date"]}
            told = {name: race[name] for name in ("off_dt", "course_id", "race_name", "is_abandoned")}
            yield "ra_races", {**ours, **told}
            for runner in race["runners"]:
                mine = {**ours, "horse_id": runner["horse_id"]}
                yield "ra_runners", {**mine, "horse": runner["horse"], "number": runner["number"]}
                prices = {(price["bookmaker"], price["updated"]): price["fractional"] for price in runner["odds"]}
                for (bookmaker, updated), price in prices.items():
                    yield "ra_runner_odds", {**mine, "bookmaker": bookmaker, "updated": updated, "fractional": price}
