"""What a source says of itself in lists: which entities it has, and which items have changed since they were read."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from scrapers.base import Page, Request


class Catalogued(ABC):
    """Mixed into a `Scraper` whose ``base_url`` has a ``{site}``: the list is asked for at the address without it."""

    @abstractmethod
    def catalogue_request(self) -> Request:
        """Asks for the list; without ``site``."""

    @abstractmethod
    def catalogue(self, page: Page) -> tuple[str, ...]:
        """Names of all entities, sorted, each once. Raises as ``inspect`` does, also for an empty list."""


@dataclass(frozen=True, slots=True)
class Changes:
    """One page of the items that changed.

    Attributes:
        versions: By partition key, the version of each item, both as ``Findings.versions`` have them.
        newest: The last change on the page, by the source's own clock (aware); None for an empty page.
        next_request: The next page; None ends the list.
    """

    versions: Mapping[str, Mapping[str, str]]
    newest: dt.datetime | None
    next_request: Request | None = None


class Versioned(ABC):
    """Mixed into a `Scraper` whose items are changed after they were read: one list tells of all that changed.

    The lists of its partitions say the version of each item (``Findings.versions``). An item of another version than
    the landed one, or a new one, opens its partition again.
    """

    @abstractmethod
    def changes_request(self, since: dt.datetime) -> Request:
        """Asks for everything that changed after ``since`` (aware), whatever its date."""

    @abstractmethod
    def changes(self, page: Page) -> Changes:
        """Reads a page of it. Raises as ``inspect`` does; an empty list is an answer here."""
