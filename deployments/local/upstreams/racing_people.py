"""Who takes part in the sample racing world: horses with their parents, and people. All names are invented.

Everybody is a function of a number, and of the date where something about them changes: a colt is gelded, a horse gets
another trainer, owner or name, a trainer moves yard, a jockey marries. A number stands for one horse for six years,
from two years old to seven; then for the next one, under another id.
"""

from __future__ import annotations

import datetime as dt
import functools
import random
from dataclasses import dataclass, replace

_FIRST = "Amber Bold Crimson Distant Early Frosty Golden Hidden Iron Jolly Kind Lucky Misty Noble Old Proud Quiet Royal"
_FIRST += " Silver Tidal Upper Velvet Wild Young Brave Copper Dusty Eastern Flying Gentle"
_SECOND = (
    "Arrow Bell Castle Dancer Echo Falcon Garden Harbour Island Jester Knight Lantern Meadow Nightjar Orchard Piper"
)
_SECOND += " Quest River Sonata Thunder Venture Whisper Yarrow Zephyr Anchor Bridge Comet Drum Ember Fiddler"
_GIVEN = "Aidan Bryony Cal Deirdre Eoin Freya Gwyn Hollis Isla Jem Kieran Lorna Mab Niall Orla Perran Rhys Saoirse Tam"
_GIVEN += " Una Verity Wilf Ailsa Bran Cormac Dilys"
_FAMILY = "Ashdown Brackley Corrigan Dunmore Eastcott Fallowfield Garrity Heathcote Inchbald Jessop Kilbride Loxley"
_FAMILY += " Marchbank Netherby O'Farrelly Penhale Quarmby Redmayne Selwick Thornbury Underhill Varley Wetherby Yeoman"
_PLACES = (
    "Lambourn, Berks",
    "Newmarket, Suffolk",
    "Malton, N Yorks",
    "The Curragh, Co Kildare",
    "Chantilly, France",
    "Epsom, Surrey",
    "Middleham, N Yorks",
    "Closutton, Co Carlow",
)
_REGIONS = ("GB", "IRE", "IRE", "FR", "USA", "GER")
_COLOURS = ("b", "ch", "br", "gr", "b/br")
_EVERY_YEARS = 6

_FIRST_NAMES, _SECOND_NAMES = tuple(_FIRST.split()), tuple(_SECOND.split())
_GIVEN_NAMES, _FAMILY_NAMES = tuple(_GIVEN.split()), tuple(_FAMILY.split())


@dataclass(frozen=True)
class Person:
    """A jockey, trainer or owner as of a date; ``location`` is a trainer's, else empty."""

    id: str
    name: str
    location: str = ""


@dataclass(frozen=True)
class Parent:
    """A sire, dam or damsire."""

    id: str
    name: str
    region: str


@dataclass(frozen=True)
class Horse:
    """A horse as of a date.

    Attributes:
        sex_code: C, G, F or M: a colt, gelding, filly (up to four years old) or mare.
        region: Where it was foaled; results write it behind the name, cards do not.
    """

    id: str
    name: str
    dob: dt.date
    sex: str
    sex_code: str
    colour: str
    region: str
    breeder: str
    sire: Parent
    dam: Parent
    damsire: Parent
    trainer: Person
    owner: Person
    previous_trainer: Person | None
    previous_owner: Person | None
    moved_on: dt.date | None

    def age(self, date: dt.date) -> int:
        """Horses have their birthday on 1 January."""
        return date.year - self.dob.year


@dataclass(frozen=True)
class _Changing:
    """A person who is another one from a date on."""

    before: Person
    after: Person
    since: dt.date

    def at(self, date: dt.date) -> Person:
        return self.after if date >= self.since else self.before


@dataclass(frozen=True)
class _Life:
    """What there is to know about a horse; dates may lie after its last race. Trainers and owners are numbers."""

    horse: Horse
    other_name: str
    renamed_on: dt.date
    gelded_on: dt.date
    moved_on: dt.date
    trainers: tuple[int, int]
    owners: tuple[int, int]


@dataclass(frozen=True)
class People:
    """Everybody there is.

    Args:
        seed: Another one is another world.
        horses: How many there are at a time.
    """

    seed: int
    horses: int

    def horse(self, number: int, date: dt.date) -> Horse:
        """The horse of a number, 0 to ``horses`` - 1, as it is on the date."""
        birth_year = _EVERY_YEARS * ((date.year - 2 + number % _EVERY_YEARS) // _EVERY_YEARS) - number % _EVERY_YEARS
        life = _life(self, number, birth_year)
        has_moved = date >= life.moved_on
        horse = life.horse
        sex, code = horse.sex, horse.sex_code
        if code == "F" and horse.age(date) > 4:
            sex, code = "mare", "M"
        elif code == "C" and date >= life.gelded_on:
            sex, code = "gelding", "G"
        return replace(
            horse,
            name=life.other_name if date >= life.renamed_on else horse.name,
            sex=sex,
            sex_code=code,
            trainer=self.trainer(life.trainers[has_moved], date),
            owner=self.owner(life.owners[has_moved], date),
            previous_trainer=self.trainer(life.trainers[0], date) if has_moved else None,
            previous_owner=self.owner(life.owners[0], date) if has_moved else None,
            moved_on=life.moved_on if has_moved else None,
        )

    def trainer(self, number: int, date: dt.date) -> Person:
        """A quarter of them moves yard once."""
        return _trainer(self, number).at(date)

    def owner(self, number: int, date: dt.date) -> Person:
        """A quarter of them changes the name once."""
        return _owner(self, number).at(date)

    def jockey(self, number: int, date: dt.date) -> Person:
        """A quarter of them changes the name once."""
        return _jockey(self, number).at(date)

    @property
    def jockeys(self) -> int:
        """How many there are."""
        return max(self.horses // 4, 30)

    def dice(self, *what: object) -> random.Random:
        """Chance that is the same every time for the same thing."""
        return random.Random(f"{self.seed} {what}")  # noqa: S311 - repeatable, no secret


# Seeding costs 10 us and more, and everybody is asked for many times.
@functools.lru_cache(maxsize=50_000)
def _life(people: People, number: int, birth_year: int) -> _Life:
    dice = people.dice("horse", number, birth_year)
    dob = dt.date(birth_year, dice.randint(1, 5), dice.randint(1, 28))
    is_male = dice.random() < 0.6
    dam = dice.randrange(people.horses)
    first_trainer, second_trainer = dice.sample(range(max(people.horses // 12, 12)), 2)
    first_owner, second_owner = dice.sample(range(max(people.horses // 3, 20)), 2)
    gelded_on, moved_on, renamed_on = (dob + dt.timedelta(days=dice.randint(900, 1600)) for _ in range(3))
    horse = Horse(
        id=f"hrs_{20_000_000 + 100 * (birth_year - 1990) * people.horses + number}",
        name=_horse_name(dice),
        dob=dob,
        sex="colt" if is_male else "filly",
        sex_code="C" if is_male else "F",
        colour=dice.choice(_COLOURS),
        region=dice.choice(_REGIONS),
        breeder=f"{dice.choice(_FAMILY_NAMES)} Stud",
        sire=_sire(people, dice.randrange(max(people.horses // 20, 5))),
        dam=_dam(people, dam),
        damsire=_damsire(people, dam),
        trainer=people.trainer(first_trainer, dob),
        owner=people.owner(first_owner, dob),
        previous_trainer=None,
        previous_owner=None,
        moved_on=None,
    )
    return _Life(
        horse,
        other_name=_horse_name(dice),
        renamed_on=renamed_on if dice.random() < 0.05 else dt.date.max,
        gelded_on=gelded_on if dice.random() < 0.7 else dt.date.max,
        moved_on=moved_on if dice.random() < 0.4 else dt.date.max,
        trainers=(first_trainer, second_trainer),
        owners=(first_owner, second_owner),
    )


@functools.lru_cache(maxsize=50_000)
def _trainer(people: People, number: int) -> _Changing:
    dice = people.dice("trainer", number)
    name, key = f"{dice.choice(_GIVEN_NAMES)} {dice.choice(_FAMILY_NAMES)}", f"trn_{300_000 + 7 * number}"
    before, after = (Person(key, name, place) for place in dice.sample(_PLACES, 2))
    return _Changing(before, after, _some_day(dice) if number % 4 == 3 else dt.date.max)


@functools.lru_cache(maxsize=50_000)
def _owner(people: People, number: int) -> _Changing:
    dice, key = people.dice("owner", number), f"own_{1_300_000 + 11 * number}"
    before = Person(key, f"Mrs {dice.choice(_FAMILY_NAMES)} & Partners")
    after = Person(key, f"{dice.choice(_FAMILY_NAMES)} Racing Ltd")
    return _Changing(before, after, _some_day(dice) if number % 4 == 2 else dt.date.max)


@functools.lru_cache(maxsize=50_000)
def _jockey(people: People, number: int) -> _Changing:
    dice, key = people.dice("jockey", number), f"jky_{250_000 + 3 * number}"
    given = dice.choice(_GIVEN_NAMES)
    before, after = (Person(key, f"{given} {family}") for family in dice.sample(_FAMILY_NAMES, 2))
    return _Changing(before, after, _some_day(dice) if number % 4 == 1 else dt.date.max)


@functools.lru_cache(maxsize=50_000)
def _sire(people: People, number: int) -> Parent:
    return _parent(people, "sire", f"sir_{4_500_000 + 13 * number}", number)


@functools.lru_cache(maxsize=50_000)
def _dam(people: People, number: int) -> Parent:
    return _parent(people, "dam", f"dam_{5_000_000 + 17 * number}", number)


@functools.lru_cache(maxsize=50_000)
def _damsire(people: People, dam_number: int) -> Parent:
    """The sire of a dam: as another horse's sire he has the same name and another id."""
    number = people.dice("damsire", dam_number).randrange(max(people.horses // 20, 5))
    sire = _sire(people, number)
    return Parent(f"dsi_{460_000 + 13 * number}", sire.name, sire.region)


def _parent(people: People, kind: str, key: str, number: int) -> Parent:
    dice = people.dice(kind, number)
    return Parent(key, _horse_name(dice), dice.choice(_REGIONS))


def _horse_name(dice: random.Random) -> str:
    name = f"{dice.choice(_FIRST_NAMES)} {dice.choice(_SECOND_NAMES)}"
    return name if dice.random() < 0.8 else f"{name.split()[0]}'s {name.split()[1]}"


def _some_day(dice: random.Random) -> dt.date:
    return dt.date(2023, 3, 1) + dt.timedelta(days=dice.randrange(1400))
