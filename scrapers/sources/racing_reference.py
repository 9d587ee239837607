"""The Racing API, courses and regions (every plan): what races refer to, to be read before them."""

import datetime as dt

from alerting.errors import NothingPublished, SourceContractError
from scrapers.answers import parsed_json
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.racing_api import RacingApi

_PATHS = {"courses": "/v1/courses", "regions": "/v1/courses/regions"}
_KEYS = {"courses": "id", "regions": "region_code"}


class RacingReference(RacingApi):
    """Each list is an entity, and comes whole in one call. Bookmakers have no list: they are read off the prices."""

    title = "The Racing API: courses and regions"
    tables = ("ra_mst_courses", "ra_mst_regions")
    step = "whole"
    entities = tuple(_PATHS)
    fresh_for = dt.timedelta(days=6)

    def first_request(self, partition: Partition) -> Request:
        """The list of that name."""
        if partition.entity not in _PATHS:
            raise SourceContractError(f"there is no list of {partition.entity!r}, only {', '.join(_PATHS)}")
        return Request(_PATHS[partition.entity])

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Counts the list; that of regions is bare, that of courses has a total."""
        document = parsed_json(page.body, ("total",))
        is_bare, name = partition.entity == "regions", partition.entity
        try:
            rows, total = (document, None) if is_bare else (document["courses"], document["total"])
            if not isinstance(rows, list) or not (is_bare or isinstance(total, int)):
                raise TypeError(f"{name} or their total are of another type")
            keys = [row[_KEYS[name]] for row in rows]
            if not all(isinstance(key, str) and key for key in keys) or len(set(keys)) != len(keys):
                raise ValueError(f"an id of {name} is missing or comes twice")
        except (KeyError, TypeError, ValueError) as error:
            raise SourceContractError(f"the list has an unexpected shape: {type(error).__name__} {error}") from None
        if not rows:
            raise NothingPublished(f"an empty list of {name} proves nothing")
        counts = dict.fromkeys(self.tables, 0) | {f"ra_mst_{name}": len(rows)}
        return Findings(counts, source_total=total, keys=tuple(keys))
