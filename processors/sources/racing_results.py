"""The Racing API, results: how races ended."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Result(Row):
    """A race that was run."""

    race_id: str = Field(description="rac_...")
    race_date: dt.date = Field(description="UK date")
    off_dt: AwareDatetime = Field(description="start")
    course_id: str = Field(description="crs_...")
    non_runners: str = Field(description="free text")


class ResultRunner(Row):
    """A horse that started."""

    race_id: str
    race_date: dt.date
    horse_id: str = Field(description="hrs_...")
    horse: str = Field(description="name with country")
    position: str = Field(description="1, 2 ... or letters, PU for pulled up")


RACE = ("race_date", "race_id")


class RacingResults(Processor):
    """Races and their starters."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table("ra_results", Result, RACE, "race_date", unique=(("race_id",),), unique_within_days=31),
        Table("ra_result_runners", ResultRunner, (*RACE, "horse_id"), "race_date", parent=("ra_results", RACE)),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002, D102
        for race in landed_json(page.body)["results"]:
            ours = {"race_id": race["race_id"], "race_date": race["date"]}
            yield "ra_results", {**ours, **{name: race[name] for name in ("off_dt", "course_id", "non_runners")}}
            for runner in race["runners"]:
                yield (
                    "ra_result_runners",
                    {**ours, **{name: runner[name] for name in ("horse_id", "horse", "position")}},
                )
