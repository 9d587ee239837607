"""Who plays in the sample season: the thirty real teams and invented players, with the ids of both sources."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TEAMS = """
1 East Southeast Atlanta|Hawks ATL
2 East Atlantic Boston|Celtics BOS
3 East Atlantic Brooklyn|Nets BKN
4 East Southeast Charlotte|Hornets CHA
5 East Central Chicago|Bulls CHI
6 East Central Cleveland|Cavaliers CLE
7 West Southwest Dallas|Mavericks DAL
8 West Northwest Denver|Nuggets DEN
9 East Central Detroit|Pistons DET
10 West Pacific Golden State|Warriors GSW
11 West Southwest Houston|Rockets HOU
12 East Central Indiana|Pacers IND
13 West Pacific LA|Clippers LAC
14 West Pacific Los Angeles|Lakers LAL
15 West Southwest Memphis|Grizzlies MEM
16 East Southeast Miami|Heat MIA
17 East Central Milwaukee|Bucks MIL
18 West Northwest Minnesota|Timberwolves MIN
19 West Southwest New Orleans|Pelicans NOP
20 East Atlantic New York|Knicks NYK
21 West Northwest Oklahoma City|Thunder OKC
22 East Southeast Orlando|Magic ORL
23 East Atlantic Philadelphia|76ers PHI
24 West Pacific Phoenix|Suns PHX
25 West Northwest Portland|Trail Blazers POR
26 West Pacific Sacramento|Kings SAC
27 West Southwest San Antonio|Spurs SAS
28 East Atlantic Toronto|Raptors TOR
29 West Northwest Utah|Jazz UTA
30 East Southeast Washington|Wizards WAS
"""

_DEFUNCT = """
37 Chicago|Stags CHS
38 St. Louis|Bombers BOM
39 Cleveland|Rebels CLR
40 Detroit|Falcons DEF
41 Toronto|Huskies HUS
42 Washington|Capitols WAS
43 Providence|Steamrollers PRO
44 Pittsburgh|Ironmen PIT
45 Baltimore|Bullets BAL
46 Indianapolis|Jets JET
47 Anderson|Packers AND
48 Waterloo|Hawks WAT
49 Indianapolis|Olympians INO
50 Denver|Nuggets DN
51 Sheboygan|Redskins SHE
"""

# 1610612737 to 1610612766 at NBA.com.
_NBA_ORDER = (
    "ATL BOS CLE NOP CHI DAL DEN GSW HOU LAC LAL MIA MIL MIN BKN NYK ORL IND PHI PHX POR SAC SAS OKC TOR UTA MEM WAS "
    "DET CHA"
)
_FIRST_NBA_TEAM = 1_610_612_737
_ALL_STAR_TEAMS = {31: (1_610_616_833, "East"), 32: (1_610_616_834, "West")}

_FIRST = "Abel Amari Bram Caleb Cyrus Dario Dez Eamon Ezra Felix Gideon Hugo Ikem Ilya Jarek Joss Kofi Lars Leif Malik"
_FIRST += " Mateo Milo Nash Niko Odin Omar Pavel Quill Rafa Remy Rune Sami Soren Tariq Teo Ugo Viggo Wes Yusuf Zeke"
_LAST = "Abara Addington Balcer Barlowe Castellan Corwin Dahlgren Delacroix Ebner Fairbank Farrow Galloway Grimaldi"
_LAST += (
    " Hallam Holloway Ivanek Jorgen Kessler Kovalenko Lindqvist Lockhart Marchetti Mbeki Northcott Novak Okafor-Lund"
)
_LAST += " Osei Pemberton Quist Radley Rasmussen Sandoval Stroud Tamm Thackeray Ulrich Vandermeer Wexford Yarrow Zeller"
_COLLEGES = ("Ashford State", "Bellmare", "Cold Harbor", "Dunmore Tech", "East Prairie", "", "Fairwater", "Glen Ridge")
_COUNTRIES = ("USA", "USA", "USA", "USA", "Canada", "Sweden", "Nigeria", "Brazil", "Latvia")
_POSITIONS = ("G", "F", "C", "G-F", "F-C", "F-G", "C-F", "")

ROSTER_SIZE = 17


def _team(line: str) -> dict[str, Any]:
    number, conference, division, rest = line.split(" ", 3)
    place, abbreviation = rest.rsplit(" ", 1)
    city, name = place.split("|")
    return {
        "id": int(number),
        "conference": conference,
        "division": division,
        "city": city,
        "name": name,
        "full_name": f"{city} {name}",
        "abbreviation": abbreviation,
    }


TEAMS: tuple[dict[str, Any], ...] = tuple(_team(line) for line in _TEAMS.strip().splitlines())
"""As the real API spells them, in the order of their ids, 1 to 30."""


DEFUNCT_TEAMS: tuple[dict[str, Any], ...] = tuple(
    _team(f"{line.split(' ', 1)[0]} - - {line.split(' ', 1)[1]}") | {"conference": "    ", "division": ""}
    for line in _DEFUNCT.strip().splitlines()
)
"""Those of the first years, which Ball Don't Lie lists beside the thirty: no conference but blanks."""

ALL_STARS: tuple[dict[str, Any], ...] = tuple(
    _team(f"{number} {conference} - Team|{conference} {conference[0]}ST")
    for number, (_, conference) in _ALL_STAR_TEAMS.items()
)
"""The two teams of the All-Star game; their ids are ours, Ball Don't Lie does not have them."""


@dataclass(frozen=True)
class Team:
    """A team, with its id at both."""

    bdl_id: int
    nba_id: int
    tricode: str
    city: str
    name: str
    full_name: str
    conference: str
    division: str


@dataclass(frozen=True)
class Player:
    """A player, with his id at both; two may share a name.

    Attributes:
        position: G, F, C, two of them with a hyphen, or "".
        jersey: "" = not known.
    """

    bdl_id: int
    nba_id: int
    first_name: str
    last_name: str
    position: str
    jersey: str


def nba_team_id(team_id: int) -> int:
    """The id at NBA.com of a team by its id at Ball Don't Lie."""
    if team_id in _ALL_STAR_TEAMS:
        return _ALL_STAR_TEAMS[team_id][0]
    return _FIRST_NBA_TEAM + _NBA_ORDER.split().index(TEAMS[team_id - 1]["abbreviation"])


def team_of(team: Mapping[str, Any]) -> Team:
    """A team of ``TEAMS`` or ``ALL_STARS`` with its id at NBA.com."""
    return Team(
        team["id"],
        nba_team_id(team["id"]),
        team["abbreviation"],
        team["city"],
        team["name"],
        team["full_name"],
        team["conference"],
        team["division"],
    )


def player_of(player: Mapping[str, Any]) -> Player:
    """A player of ``roster`` with his id at NBA.com."""
    return Player(
        player["id"],
        player["id"] - 800_000,
        player["first_name"],
        player["last_name"],
        player["position"],
        player["jersey_number"] or "",
    )


def roster(team_id: int, season: int) -> list[dict[str, Any]]:
    """The players of a team in the season that starts in year ``season``; about a fifth of them change every year."""
    if team_id in _ALL_STAR_TEAMS:
        conference = _ALL_STAR_TEAMS[team_id][1]
        stars = [roster(team["id"], season)[:2] for team in TEAMS if team["conference"] == conference]
        return [star for rank in zip(*stars, strict=True) for star in rank][:ROSTER_SIZE]
    return [_player(team_id, slot, (season - 1980 + slot) // 5) for slot in range(ROSTER_SIZE)]


@functools.lru_cache(maxsize=20_000)
def _player(team_id: int, slot: int, stay: int) -> dict[str, Any]:
    """One player; ``stay`` counts the five-year stays in this place of the roster. Ids are unique over all years."""
    dice = random.Random(f"player {team_id} {slot} {stay}")  # noqa: S311
    is_drafted = dice.random() < 0.8
    first_year = 1980 + 5 * stay - slot
    return {
        "id": 1_000_000 + team_id * 10_000 + slot * 100 + stay,
        "first_name": dice.choice(_FIRST.split()),
        "last_name": dice.choice(_LAST.split()),
        "position": dice.choice(_POSITIONS),
        "height": f"6-{dice.randint(0, 11)}",
        "weight": None if dice.random() < 0.01 else str(dice.randint(175, 280)),
        "jersey_number": None if dice.random() < 0.005 else str(dice.randint(0, 99)),
        "college": dice.choice(_COLLEGES),
        "country": dice.choice(_COUNTRIES),
        "draft_year": first_year if is_drafted else None,
        "draft_round": dice.randint(1, 2) if is_drafted else None,
        "draft_number": dice.randint(1, 60) if is_drafted else None,
    }
