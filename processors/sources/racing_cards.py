"""The Racing API, racecards: races, runners and prices as they were announced."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import Fill, LandedPage, Processor, Row, Table
from processors.platforms.racing_api import (
    RACE,
    RUNNER,
    RaceRow,
    RunnerRow,
    entity_fills,
    jockey_and_claim,
    money,
    number_before,
    told,
    uk_instant,
    yards,
)
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Card(RaceRow):
    """A race as its card announces it."""

    off_at: AwareDatetime = Field(alias="off_dt", description="planned start, UTC")
    race_class: str | None = Field(description="NULL outside Britain")
    sex_restriction: str | None
    distance_yards: int | None
    distance_furlongs: Decimal | None = Field(alias="distance_f", description="rounded, 220 yards each")
    prize: Decimal | None = Field(description="in prize_currency")
    prize_currency: str | None = Field(description="ISO 4217, or the sign where it is not known")
    field_size: int | None = Field(description="runners, without those withdrawn")
    is_big_race: bool = Field(alias="big_race")
    is_abandoned: bool = Field(description="such a race never gets a result")
    going_detailed: str | None
    rail_movements: str | None
    stalls: str | None
    weather: str | None
    tip: str | None
    verdict: str | None
    betting_forecast: str | None


class CardRunner(RunnerRow):
    """A horse in a race as its card announces it."""

    horse_region: str | None = Field(alias="region", description="where it was bred")
    dob: dt.date | None = Field(description="date of birth")
    sex: str | None
    sex_code: str | None = Field(description="G, M, F, C, H, R")
    colour: str | None
    breeder: str | None
    damsire_region: str | None
    trainer_location: str | None
    jockey_id: str | None = Field(description="NULL while none is named, and for a withdrawn runner without one")
    jockey: str | None = Field(description="name without the claim")
    claim_lbs: int | None = Field(description="pounds that the jockey claims")
    number: str | None = Field(description="saddle cloth; NULL for a withdrawn runner")
    weight_lbs: int | None = Field(alias="lbs", description="pounds to carry")
    headgear_run: str | None
    wind_surgery: str | None
    wind_surgery_run: str | None
    official_rating: int | None = Field(alias="ofr")
    card_rpr: int | None = Field(alias="rpr", description="Racing Post Rating before the race")
    card_ts: int | None = Field(alias="ts", description="Topspeed before the race")
    last_run: str | None = Field(description="as sent: 20, or 128 (9F)")
    days_since_last_run: int | None
    form: str | None
    trainer_rtf: str | None = Field(description="per cent of the trainer's horses that run to form")
    card_comment: str | None = Field(alias="comment")
    spotlight: str | None


class Price(Row):
    """A price that a bookmaker offered."""

    race_id: str
    race_date: dt.date
    horse_id: str
    bookmaker: str
    updated_at: AwareDatetime = Field(description="UTC; sent without a zone, taken for UK time")
    fractional: str | None = Field(description="as sent: 9/4, Evens; NULL for a starting price that is not made yet")
    decimal: Decimal | None = Field(description="what one unit staked returns, stake included")
    each_way_places: int | None = Field(alias="ew_places")
    each_way_denominator: int | None = Field(alias="ew_denom", description="a place pays 1/n of the odds")


WITHOUT_LISTS = "trainer_14_days prev_trainers prev_owners quotes stable_tour medical past_results_flags"


class RacingCards(Processor):
    """Three levels of one list. Races and runners are one half of views, of which results are the other."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "ra_cards",
            Card,
            RACE,
            "race_date",
            unique=(("race_id",),),
            unique_within_days=31,
            ignored=frozenset({"off_time", "distance", "distance_round"}),
            fills=(Fill("ra_races", " ".join(RACE), marker="has_card"),),
        ),
        Table(
            "ra_card_runners",
            CardRunner,
            RUNNER,
            "race_date",
            parent=("ra_cards", RACE),
            ignored=frozenset(WITHOUT_LISTS.split()),
            fills=(Fill("ra_runners", " ".join(RUNNER), marker="is_in_card"), *entity_fills(0, cards=True)),
        ),
        Table(
            "ra_runner_odds",
            Price,
            (*RUNNER, "bookmaker", "updated_at"),
            "race_date",
            parent=("ra_card_runners", RUNNER),
            ignored=frozenset({"history", "updated"}),
            fills=(Fill("ra_mst_bookmakers", "bookmaker", columns="", seen_on="race_date"),),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002, D102
        for race in landed_json(page.body)["racecards"]:
            card = told(race)
            runners, ours = card.pop("runners"), {"race_id": card["race_id"], "race_date": card["date"]}
            card["distance_yards"], card["jumps"] = yards(card["distance"]), number_before(card["jumps"])
            card["prize"], card["prize_currency"] = money(card["prize"])
            yield "ra_cards", card
            for runner in runners:
                row = {**told(runner), **ours}
                prices, row["form"] = row.pop("odds"), runner["form"] or None  # its hyphen parts two seasons
                row["jockey"], row["claim_lbs"] = jockey_and_claim(row["jockey"])
                row["jockey_id"] = row["jockey_id"] if row["jockey"] else None
                row["number"] = None if row["number"] == "NR" else row["number"]
                row["draw"] = None if row["draw"] == "0" else row["draw"]
                row["days_since_last_run"] = number_before(row["last_run"])
                yield "ra_card_runners", row
                for price in prices:
                    one = {**told(price), **ours, "horse_id": row["horse_id"]}
                    one["updated_at"] = uk_instant(price["updated"])
                    one["fractional"] = None if one["fractional"] == "SP" else one["fractional"]
                    one["decimal"] = None if one["decimal"] == "0" else one["decimal"]
                    yield "ra_runner_odds", one
