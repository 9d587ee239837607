"""Who plays in the sample season: the thirty real teams, and invented players."""

from __future__ import annotations

import functools
import random
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


def roster(team_id: int, season: int) -> list[dict[str, Any]]:
    """The players of a team in the season that starts in year ``season``; about a fifth of them change every year."""
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
