"""NBA.com: what its sources share. Two hosts, no key, no published limit; each blocks whom it takes for a program.

A pause of 1 to 2 seconds between calls is what users of the site found to be borne.

A block is a 403, a web page with status 200, an empty body or a connection that hangs, and never an empty day: no
games are only believed of an answer in the right shape that echoes its date. Both hosts want the headers of a browser
(https://github.com/swar/nba_api, ``stats/library/http.py``), and parameters in alphabetical order.

Answers come in two shapes. The old one, "V2", is ``resultSets`` (or ``resultSet``) of ``headers`` and ``rowSet``:
columns by name only, their order and number change; what was asked is echoed in ``parameters``. The newer one, "V3",
is plain JSON that names its date or game. Endpoints of V2 are being switched off since 2025-26, so V3 is asked for, and
both are read. The numbers of games are texts with leading zeros.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from alerting.errors import BlockedBySource, CoverageLow, SourceContractError
from scrapers.answers import parsed_json
from scrapers.base import Page, Request, Scraper
from scrapers.oracle import Oracle
from scrapers.partition import Partition
from scrapers.platforms.nba_calendar import NBA_RESTS, NBA_SEASONS
from scrapers.rate import Rate

SCHEDULED, LIVE, FINAL = 1, 2, 3
"""``gameStatus``."""

KINDS: Mapping[str, str] = MappingProxyType(
    {"001": "preseason", "002": "regular", "003": "all_star", "004": "playoffs", "005": "play_in", "006": "cup_final"}
)
"""Kind of a game by the first three digits of its id."""

SEASON_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "preseason": "Pre Season",
        "regular": "Regular Season",
        "all_star": "All Star",
        "playoffs": "Playoffs",
        "play_in": "PlayIn",
        "cup_final": "IST",
    }
)
"""``SeasonType`` by kind of game. ``IST`` is what the site's own pages say; no recording shows it."""


class NbaCom(Scraper):
    """Facts of both hosts. Dates are those of the league, in US Eastern."""

    family = "nba"
    seasons = NBA_SEASONS
    zone = "America/New_York"
    headers = MappingProxyType(
        {
            "User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/145.0.0.0 Safari/537.36",
            "Accept-Language": "en-US,en;q=0.5",
            "Referer": "https://www.nba.com/",
            "Sec-Ch-Ua": '"Not:A-Brand";v="99", "Google Chrome";v="145", "Chromium";v="145"',
            "Sec-Ch-Ua-Mobile": "?0",
            "Sec-Fetch-Dest": "empty",
        }
    )
    # Nobody has a key that could be dead.
    statuses = MappingProxyType({401: BlockedBySource, 403: BlockedBySource})
    timeout_s = 30.0


class NbaDates(NbaCom):
    """Sources that read the scoreboard of a date first; the schedule of its season comes before it."""

    rests = NBA_RESTS
    settle_after_days = 3
    requires = ("nba_schedule",)
    envelope = (
        *("meta", "meta.version", "meta.request", "meta.time", "meta.code", "resource", "parameters", "resultSets"),
        *("resultSet", "scoreboard", "scoreboard.gameDate", "scoreboard.leagueId", "scoreboard.leagueName"),
        "scoreboard.games",
    )
    scoreboard_path: ClassVar[str] = "/stats/scoreboardv3"

    def scoreboard_request(self, partition: Partition, site: str = "") -> Request:
        """The games of the date."""
        offset = (("DayOffset", "0"),) if self.scoreboard_path.endswith("v2") else ()
        params = (*offset, ("GameDate", partition.start.isoformat()), ("LeagueID", "00"))
        return Request(self.scoreboard_path, params, site=site)


class NbaStats(NbaDates):
    """Sources on stats.nba.com."""

    base_url = "https://stats.nba.com"
    account = "nba_stats"
    rate = Rate(per_minute=45, pause_s=(1.0, 2.0))


class NbaCdn(NbaCom):
    """Sources on cdn.nba.com, which has files and no lists of other seasons or dates: these are the other host's."""

    base_url = "https://{site}.nba.com"
    hosts = MappingProxyType({"cdn": "nba_cdn", "stats": NbaStats.account})
    account = "nba_cdn"
    rate = Rate(per_minute=45, pause_s=(1.0, 2.0))


GAME_LABEL = "game_id away_team_tricode home_team_tricode"
"""What people call a game of the schedule: ``0022400561 MIN GSW``, the visitors first."""


def scheduled_in(table: str, but: tuple[str, ...] = ()) -> tuple[Oracle, ...]:
    """Each game of the season's schedule has rows in ``table`` on its date, other than those of the kinds ``but``."""
    where = "deleted_at IS NULL AND NOT is_postponed"
    if but:
        where += f" AND game_kind NOT IN ({', '.join(map(repr, but))})"
    of = "nba_schedule"
    return (
        Oracle(of, of, "game_id", "game_date", where, entity=season_of, found_in=table, item="game", label=GAME_LABEL),
    )


@dataclass(frozen=True, slots=True)
class ListedGame:
    """A game as a scoreboard lists it.

    Attributes:
        game_id: Ten digits.
        code: Date and teams, the visitors first: ``20240115/HOUPHI``.
        status: `SCHEDULED`, `LIVE` or `FINAL`.
        text: The status in words.
        teams: Ids of home and visitors.
    """

    game_id: str
    code: str
    status: int
    text: str
    teams: tuple[int, int]

    @property
    def is_postponed(self) -> bool:
        """Whether it will not be played on its date."""
        return is_postponed(self.status, self.text)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.game_id} {self.code.rpartition('/')[2]} ({self.text})"


def is_postponed(status: int, text: str) -> bool:
    """By its words: ``postponedStatus`` is N for postponed games too.

    >>> is_postponed(1, "PPD"), is_postponed(1, "7:00 pm ET"), is_postponed(3, "Final")
    (True, False, False)
    """
    return status == SCHEDULED and text.strip().upper().startswith("PPD")


def season_of(date: dt.date) -> str:
    """Name of the season that a date belongs to.

    >>> season_of(dt.date(2025, 1, 3)), season_of(dt.date(1999, 10, 30))
    ('2024-25', '1999-00')
    """
    # The season of 2019-20 ended in October, and no preseason began before that month.
    year = (
        date.year if date.month >= 10 and not dt.date(2020, 10, 1) <= date <= dt.date(2020, 10, 11) else date.year - 1
    )
    return f"{year}-{(year + 1) % 100:02d}"


def season_of_game(game_id: str) -> str:
    """Name of the season that the id of a game says.

    >>> season_of_game("0022400561"), season_of_game("0029900001")
    ('2024-25', '1999-00')
    """
    year = int(game_id[3:5]) + (1900 if int(game_id[3:5]) >= 46 else 2000)
    return f"{year}-{(year + 1) % 100:02d}"


def kind_of(game_id: str) -> str:
    """Kind of the game, ``other`` for a number that is not known.

    >>> kind_of("0022400561"), kind_of("0062300001"), kind_of("0092300001")
    ('regular', 'cup_final', 'other')
    """
    return KINDS.get(game_id[:3], "other")


def opened(page: Page) -> dict[str, Any]:
    """The document of a page; ``SourceContractError`` where it is no object."""
    document = parsed_json(page.body)
    if not isinstance(document, dict):
        raise SourceContractError(f"an object was expected, a {type(document).__name__} came")
    return document


def result_sets(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The sets of an answer in the old shape, rows by column name. ``KeyError``, ``TypeError``, ``ValueError``."""
    told = document["resultSets"] if "resultSets" in document else document["resultSet"]
    found: dict[str, list[dict[str, Any]]] = {}
    for one in [told] if isinstance(told, dict) else told:
        name, names, rows = one["name"], one["headers"], one["rowSet"]
        if name in found or len(set(names)) != len(names):
            raise ValueError(f"set {name!r}, or a column of it, comes twice")
        if not isinstance(rows, list) or any(type(row) is not list or len(row) != len(names) for row in rows):
            raise ValueError(f"a row of {name!r} does not have its {len(names)} columns")
        found[name] = [dict(zip(names, row, strict=True)) for row in rows]
    return found


def refuse_another_echo(document: Mapping[str, Any], asked: Iterable[tuple[str, str]]) -> None:
    """``SourceContractError`` unless ``parameters`` has all that was asked for; dates come in either of two forms."""
    echo = document["parameters"]
    for name, value in asked:
        told = str(echo[name])
        if told != value and _as_iso(told) != value:
            raise SourceContractError(f"asked for {name} {value}, the source says it was asked for {told[:40]!r}")


def listed_games(document: Mapping[str, Any], page: Page, date: dt.date) -> tuple[ListedGame, ...]:
    """The games of a scoreboard in either shape, each once: one with several broadcasters is listed several times.

    Raises ``SourceContractError`` for another date or shape.
    """
    try:
        if "scoreboard" in document:
            board = document["scoreboard"]
            if board["gameDate"] != date.isoformat():
                raise SourceContractError(f"asked for {date}, got the games of {str(board['gameDate'])[:20]}")
            games = [_game_of_v3(game, date) for game in _list(board["games"])]
        else:
            refuse_another_echo(document, page.request.params)
            games = [_game_of_v2(row, date) for row in result_sets(document)["GameHeader"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceContractError(f"a scoreboard has an unexpected shape: {type(error).__name__} {error}") from None
    found: dict[str, ListedGame] = {}
    for game in games:
        if found.setdefault(game.game_id, game) != game:
            raise SourceContractError(f"game {game.game_id} is listed twice and differently")
    return tuple(found.values())


def teams_scored(document: Mapping[str, Any]) -> dict[str, set[int]]:
    """Teams with a line of points, by game. Raises as `listed_games`, and ``CoverageLow`` for two lines of one team."""
    found: dict[str, set[int]] = {}
    lines: dict[tuple[str, int], Any] = {}
    try:
        if "scoreboard" in document:
            for game in document["scoreboard"]["games"]:
                sides = [game[name] for name in ("homeTeam", "awayTeam")]
                found[game["gameId"]] = {team["teamId"] for team in sides if _list(team["periods"])}
            return found
        for row in result_sets(document)["LineScore"]:
            if lines.setdefault((row["GAME_ID"], row["TEAM_ID"]), row) != row:
                raise CoverageLow(f"game {row['GAME_ID']} has two lines of team {row['TEAM_ID']}")
            if row["PTS"] is not None:
                found.setdefault(row["GAME_ID"], set()).add(row["TEAM_ID"])
    except (KeyError, TypeError, ValueError) as error:
        raise SourceContractError(f"a line score has an unexpected shape: {type(error).__name__} {error}") from None
    return found


def unsettled(games: Sequence[ListedGame]) -> tuple[str, ...]:
    """Games that are still to be played, or being played."""
    return tuple(game.name for game in games if game.status != FINAL and not game.is_postponed)


def postponed(games: Sequence[ListedGame]) -> tuple[str, ...]:
    """Games that the date lists and that were not played on it."""
    return tuple(game.name for game in games if game.is_postponed)


def finals(games: Sequence[ListedGame]) -> tuple[str, ...]:
    """Ids of games that are over."""
    return tuple(game.game_id for game in games if game.status == FINAL)


def list_evidence(games: Sequence[ListedGame], date: dt.date) -> str:
    """Why a date has no rows: its own list says so; "" where a game was or will be played."""
    if not all(game.is_postponed for game in games):
        return ""
    return f"{len(games)} games of {date} are listed{', all of them postponed' if games else ''}"


def _game_of_v3(game: Mapping[str, Any], date: dt.date) -> ListedGame:
    listed = _listed(
        game["gameId"],
        game["gameCode"],
        game["gameStatus"],
        game["gameStatusText"],
        (game["homeTeam"]["teamId"], game["awayTeam"]["teamId"]),
    )
    # Eastern time, whatever its Z says.
    if listed.status == FINAL and game["gameEt"][:10] != date.isoformat():
        raise SourceContractError(f"asked for {date}, got game {listed.game_id} of {game['gameEt'][:10]}")
    return listed


def _game_of_v2(row: Mapping[str, Any], date: dt.date) -> ListedGame:
    listed = _listed(
        row["GAME_ID"],
        row["GAMECODE"],
        row["GAME_STATUS_ID"],
        row["GAME_STATUS_TEXT"],
        (row["HOME_TEAM_ID"], row["VISITOR_TEAM_ID"]),
    )
    if row["GAME_DATE_EST"][:10] != date.isoformat():
        raise SourceContractError(f"asked for {date}, got game {listed.game_id} of {row['GAME_DATE_EST'][:10]}")
    return listed


def _listed(game_id: Any, code: Any, status: Any, text: Any, teams: tuple[Any, Any]) -> ListedGame:
    if not is_game_id(game_id) or not isinstance(code, str) or not isinstance(text, str):
        raise ValueError(f"id, code or status of game {str(game_id)[:20]!r}")
    if status not in (SCHEDULED, LIVE, FINAL) or isinstance(status, bool):
        raise ValueError(f"status {str(status)[:20]!r} of game {game_id}")
    if any(type(team) is not int for team in teams) or teams[0] == teams[1]:
        raise ValueError(f"the teams of game {game_id}")
    return ListedGame(game_id, code, status, text.strip(), teams)


def is_game_id(text: Any) -> bool:
    """Whether this is a number of a game: ten digits, the zeros at its front included.

    >>> is_game_id("0022400561"), is_game_id("22400561"), is_game_id(22400561)
    (True, False, False)
    """
    return isinstance(text, str) and len(text) == 10 and text.isascii() and text.isdigit()


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise TypeError(f"a list was expected, a {type(found).__name__} came")
    return found


def _as_iso(text: str) -> str:
    """``01/03/2025`` as ``2025-01-03``; "" for what is no date in that form."""
    try:
        return dt.datetime.strptime(text, "%m/%d/%Y").date().isoformat()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return ""
