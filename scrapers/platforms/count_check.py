"""Whether a whole entity has to be fetched again, told by a few counts instead of a full reading.

The rules for an entity that has a verified snapshot:

* two counts, of all rows and of those since half a year ago, are asked for and compared with the landed snapshot;
* unequal, or not to be had: a full snapshot. Equal: nothing has changed, as far as counts can tell;
* equal counts can hide one row that took the place of another, so ``trusted_for`` after its landing a snapshot is made
  again whatever the counts say.

No part of an entity is ever loaded alone: rows change their ids, and only a full reading shows which are gone.
"""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from scrapers.attempt import Fetcher
from scrapers.base import Page, Request, Scraper
from scrapers.landing import Landing
from scrapers.manifest import Manifest

Counts = tuple[int | None, ...]


class ProbedScraper(Scraper):
    """A source of whole entities that can be counted cheaply.

    Class attributes:
        recent: Rows of this long ago and later have a count of their own: total counts of large tables may be unknown.
        trusted_for: Age of a snapshot at which equal counts are no longer believed.
    """

    recent: ClassVar[dt.timedelta] = dt.timedelta(days=183)
    trusted_for: ClassVar[dt.timedelta] = dt.timedelta(days=30)

    @abstractmethod
    def probes(self, entity: Request, since: dt.date) -> tuple[Request, ...]:
        """One request per count, given the request that begins the entity."""

    @abstractmethod
    def probed(self, page: Page) -> int | None:
        """The count in a probe's answer, None when the source does not know it. Raises as ``inspect`` does."""

    @abstractmethod
    def counts_of(self, bodies: Iterable[bytes], since: dt.date) -> Counts:
        """What the probes answer for a source that holds exactly the rows of these landed pages."""


def is_unchanged(scraper: Scraper, manifest: Manifest, landing: Landing, client: Fetcher, now: dt.datetime) -> bool:
    """Whether the entity is still as ``manifest`` has it, as far as its counts tell. Makes at most one call a count.

    False without a call for a source that cannot be probed, a snapshot that is too old, and one that costs no more
    calls than its probes. Raises the taxonomy's errors, located.
    """
    if not isinstance(scraper, ProbedScraper) or now - manifest.landed_at > scraper.trusted_for:
        return False
    since = now.date() - scraper.recent
    requests = scraper.probes(scraper.first_request(manifest.as_partition()), since)
    if len(manifest.pages) <= len(requests):
        return False
    known = scraper.counts_of(landing.read_pages(manifest), since)
    if all(count is None for count in known):
        return False
    return all(scraper.probed(client.fetch(request)) == count for request, count in zip(requests, known, strict=True))
