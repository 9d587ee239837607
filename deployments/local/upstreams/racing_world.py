"""A made-up racing world: the same date always gives the same races, in values and not yet in the words of the API.

`RacingWorld.races_on` is the truth that tests compare tables with; `racing_answers` puts it into the API's words, and
`racing_truth` gives it as rows. Nothing is kept but the last days asked for.

What a date has: no racing on 24 and 25 December, more than 50 races on 26 December with ``is_busy_boxing_day``, else a
few meetings in Great Britain and Ireland and now and then one abroad. Some races are abandoned; some runners are
withdrawn, half of them after the card was made.
"""

from __future__ import annotations

import datetime as dt
import functools
import random
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from deployments.local.upstreams.racing_people import Horse, People, Person

FIRST_DATE: Final = dt.date(2023, 1, 23)
LAST_DATE: Final = dt.date(2035, 12, 31)
UK: Final = ZoneInfo("Europe/London")
REGIONS: Final = {
    "gb": "Great Britain",
    "ire": "Ireland",
    "fr": "France",
    "ger": "Germany",
    "aus": "Australia",
    "spa": "Spain",
}
CURRENCIES: Final = {"gb": "£", "ire": "€", "fr": "€", "ger": "€", "aus": "A$", "spa": "€"}
_BOOKMAKERS = "Bet365,William Hill,Coral,Betfred,Boyle Sports,Ladbrokes,Unibet,Bet Goodwin,Bet Victor,10 Bet,BetMGM"
_BOOKMAKERS += ",Grosvenor Sports,Betway,Virgin Bet,talkSPORT BET,Dragon Bet,CopyBet,PricedUp Bet,Spreadex,BresBet"
_BOOKMAKERS += ",Star Sports,7Bet,BetTom,Gentlemen Jim,Midnite,SportingIndex,Quinn Bet,Betfair Exchange"
_PRICES = "4/6 4/5 10/11 Evens 11/10 5/4 6/4 13/8 7/4 15/8 2/1 9/4 5/2 11/4 3/1 100/30 7/2 4/1 9/2 5/1 11/2 6/1 13/2"
_PRICES += " 7/1 15/2 8/1 17/2 9/1 10/1 11/1 12/1 14/1 16/1 20/1 25/1 28/1 33/1 40/1 50/1 66/1 100/1"
BOOKMAKERS: Final = tuple(_BOOKMAKERS.split(","))
PRICES: Final = tuple(_PRICES.split())
NON_RUNNER_JOCKEY: Final = Person("jky_224913", "NON-RUNNER")
"""Who rides a horse in the card once it is known not to run, half of the time; no person."""

_COURSES = """
gb 832 Aintree|gb 52 Ascot|gb 234 Cartmel|gb 624 Hereford|gb 28054 Kempton (AW)|gb 10244 Southwell (AW)|gb 2782 York
gb 676 Huntingdon|gb 520 Fontwell|gb 1100 Newcastle|ire 4100 Curragh|ire 4204 Leopardstown|ire 4308 Punchestown
ire 4412 Dundalk (AW)|fr 5200 Chantilly|fr 5304 Auteuil|ger 6110 Baden-Baden|aus 7120 Newcastle|aus 7224 Randwick
spa 8128 Dos Hermanas
"""
_HOME = ("gb", "gb", "gb", "ire")
_GOINGS = ("Good", "Good To Soft", "Good To Firm", "Soft", "Heavy")
_FAILURES = ("PU", "UR", "F", "BD", "RO")
_MARGINS = ("0.05", "0.1", "0.2", "0.3", ".5", ".75", "1", "1.25", "1.5", "2", "2.75", "4.5", "14", "29")
_HEADGEAR = ("", "", "", "p", "t", "h", "tb")
_CLAIMS_LBS = (0, 0, 0, 0, 3, 5, 7)
_REASONS = ("unsuitable ground", "self certificate, coughing", "travel problems", "withdrawn, vet's advice")
_NO_RACING = {(12, 24), (12, 25)}


@dataclass(frozen=True)
class Course:
    """``region_code`` is in lower case here; races write it in capitals."""

    id: str
    name: str
    region_code: str


COURSES: Final = tuple(
    Course(f"crs_{digits}", name, code)
    for code, digits, name in (part.split(" ", 2) for part in _COURSES.strip().replace("\n", "|").split("|"))
)


@dataclass(frozen=True)
class Price:
    """A bookmaker's price for a runner; ``fractional`` None is "SP": none was offered.

    Attributes:
        updated: UK local time, as the API writes it: without a zone.
    """

    bookmaker: str
    fractional: str | None
    decimal: Decimal | None
    each_way_places: int | None
    each_way_denominator: int | None
    updated: dt.datetime


@dataclass(frozen=True)
class Outcome:
    """How a runner ended.

    Attributes:
        position: "1" and on, or letters: "PU" pulled up, "UR" unseated rider, "F" fell, ...
        beaten: Lengths behind the one before, and all in all; None with letters.
        time_s: None with letters.
        starting_price: Fraction without the favourite's mark, which is F, J, C or nothing.
        prize: In the currency of the region.
    """

    position: str
    beaten: Decimal | None
    beaten_overall: Decimal | None
    time_s: Decimal | None
    starting_price: str
    starting_price_decimal: Decimal
    favourite_mark: str
    prize: Decimal | None
    rpr: int | None
    tsr: int | None
    comment: str


@dataclass(frozen=True)
class Runner:
    """A horse in a race.

    Attributes:
        number: Saddle cloth; None once the card knows that it does not run.
        age: In years, on the day.
        draw: Stall; None over jumps.
        claim_lbs: What the jockey's allowance takes off the weight.
        official_rating, rpr, ts: Before the race, as the card has them.
        days_since_last_run: None for a first run.
        withdrawn: Why it does not run; empty = it runs.
        outcome: None for one that does not run or whose race is abandoned.
    """

    horse: Horse
    age: int
    number: int | None
    draw: int | None
    jockey: Person
    claim_lbs: int
    weight_lbs: int
    headgear: str
    official_rating: int | None
    rpr: int | None
    ts: int | None
    days_since_last_run: int | None
    form: str
    prices: tuple[Price, ...]
    withdrawn: str
    outcome: Outcome | None


@dataclass(frozen=True)
class Race:
    """A race as of its evening.

    Attributes:
        date: In the UK, also of races abroad; ``off`` is its instant.
        prize: Of the winner, in the currency of the region.
        jumps: Number of hurdles or fences; 0 on the flat.
        is_abandoned: It stays in the card and never gets a result.
    """

    id: str
    date: dt.date
    course: Course
    off: dt.datetime
    name: str
    type: str
    race_class: str
    pattern: str
    rating_band: str
    age_band: str
    sex_restriction: str
    yards: int
    going: str
    surface: str
    jumps: int
    prize: int
    is_big: bool
    is_abandoned: bool
    runners: tuple[Runner, ...]

    @property
    def region_code(self) -> str:
        """Of the course, in lower case."""
        return self.course.region_code

    @property
    def furlongs(self) -> int:
        """Rounded, as the API does."""
        return round(self.yards / 220)

    @property
    def metres(self) -> int:
        """Rounded, as the API does."""
        return round(self.yards * 0.9144)

    @property
    def field_size(self) -> int:
        """Without those that the card knows as withdrawn."""
        return sum(runner.number is not None for runner in self.runners)

    @property
    def finishers(self) -> tuple[tuple[Runner, Outcome], ...]:
        """Those that ran, as the result lists them; none of an abandoned race."""
        ran = [(runner, runner.outcome) for runner in self.runners if runner.outcome is not None]
        return tuple(sorted(ran, key=lambda one: _rank(one[1])))


@dataclass(frozen=True)
class RacingWorld:
    """The whole world; two of the same arguments are the same.

    Args:
        seed: Another one is another world.
        meetings: Least and most on a day.
        races: Least and most of a meeting.
        runners: Least and most of a race.
        bookmakers: Prices for each runner, at most 28.
        horses: How many there are at a time; more than run on one day.
        is_busy_boxing_day: Whether 26 December has more than 50 races.
    """

    seed: int = 1
    meetings: tuple[int, int] = (1, 3)
    races: tuple[int, int] = (5, 7)
    runners: tuple[int, int] = (3, 10)
    bookmakers: int = 5
    horses: int = 1500
    is_busy_boxing_day: bool = True

    @property
    def people(self) -> People:
        """Horses and people."""
        return People(self.seed, self.horses)

    def races_on(self, date: dt.date) -> tuple[Race, ...]:
        """All races of a UK date, abandoned ones too, by the time they start."""
        return _races_on(self, date)

    def race(self, race_id: str) -> Race | None:
        """A race by its id."""
        digits = race_id.removeprefix("rac_")
        if not (digits.isascii() and digits.isdigit()):
            return None
        date = FIRST_DATE + dt.timedelta(days=min((int(digits) - 10_900_000) // 200, 100_000))
        return next((race for race in self.races_on(date) if race.id == race_id), None)


@functools.lru_cache(maxsize=64)
def _races_on(world: RacingWorld, date: dt.date) -> tuple[Race, ...]:
    if not FIRST_DATE <= date <= LAST_DATE or (date.month, date.day) in _NO_RACING:
        return ()
    dice = world.people.dice("day", date)
    is_busy = world.is_busy_boxing_day and (date.month, date.day) == (12, 26)
    plan: list[tuple[Course, dt.datetime]] = []
    for course in _courses_of(world, dice, is_busy):
        first_h = {"aus": 5, "gb": dice.choice((12, 13, 13, 17))}.get(course.region_code, 14)
        local = dt.datetime.combine(date, dt.time(first_h, 5 * dice.randrange(12)), UK)
        count = 8 if is_busy else dice.randint(*world.races)
        plan += [(course, local + dt.timedelta(minutes=35 * number)) for number in range(count)]
    # Horses run once a day at most, so all races of the day share one draw.
    sizes = [dice.randint(*((2, 4) if is_busy else world.runners)) for _ in plan]
    numbers = iter(dice.sample(range(world.horses), sum(sizes)))
    jockeys = world.people.jockeys
    made = []
    for index, ((course, off), size) in enumerate(zip(plan, sizes, strict=True)):
        race_id = f"rac_{10_900_000 + 200 * (date - FIRST_DATE).days + index}"
        horses = [world.people.horse(next(numbers), date) for _ in range(size)]
        own = world.people.dice("race", race_id)
        riders = [world.people.jockey(number, date) for number in own.sample(range(jockeys), size)]
        made.append(_race(race_id, course, _Field(world, off, horses, riders, own)))
    return tuple(sorted(made, key=lambda race: (race.off, race.id)))


def _courses_of(world: RacingWorld, dice: random.Random, is_busy: bool) -> list[Course]:
    home = [course for course in COURSES if course.region_code in _HOME]
    abroad = [course for course in COURSES if course.region_code not in _HOME]
    chosen = dice.sample(home, 7 if is_busy else dice.randint(*world.meetings))
    return chosen + ([dice.choice(abroad)] if dice.random() < 0.3 and not is_busy else [])


@dataclass(frozen=True)
class _Field:
    """Who meets when, and the dice of their race."""

    world: RacingWorld
    off: dt.datetime
    horses: list[Horse]
    riders: list[Person]
    dice: random.Random


def _race(race_id: str, course: Course, field: _Field) -> Race:
    off, dice = field.off, field.dice
    is_all_weather = course.name.endswith("(AW)")
    kind = "Flat" if is_all_weather or course.region_code in ("aus", "ger", "spa") else dice.choice(("Flat", "Hurdle"))
    if kind == "Hurdle" and dice.random() < 0.4:
        kind = "Chase"
    yards = 220 * (dice.randint(5, 14) if kind == "Flat" else dice.randint(16, 24)) + dice.choice((0, 0, 13, 31, 53))
    is_big = dice.random() < 0.03
    number = dice.randint(2, 6)
    prize = dice.choice((3245, 3921, 4193, 7080, 12_450, 56_710 if is_big else 5248))
    is_abandoned = dice.random() < 0.02
    runners = _runners(field, kind, prize, yards, is_abandoned=is_abandoned)
    return Race(
        id=race_id,
        date=off.date(),
        course=course,
        off=off,
        name=f"{course.name.split(' ')[0]} {dice.choice(('Summer', 'Autumn', '£1Million', 'Novices’'))} {kind} Stakes",
        type=kind,
        race_class=f"Class {number}" if course.region_code == "gb" else "",
        pattern=dice.choice(("Group 1", "Group 3", "Listed")) if is_big else "",
        rating_band=f"0-{55 + 5 * number}" if dice.random() < 0.6 else "",
        age_band=dice.choice(("3yo+", "4yo+", "2yo+")),
        sex_restriction=dice.choice(("", "", "", "F", "M")),
        yards=yards,
        going="Standard" if is_all_weather else dice.choice(_GOINGS),
        surface="AW" if is_all_weather else "Turf",
        jumps=0 if kind == "Flat" else dice.randint(8, 16),
        prize=prize,
        is_big=is_big,
        is_abandoned=is_abandoned,
        runners=runners,
    )


def _runners(field: _Field, kind: str, prize: int, yards: int, *, is_abandoned: bool) -> tuple[Runner, ...]:
    off, horses, dice, count = field.off, field.horses, field.dice, len(field.horses)
    # Two run always: a race whose runners are all withdrawn would be another kind of race.
    withdrawn = ["" if index < 2 or dice.random() > 0.06 else dice.choice(_REASONS) for index in range(count)]
    stalls = dice.sample(range(1, count + 1), count)
    chances = [dice.randrange(len(PRICES)) for _ in horses]
    racing = [index for index in range(count) if not withdrawn[index]]
    outcomes = {} if is_abandoned else _outcomes(racing, chances, prize, yards, kind, dice)
    runners = []
    for index, (horse, rider) in enumerate(zip(horses, field.riders, strict=True)):
        is_known = bool(withdrawn[index]) and dice.random() < 0.5
        rated = [dice.randint(40, 120) if dice.random() < 0.8 else None for _ in range(3)]
        runners.append(
            Runner(
                horse=horse,
                age=horse.age(off.date()),
                number=None if is_known else index + 1,
                draw=stalls[index] if kind == "Flat" else None,
                jockey=NON_RUNNER_JOCKEY if is_known and dice.random() < 0.5 else rider,
                claim_lbs=dice.choice(_CLAIMS_LBS),
                weight_lbs=dice.randint(118, 140) if kind == "Flat" else dice.randint(140, 168),
                headgear=dice.choice(_HEADGEAR),
                official_rating=rated[0],
                rpr=rated[1],
                ts=rated[2],
                days_since_last_run=dice.randint(5, 300) if dice.random() < 0.9 else None,
                form="".join(dice.choice("1234567890-P/F") for _ in range(dice.randint(0, 6))),
                prices=_prices(field.world, chances[index], off, count, dice),
                withdrawn=withdrawn[index],
                outcome=outcomes.get(index),
            )
        )
    return tuple(runners)


def _prices(world: RacingWorld, chance: int, off: dt.datetime, count: int, dice: random.Random) -> tuple[Price, ...]:
    updated = off.replace(tzinfo=None) - dt.timedelta(seconds=dice.randint(30, 900))
    prices = []
    for bookmaker in sorted(dice.sample(BOOKMAKERS, world.bookmakers), key=BOOKMAKERS.index):
        fraction: str | None = PRICES[min(max(chance + dice.randint(-2, 2), 0), len(PRICES) - 1)]
        if dice.random() < 0.02:
            fraction = None
        has_places = count >= 5 and dice.random() < 0.7
        prices.append(
            Price(
                bookmaker,
                fraction,
                None if fraction is None else decimal_of(fraction),
                2 + (count >= 8) if has_places else None,
                dice.choice((4, 5)) if has_places else None,
                updated,
            )
        )
    return tuple(prices)


def _outcomes(
    racing: list[int], chances: list[int], prize: int, yards: int, kind: str, dice: random.Random
) -> dict[int, Outcome]:
    order = sorted(racing, key=lambda index: (chances[index] + dice.randint(0, 25), index))
    best = min(chances[index] for index in racing)
    shared = sum(chances[index] == best for index in racing)
    mark = "F" if shared == 1 else "J" if shared == 2 else "C"
    won_s = Decimal(round(yards * 5.9 * (1 if kind == "Flat" else 1.15)) + dice.randrange(100)) / 100
    outcomes: dict[int, Outcome] = {}
    overall = Decimal(0)
    for place, index in enumerate(order):
        has_failed = place > 0 and kind != "Flat" and dice.random() < 0.12
        beaten = Decimal(0) if place == 0 else Decimal(dice.choice(_MARGINS))
        overall += Decimal(0) if has_failed else beaten
        share = (Decimal("1"), Decimal("0.469"), Decimal("0.234"), Decimal("0.117"))
        outcomes[index] = Outcome(
            position=dice.choice(_FAILURES) if has_failed else str(len(outcomes) + 1),
            beaten=None if has_failed else beaten,
            beaten_overall=None if has_failed else overall,
            time_s=None if has_failed else won_s + (overall / 5).quantize(Decimal("0.01")),
            starting_price=PRICES[chances[index]],
            starting_price_decimal=decimal_of(PRICES[chances[index]]),
            favourite_mark=mark if chances[index] == best else "",
            prize=(prize * share[place]).quantize(Decimal("0.01")) if place < 4 and not has_failed else None,
            rpr=dice.randint(30, 130) if not has_failed and dice.random() < 0.9 else None,
            tsr=dice.randint(0, 110) if not has_failed and dice.random() < 0.8 else None,
            comment="Held up in rear - headway from over 2f out" if place % 2 else "Led - ridden over 1f out",
        )
    # Those that did not finish stand behind the others; the places close up.
    done = [index for index in order if outcomes[index].beaten is not None]
    for place, index in enumerate(done, 1):
        outcomes[index] = replace(outcomes[index], position=str(place))
    return outcomes


def _rank(outcome: Outcome) -> tuple[int, str]:
    return (int(outcome.position), "") if outcome.position.isdigit() else (9_999, outcome.position)


def decimal_of(fraction: str) -> Decimal:
    """A fractional price as the sum that comes back for one: "9/4" is 3.25, "Evens" is 2.00."""
    if fraction == "Evens":
        return Decimal("2.00")
    upper, lower = fraction.split("/")
    return (Decimal(upper) / Decimal(lower) + 1).quantize(Decimal("0.01"))
