"""civic.band, pages of municipal meetings: one Datasette per town, one table per kind of document.

Access rules are those of its server, https://github.com/civicband/corkboard; no key is needed for 15 calls a minute.
"""

import datetime as dt
import re

from alerting.errors import BlockedBySource, RateLimited, SourceContractError
from scrapers.auth import SecretHeader
from scrapers.base import Page, Request
from scrapers.partition import Partition
from scrapers.platforms.catalogue import Catalogued
from scrapers.platforms.datasette import DatasetteScraper
from scrapers.rate import Rate


class CivicBand(DatasetteScraper, Catalogued):
    """All pages of agendas, or of minutes, of one town. A page whose text changes gets another id."""

    title = "civic.band: pages of municipal meetings"
    zone = "UTC"
    base_url = "https://{site}.civic.band"
    tables = ("civic_pages",)
    entities = ("alameda.ca", "berkeley.ca", "oakland.ca", "temecula.ca", "oak-park.il", "multnomah-county.or")
    variants = ("agendas", "minutes")
    date_column = "date"
    place_columns = ("town", "municipality", "subdomain", "entity")
    settles_after = dt.timedelta(hours=1)
    auth = SecretHeader("Authorization", "civic_band_api_key", "Bearer ", is_optional=True)
    rate = Rate(per_minute=15)
    statuses = {402: RateLimited}  # noqa: RUF012 - never written; it has no 429

    def table_request(self, partition: Partition) -> Request:
        """``/meetings/agendas.json`` on the town's own host."""
        town, document_type = partition.entity_and_variant
        return Request(f"/meetings/{document_type}.json", site=town)

    def catalogue_request(self) -> Request:
        """The feed in which every town was announced. Its server calls it a web page, so nothing narrower is asked."""
        return Request("/rss.xml", headers=(("Accept", "*/*"),))

    def catalogue(self, page: Page) -> tuple[str, ...]:
        """The towns that the feed links to."""
        if b"<rss" not in page.body[:500]:
            raise BlockedBySource("no feed came where the list of towns was expected")
        towns = re.findall(rb"<link>https://([a-z0-9-]+(?:\.[a-z0-9-]+)+)\.civic\.band/?</link>", page.body)
        if not towns:
            raise SourceContractError("the feed links to no town")
        return tuple(sorted({town.decode() for town in towns}))
