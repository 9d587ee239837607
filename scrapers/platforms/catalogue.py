"""Sources of entities that publish a list of their entities."""

from __future__ import annotations

from abc import ABC, abstractmethod

from scrapers.base import Page, Request


class Catalogued(ABC):
    """Mixed into a `Scraper` whose ``base_url`` has a ``{site}``: the list is asked for at the address without it."""

    @abstractmethod
    def catalogue_request(self) -> Request:
        """Asks for the list; without ``site``."""

    @abstractmethod
    def catalogue(self, page: Page) -> tuple[str, ...]:
        """Names of all entities, sorted, each once. Raises as ``inspect`` does, also for an empty list."""
