"""The Racing API, results: how races ended."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import Fill, LandedPage, Processor, Table
from processors.platforms.racing_api import (
    RACE,
    RUNNER,
    RaceRow,
    RunnerRow,
    entity_fills,
    money,
    name_and_region,
    number_before,
    price_and_mark,
    seconds,
    told,
)
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Result(RaceRow):
    """A race that was run."""

    off_at: AwareDatetime = Field(alias="off_dt", description="start, UTC")
    race_class: str | None = Field(alias="class", description="NULL outside Britain")
    sex_restriction: str | None = Field(alias="sex_rest")
    distance_yards: int | None = Field(alias="dist_y")
    distance_furlongs: Decimal | None = Field(description="rounded, 220 yards each")
    distance_m: Decimal | None = Field(alias="dist_m", description="metres")
    winning_time_detail: str | None
    comments: str | None
    non_runners: str | None = Field(description="free text: names with reasons")
    tote_win: str | None = Field(description="as sent, with the sign of the currency; the others too")
    tote_pl: str | None
    tote_ex: str | None
    tote_csf: str | None
    tote_tricast: str | None
    tote_trifecta: str | None


class ResultRunner(RunnerRow):
    """A horse that started."""

    horse_region: str | None = Field(description="where it was bred")
    sex_code: str | None = Field(alias="sex", description="G, M, F, C, H, R")
    damsire_region: str | None = Field(description="mostly not told")
    jockey_id: str | None
    jockey: str | None
    claim_lbs: int | None = Field(alias="jockey_claim_lbs", description="pounds that the jockey claimed")
    number: str | None = Field(description="saddle cloth")
    weight_lbs: int | None = Field(description="pounds carried")
    official_rating: int | None = Field(alias="or")
    position: str = Field(description="1, 2 ... or letters: PU pulled up, UR unseated, F fell")
    beaten_lengths: Decimal | None = Field(alias="btn", description="behind the one in front")
    beaten_overall_lengths: Decimal | None = Field(alias="ovr_btn", description="behind the winner")
    time_s: Decimal | None = Field(description="seconds")
    starting_price: str | None = Field(description="fraction, without the favourite's mark")
    favourite_mark: str | None = Field(description="F favourite, J joint, C co-favourite")
    starting_price_decimal: Decimal | None = Field(alias="sp_dec", description="return of one unit, stake included")
    prize: Decimal | None = Field(description="in prize_currency")
    prize_currency: str | None = Field(description="ISO 4217, or the sign where it is not known")
    rpr: int | None = Field(description="Racing Post Rating of this run")
    tsr: int | None = Field(description="Topspeed of this run")
    comment: str | None = Field(description="how the race went for it")


class RacingResults(Processor):
    """Races and their starters: the other half of the views that racecards fill, and believed where both tell."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "ra_results",
            Result,
            RACE,
            "race_date",
            unique=(("race_id",),),
            unique_within_days=31,
            ignored=frozenset({"off", "dist", "dist_f"}),
            fills=(Fill("ra_races", " ".join(RACE), marker="has_result", precedence=1),),
        ),
        Table(
            "ra_result_runners",
            ResultRunner,
            RUNNER,
            "race_date",
            parent=("ra_results", RACE),
            ignored=frozenset({"weight", "sp", "time"}),
            fills=(
                Fill("ra_runners", " ".join(RUNNER), marker="is_in_result", precedence=1),
                *entity_fills(1, cards=False),
            ),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002, D102
        for race in landed_json(page.body)["results"]:
            result = told(race)
            runners, ours = result.pop("runners"), {"race_id": result["race_id"], "race_date": result["date"]}
            furlongs = result["dist_f"]
            result["distance_furlongs"] = furlongs and furlongs.removesuffix("f")
            result["jumps"] = number_before(result["jumps"])
            yield "ra_results", result
            for runner in runners:
                row = {**told(runner), **ours}
                row["horse"], row["horse_region"] = name_and_region(row["horse"])
                for parent in ("sire", "dam", "damsire"):
                    row[parent], row[f"{parent}_region"] = name_and_region(row[parent])
                row["draw"] = None if row["draw"] == "0" else row["draw"]
                row["starting_price"], row["favourite_mark"] = price_and_mark(row["sp"])
                row["time_s"] = seconds(row["time"])
                row["prize"], row["prize_currency"] = money(row["prize"])
                yield "ra_result_runners", row
