"""The words in which the racing API tells of a race: its racecard and its result, which differ in nearly every name.

All values are strings. What one of both calls missing is "-" in the card and "–" (an en dash) in the result; a horse
has its country behind the name in the result only; a draw over jumps is "0" in the card and "" in the result.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from deployments.local.upstreams.racing_people import Horse, Parent, Person
from deployments.local.upstreams.racing_world import (
    CURRENCIES,
    REGIONS,
    Course,
    Outcome,
    Price,
    Race,
    Runner,
    decimal_of,
)


def course(one: Course) -> dict[str, str]:
    """An element of ``/v1/courses``."""
    return {
        "id": one.id,
        "course": one.name,
        "region_code": one.region_code,
        "region": REGIONS[one.region_code],
    }


def card(race: Race, *, is_early: bool = False) -> dict[str, Any]:
    """An element of ``/v1/racecards/pro``, and ``/v1/racecards/{race_id}/pro``.

    An early one has neither jockeys nor prices nor withdrawals.
    """
    favourites = sorted(race.runners, key=lambda runner: _chance(runner))[:3]
    return {
        "race_id": race.id,
        "course": race.course.name,
        "course_id": race.course.id,
        "date": race.date.isoformat(),
        "off_time": _clock(race.off),
        "off_dt": race.off.isoformat(),
        "race_name": race.name,
        "distance_round": _miles(race.furlongs * 220),
        "distance": _miles(race.yards),
        "distance_f": f"{race.furlongs}.0",
        "region": race.region_code.upper(),
        "pattern": race.pattern,
        "sex_restriction": race.sex_restriction,
        "race_class": race.race_class,
        "type": race.type,
        "age_band": race.age_band,
        "rating_band": race.rating_band,
        "prize": f"{CURRENCIES[race.region_code]}{race.prize:,}",
        "field_size": str(len(race.runners) if is_early else race.field_size),
        "going_detailed": "",
        "rail_movements": "",
        "stalls": "",
        "weather": "",
        "going": race.going,
        "surface": race.surface,
        "jumps": _jumps(race),
        "big_race": race.is_big,
        "is_abandoned": race.is_abandoned and not is_early,
        "tip": favourites[0].horse.name,
        "verdict": f"{favourites[0].horse.name.upper()} has run well on this ground.",
        "betting_forecast": ", ".join(f"{_fraction(runner)} {runner.horse.name}" for runner in favourites),
        "runners": [_card_runner(index, runner, is_early) for index, runner in enumerate(race.runners, 1)],
    }


def result(race: Race) -> dict[str, Any]:
    """An element of ``/v1/results``, and ``/v1/results/{race_id}``; not for an abandoned race."""
    finishers = race.finishers
    won = finishers[0][1]
    sign = CURRENCIES[race.region_code]
    gone = [f"{one.horse.name} ({one.withdrawn})" for one in race.runners if one.withdrawn]
    is_home = race.region_code in ("gb", "ire")
    return {
        "race_id": race.id,
        "date": race.date.isoformat(),
        "region": race.region_code.upper(),
        "course": race.course.name,
        "course_id": race.course.id,
        "off": _clock(race.off),
        "off_dt": race.off.isoformat(),
        "race_name": race.name,
        "type": race.type,
        "class": race.race_class,
        "pattern": race.pattern,
        "rating_band": race.rating_band,
        "age_band": race.age_band,
        "sex_rest": race.sex_restriction,
        "dist": _miles(race.furlongs * 220),
        "dist_y": str(race.yards),
        "dist_m": str(race.metres) if is_home else f"{race.metres}.0",
        "dist_f": f"{race.furlongs}f",
        "going": race.going,
        "surface": race.surface,
        "jumps": _jumps(race),
        "winning_time_detail": _long_time(won.time_s),
        "comments": "",
        "non_runners": ", ".join(gone),
        "tote_win": f"{sign}{won.starting_price_decimal}" if is_home else "",
        "tote_pl": f"{sign}1.70 {sign}1.20" if is_home and len(finishers) > 4 else "",
        "tote_ex": f"{sign}6.20" if is_home else "",
        "tote_csf": f"{sign}6.54" if is_home else "",
        "tote_tricast": f"{sign}16.20" if is_home and len(finishers) > 7 else "",
        "tote_trifecta": f"{sign}15.20" if is_home else "",
        "runners": [_result_runner(race, runner, ended) for runner, ended in finishers],
    }


def _card_runner(index: int, runner: Runner, is_early: bool) -> dict[str, Any]:
    horse = runner.horse
    claim = f"({runner.claim_lbs})" if runner.claim_lbs else ""
    number = str(index) if is_early or runner.number is not None else "NR"
    return {
        "horse_id": horse.id,
        "horse": horse.name,
        "dob": horse.dob.isoformat(),
        "age": str(runner.age),
        "sex": horse.sex,
        "sex_code": horse.sex_code,
        "colour": horse.colour,
        "region": horse.region,
        "breeder": horse.breeder,
        **_card_parents(horse),
        "trainer": horse.trainer.name,
        "trainer_id": horse.trainer.id,
        "trainer_location": horse.trainer.location,
        "trainer_14_days": {"runs": "16", "wins": "4", "percent": "25"},
        "owner": horse.owner.name,
        "owner_id": horse.owner.id,
        "prev_trainers": _previous("trainer", horse.previous_trainer, horse.moved_on),
        "prev_owners": _previous("owner", horse.previous_owner, horse.moved_on),
        "comment": f"Ran well {index} starts ago.",
        "spotlight": "Goes on this ground; the drop in trip may help.",
        "quotes": [],
        "stable_tour": [],
        "medical": [{"date": horse.moved_on.isoformat(), "type": "Wind Surgery"}] if horse.moved_on else [],
        "number": number,
        "draw": "0" if runner.draw is None else str(runner.draw),
        "headgear": runner.headgear,
        "headgear_run": "",
        "wind_surgery": "",
        "wind_surgery_run": "",
        "past_results_flags": [],
        "lbs": str(runner.weight_lbs),
        "ofr": _or_hyphen(runner.official_rating),
        "rpr": _or_hyphen(runner.rpr),
        "ts": _or_hyphen(runner.ts),
        "jockey": "" if is_early else f"{runner.jockey.name}{claim}",
        "jockey_id": "" if is_early else runner.jockey.id,
        "silk_url": _silks(horse),
        "last_run": "" if runner.days_since_last_run is None else str(runner.days_since_last_run),
        "form": runner.form,
        "trainer_rtf": "45",
        "odds": [] if is_early else [_odds(price) for price in runner.prices],
    }


def _card_parents(horse: Horse) -> dict[str, str]:
    fields: dict[str, str] = {}
    for role, parent in (("dam", horse.dam), ("sire", horse.sire), ("damsire", horse.damsire)):
        fields |= {role: parent.name, f"{role}_id": parent.id, f"{role}_region": parent.region}
    return fields


def _result_runner(race: Race, runner: Runner, ended: Outcome) -> dict[str, str]:
    horse = runner.horse
    has_sign = race.region_code != "gb"
    prize = "" if ended.prize is None else str(ended.prize)
    return {
        "horse_id": horse.id,
        "horse": _with_region(horse),
        "sp": f"{ended.starting_price}{ended.favourite_mark}",
        "sp_dec": str(ended.starting_price_decimal),
        "number": str(runner.number),
        "position": ended.position,
        "draw": "" if runner.draw is None else str(runner.draw),
        "btn": _lengths(ended.beaten),
        "ovr_btn": _lengths(ended.beaten_overall),
        "age": str(runner.age),
        "sex": horse.sex_code,
        "weight": f"{runner.weight_lbs // 14}-{runner.weight_lbs % 14}",
        "weight_lbs": str(runner.weight_lbs),
        "headgear": runner.headgear,
        "time": _short_time(ended.time_s),
        "or": _or_dash(runner.official_rating),
        "rpr": _or_dash(ended.rpr),
        "tsr": _or_dash(ended.tsr),
        "prize": f"{CURRENCIES[race.region_code]}{prize}" if prize and has_sign else prize,
        "jockey": runner.jockey.name,
        "jockey_claim_lbs": str(runner.claim_lbs),
        "jockey_id": runner.jockey.id,
        "trainer": horse.trainer.name,
        "trainer_id": horse.trainer.id,
        "owner": horse.owner.name,
        "owner_id": horse.owner.id,
        "sire": _with_region(horse.sire),
        "sire_id": horse.sire.id,
        "dam": _with_region(horse.dam),
        "dam_id": horse.dam.id,
        # The real API gives no country here.
        "damsire": horse.damsire.name,
        "damsire_id": horse.damsire.id,
        "comment": ended.comment,
        "silk_url": _silks(horse),
    }


def _odds(price: Price) -> dict[str, Any]:
    places, denominator = price.each_way_places, price.each_way_denominator
    return {
        "bookmaker": price.bookmaker,
        "fractional": price.fractional or "SP",
        "decimal": "0" if price.decimal is None else f"{price.decimal.normalize():f}",
        "ew_places": "" if places is None else str(places),
        "ew_denom": "" if denominator is None else str(denominator),
        "updated": price.updated.strftime("%Y-%m-%d %H:%M:%S"),
        "history": [],
    }


def _previous(role: str, person: Person | None, moved_on: dt.date | None) -> list[dict[str, str]]:
    if person is None or moved_on is None:
        return []
    return [{role: person.name, f"{role}_id": person.id, "change_date": moved_on.isoformat()}]


def _with_region(one: Horse | Parent) -> str:
    return f"{one.name} ({one.region})"


def _silks(horse: Horse) -> str:
    return f"https://silks.example/svg/{horse.owner.id}.svg"


def _clock(off: dt.datetime) -> str:
    """As a racegoer says it: a 12-hour clock, and whether it is morning goes without saying."""
    return f"{(off.hour - 1) % 12 + 1}:{off.minute:02d}"


def _miles(yards: int) -> str:
    miles, rest = divmod(yards, 1760)
    furlongs, rest = divmod(rest, 220)
    parts = ((miles, "m"), (furlongs, "f"), (rest, "y"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def _jumps(race: Race) -> str:
    return f"{race.jumps} {'hurdles' if race.type == 'Hurdle' else 'fences'}" if race.jumps else ""


def _lengths(beaten: Decimal | None) -> str:
    if beaten is None:
        return "-"
    text = f"{beaten.normalize():f}"
    return text.removeprefix("0") if text in ("0.5", "0.75") else text


def _short_time(time_s: Decimal | None) -> str:
    return "-" if time_s is None else f"{int(time_s) // 60}:{time_s % 60}"


def _long_time(time_s: Decimal | None) -> str:
    return "" if time_s is None else f"{int(time_s) // 60}m {time_s % 60}s (slow by 5.55s)"


def _or_hyphen(rating: int | None) -> str:
    return "-" if rating is None else str(rating)


def _or_dash(rating: int | None) -> str:
    return "–" if rating is None else str(rating)


def _fraction(runner: Runner) -> str:
    return runner.prices[0].fractional or "SP" if runner.prices else "SP"


def _chance(runner: Runner) -> Decimal:
    fraction = _fraction(runner)
    return Decimal(1000) if fraction == "SP" else decimal_of(fraction)
