"""Ball Don't Lie, NBA: what its sources share. One key, its tier, its limit a minute. https://docs.balldontlie.io

A parameter that the API does not know is ignored in silence, and nothing echoes what it understood: the dates inside
the rows are the only proof that it answered what it was asked.

Lists come in pages: ``meta.next_cursor`` leads on, and the last page does not have the key at all. A cursor that was
lost would look the same, so that a last page which is full, or empty behind others, is only believed when a second
reading in pages of another size has the same rows.
"""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from alerting.errors import NothingPublished, SourceContractError
from scrapers.answers import parsed_json
from scrapers.auth import SecretHeader
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.oracle import Oracle
from scrapers.partition import Partition
from scrapers.platforms.nba_calendar import NBA_RESTS, NBA_SEASONS
from scrapers.platforms.nba_com import GAME_LABEL, season_of
from scrapers.rate import Rate, Tier

TIERS = (
    Tier("free", Rate(per_minute=5), 0.0),
    Tier("all-star", Rate(per_minute=60), 9.99),
    Tier("goat", Rate(per_minute=600), 39.99),
)
FINAL = "Final"
FIRST_SEASON = dt.date(1946, 11, 1)
Row = Mapping[str, Any]

_AGAIN = "again"
"""Begins the cursor of a page that is read to confirm the others."""


class BallDontLie(Scraper):
    """Facts of the account."""

    family = "nba"
    zone = "America/New_York"
    seasons = NBA_SEASONS
    base_url = "https://api.balldontlie.io"
    account = "balldontlie"
    auth = SecretHeader("Authorization", "bdl_api_key")
    tiers = TIERS
    rate = TIERS[-1].rate


class BdlList(BallDontLie):
    """One list of the API, for a date or as a whole.

    Attributes:
        path: Of the list.
        has_pages: False where the whole list comes at once, without ``meta``.
        is_proof: Whether an empty list proves that there is nothing.
    """

    path: ClassVar[str]
    envelope = ("data", "meta", "meta.per_page", "meta.next_cursor")
    has_pages: ClassVar[bool] = True
    is_proof: ClassVar[bool] = False
    is_paginated = True
    page_size = 100  # the most that it gives

    def path_of(self, partition: Partition) -> str:  # noqa: ARG002 - most sources have one list
        """The list that the partition is read from."""
        return self.path

    def narrowed(self, partition: Partition) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - of a whole list nothing
        """The parameters that say what of the list is wanted."""
        return ()

    @abstractmethod
    def read(self, partition: Partition, rows: list[Any]) -> Findings:
        """What a page with rows has, their ``keys`` included; ``KeyError``, ``TypeError``... for another shape."""

    def first_request(self, partition: Partition) -> Request:
        """The first page."""
        return self._request(partition, self.page_size)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Reads the rows of a page, and where it leads."""
        document = parsed_json(page.body, ("meta.next_cursor",) if self.has_pages else ())
        try:
            rows = document["data"]
            if not isinstance(rows, list):
                raise TypeError(f"data is {type(rows).__name__}")
            cursor, size = self._led_on(document)
            found = self.read(partition, rows) if rows or page.request.cursor else self._nothing()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceContractError(
                f"{self.path_of(partition)} has an unexpected shape: {type(error).__name__} {error}"
            ) from None
        if not rows and cursor:
            raise SourceContractError(f"an empty page leads on to {cursor[:40]!r}")
        is_again = page.request.cursor.startswith(_AGAIN)
        if is_again:
            found = Findings({}, keys=found.keys, confirms=True)
        following: Request | None = None
        if cursor:
            following = self._request(partition, size, cursor, is_again=is_again)
        elif self.has_pages and (len(rows) >= size or (not found.empty_evidence and not rows)) and not is_again:
            following = self._request(partition, size - 1, is_again=True)
        return replace(found, next_request=following)

    def _led_on(self, document: Any) -> tuple[str, int]:
        """The next cursor, "" at the end, and how many rows a page has at most."""
        if not self.has_pages or document == {"data": []}:
            return "", self.page_size
        cursor, size = document["meta"].get("next_cursor"), document["meta"]["per_page"]
        if type(size) is not int or size < 2 or not (cursor is None or (type(cursor) in (int, str) and cursor != "")):
            raise ValueError(f"next_cursor {str(cursor)[:40]!r}, per_page {str(size)[:40]!r}")
        return "" if cursor is None else str(cursor), size

    def _nothing(self) -> Findings:
        if not self.is_proof:
            raise NothingPublished(f"an empty list of {self.path} proves nothing")
        return Findings(dict.fromkeys(self.tables, 0), empty_evidence="an empty list")

    def _request(self, partition: Partition, size: int, cursor: str = "", *, is_again: bool = False) -> Request:
        params = [*self.narrowed(partition)]
        if self.has_pages:
            params += [("per_page", str(size)), *([("cursor", cursor)] if cursor else [])]
        return Request(self.path_of(partition), tuple(params), cursor=f"{_AGAIN} {cursor}" if is_again else cursor)


class BdlDates(BdlList):
    """Rows of the games of one US Eastern date."""

    floor = FIRST_SEASON
    rests = NBA_RESTS
    settle_after_days = 3  # a postponed game keeps its date for months

    def narrowed(self, partition: Partition) -> tuple[tuple[str, str], ...]:
        """The date."""
        return (("dates[]", partition.start.isoformat()),)


def scheduled_by_teams(table: str) -> tuple[Oracle, ...]:
    """Each game of NBA.com's schedule has a row in ``table``; its ids are others, so that date and teams tell it."""
    # Preseason and All-Star games are not here: an assumption.
    where = "deleted_at IS NULL AND NOT is_postponed AND game_kind IN ('regular', 'playoffs', 'play_in', 'cup_final')"
    return (
        Oracle(
            "nba_schedule",
            "nba_schedule",
            "home_team_tricode away_team_tricode",
            "game_date",
            where,
            entity=season_of,
            found_in=table,
            found_key="home_team_abbreviation visitor_team_abbreviation",
            item="game",
            label=GAME_LABEL,
        ),
    )


def refuse_another_date(partition: Partition, game: Row) -> None:
    """``SourceContractError`` for a game of a date that was not asked for: the parameter was ignored."""
    if not partition.contains(dt.date.fromisoformat(game["date"][:10])):
        raise SourceContractError(f"asked for {partition.key}, got game {game['id']} of {game['date'][:10]}")


def is_final(game: Row) -> bool:
    """Whether the game is over; ``TypeError`` where its status is no text."""
    if not isinstance(game["status"], str):
        raise TypeError(f"status of game {game['id']}")
    return game["status"] == FINAL


def id_of(row: Row) -> int:
    """Its id; ``TypeError`` for what is none."""
    if type(row["id"]) is not int:
        raise TypeError(f"id {str(row['id'])[:40]!r}")
    return int(row["id"])


def shown_team(team: Row) -> str:
    """A team for people; the abbreviation of some is blank.

    >>> shown_team({"id": 7, "abbreviation": "DAL"}), shown_team({"id": 45, "abbreviation": " "})
    ('DAL', 'team 45')
    """
    return str(team["abbreviation"] or "").strip() or f"team {team['id']}"
