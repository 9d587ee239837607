"""What tables of the sample racing world must hold, as rows: from the world itself and not from its answers.

Every function takes the world, the UK dates that were asked, and which of both sources was asked about all of them: the
cards, the results or both. A value is None where the API says "", "-" or "–", and where only the other source has it.
Money is a `Decimal` beside its currency, weights are in pounds, times in seconds, instants in UTC. The names of the
columns are the plain ones: a test maps them to those of its tables.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

from deployments.local.upstreams.racing_people import Parent, Person
from deployments.local.upstreams.racing_world import NON_RUNNER_JOCKEY, UK, Race, RacingWorld, Runner

Row = dict[str, Any]
_OUTCOME: tuple[str, ...] = (
    "position",
    "beaten",
    "beaten_overall",
    "time_s",
    "starting_price",
    "starting_price_decimal",
)
_OUTCOME += ("favourite_mark", "prize", "rpr", "tsr", "comment")
_CURRENCIES = {"gb": "GBP", "aus": "AUD"}


def races(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True, results: bool = True) -> list[Row]:
    """One row per race; without the cards, none of an abandoned race."""
    return [_race(race, cards, results) for race in _seen(world, dates, cards)]


def runners(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True, results: bool = True) -> list[Row]:
    """One row per horse in a race; without the cards, none of a horse that did not run.

    ``did_run`` is None where no result tells. The jockey of a known non-runner may be `NON_RUNNER_JOCKEY`: then None.
    """
    return [
        _runner(race, runner, cards, results)
        for race in _seen(world, dates, cards)
        for runner in race.runners
        if cards or runner.outcome is not None
    ]


def prices(world: RacingWorld, dates: Iterable[dt.date]) -> list[Row]:
    """One row per horse in a race and bookmaker; the cards alone have them."""
    return [
        {
            "race_id": race.id,
            "race_date": race.date,
            "horse_id": runner.horse.id,
            "bookmaker": price.bookmaker,
            "updated_at": price.updated.replace(tzinfo=UK).astimezone(dt.UTC),
            "fractional": price.fractional,
            "decimal": price.decimal,
            "each_way_places": price.each_way_places,
            "each_way_denominator": price.each_way_denominator,
        }
        for race in _seen(world, dates, True)
        for runner in race.runners
        for price in runner.prices
    ]


def horses(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True) -> list[Row]:
    """One row per horse, as on the last of the dates that it is seen on; what only cards tell is None without them."""

    def columns(runner: Runner) -> Row:
        horse = runner.horse
        return {
            "name": horse.name,
            "region": horse.region,
            "sex_code": horse.sex_code,
            "sire_id": horse.sire.id,
            "dam_id": horse.dam.id,
            "damsire_id": horse.damsire.id,
            "dob": horse.dob if cards else None,
            "sex": horse.sex if cards else None,
            "colour": horse.colour if cards else None,
            "breeder": horse.breeder if cards else None,
        }

    return _entities(world, dates, cards, lambda runner: runner.horse.id, columns)


def jockeys(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True) -> list[Row]:
    """One row per jockey, with the newest name and without the allowance that cards write behind it."""
    return _people(world, dates, cards, lambda runner: None if _has_no_jockey(runner) else runner.jockey)


def trainers(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True) -> list[Row]:
    """One row per trainer; cards alone have the ``location``."""
    return _people(world, dates, cards, lambda runner: runner.horse.trainer)


def owners(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True) -> list[Row]:
    """One row per owner."""
    return _people(world, dates, cards, lambda runner: runner.horse.owner)


def sires(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True) -> list[Row]:
    """One row per sire."""
    return _parents(world, dates, cards, lambda runner: runner.horse.sire, has_region=True)


def dams(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True) -> list[Row]:
    """One row per dam."""
    return _parents(world, dates, cards, lambda runner: runner.horse.dam, has_region=True)


def damsires(world: RacingWorld, dates: Iterable[dt.date], *, cards: bool = True) -> list[Row]:
    """One row per damsire; results do not tell the region."""
    return _parents(world, dates, cards, lambda runner: runner.horse.damsire, has_region=cards)


def bookmakers(world: RacingWorld, dates: Iterable[dt.date]) -> list[str]:
    """Those with a price, in alphabetical order."""
    return sorted({row["bookmaker"] for row in prices(world, dates)})


def _seen(world: RacingWorld, dates: Iterable[dt.date], cards: bool) -> Iterator[Race]:
    for date in sorted(set(dates)):
        yield from (race for race in world.races_on(date) if cards or not race.is_abandoned)


def _race(race: Race, cards: bool, results: bool) -> Row:
    has_result = results and not race.is_abandoned
    gone = ", ".join(f"{one.horse.name} ({one.withdrawn})" for one in race.runners if one.withdrawn)
    return {
        "race_id": race.id,
        "race_date": race.date,
        "region": race.region_code.upper(),
        "course_id": race.course.id,
        "course": race.course.name,
        "off_at": race.off.astimezone(dt.UTC),
        "name": race.name,
        "type": race.type,
        "race_class": race.race_class or None,
        "pattern": race.pattern or None,
        "rating_band": race.rating_band or None,
        "age_band": race.age_band,
        "sex_restriction": race.sex_restriction or None,
        "distance_yards": race.yards,
        "distance_furlongs": race.furlongs,
        "distance_m": race.metres if has_result else None,
        "going": race.going,
        "surface": race.surface,
        "jumps": race.jumps or None,
        "prize": Decimal(race.prize) if cards else None,
        "prize_currency": _currency(race) if cards else None,
        "field_size": race.field_size if cards else None,
        "is_big_race": race.is_big if cards else None,
        "is_abandoned": race.is_abandoned if cards else None,
        "has_result": has_result,
        "non_runners": gone or None if has_result else None,
    }


def _runner(race: Race, runner: Runner, cards: bool, results: bool) -> Row:
    horse, ended = runner.horse, runner.outcome if results else None
    row = {
        "race_id": race.id,
        "race_date": race.date,
        "horse_id": horse.id,
        "age": runner.age,
        "sex_code": horse.sex_code,
        "number": runner.number,
        "draw": runner.draw,
        "jockey_id": None if _has_no_jockey(runner) else runner.jockey.id,
        "claim_lbs": runner.claim_lbs,
        "trainer_id": horse.trainer.id,
        "owner_id": horse.owner.id,
        "weight_lbs": runner.weight_lbs,
        "headgear": runner.headgear or None,
        "official_rating": runner.official_rating,
        "card_rpr": runner.rpr if cards else None,
        "card_ts": runner.ts if cards else None,
        "days_since_last_run": runner.days_since_last_run if cards else None,
        "form": runner.form or None if cards else None,
        "did_run": runner.outcome is not None if results and not race.is_abandoned else None,
    }
    row |= {name: None if ended is None else getattr(ended, name) or None for name in _OUTCOME}
    if ended is not None:
        row |= {name: getattr(ended, name) for name in ("beaten", "beaten_overall", "tsr")}
    row["prize_currency"] = _currency(race) if row["prize"] is not None else None
    return row


def _people(
    world: RacingWorld, dates: Iterable[dt.date], cards: bool, who: Callable[[Runner], Person | None]
) -> list[Row]:
    def columns(runner: Runner) -> Row:
        person = who(runner)
        assert person is not None
        return {"name": person.name} | ({"location": person.location} if person.location and cards else {})

    def key(runner: Runner) -> str | None:
        person = who(runner)
        return None if person is None else person.id

    return _entities(world, dates, cards, key, columns)


def _parents(
    world: RacingWorld, dates: Iterable[dt.date], cards: bool, who: Callable[[Runner], Parent], *, has_region: bool
) -> list[Row]:
    def columns(runner: Runner) -> Row:
        return {"name": who(runner).name, "region": who(runner).region if has_region else None}

    return _entities(world, dates, cards, lambda runner: who(runner).id, columns)


def _entities(
    world: RacingWorld,
    dates: Iterable[dt.date],
    cards: bool,
    key: Callable[[Runner], str | None],
    columns: Callable[[Runner], Row],
) -> list[Row]:
    """By id: the columns of the newest sighting, and the dates of the first and of the last one."""
    found: dict[str, Row] = {}
    for race in _seen(world, dates, cards):
        for runner in race.runners:
            identity = key(runner)
            if identity is None or not (cards or runner.outcome is not None):
                continue
            first = found[identity]["first_seen"] if identity in found else race.date
            found[identity] = {"id": identity, **columns(runner), "first_seen": first, "last_seen": race.date}
    return [found[identity] for identity in sorted(found)]


def _currency(race: Race) -> str:
    return _CURRENCIES.get(race.region_code, "EUR")


def _has_no_jockey(runner: Runner) -> bool:
    return runner.jockey == NON_RUNNER_JOCKEY
