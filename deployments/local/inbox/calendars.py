"""The calendar beside the inbox: read from the bucket of the process's settings whenever somebody looks."""

from __future__ import annotations

from alerting.instant import utc_now
from flows.truth.whole_history import read_histories
from flows.views.calendar_page import Links, calendar_page, policy
from flows.views.partition_page import partition_page
from flows.wiring import build_services
from scrapers.registry import sources as known_sources

_PATH = "/calendar/"


def page(source: str = "", partition: str = "") -> tuple[str, str]:
    """HTML and the policy it needs: of all sources, of one, or of one partition.

    Raises ``WrongUsage`` for a source or partition of which nothing is known, ``LandingUnavailable``,
    ``StateUnreadable``.
    """
    services, now = build_services(for_a_person=True), utc_now()
    if partition:
        return partition_page(services, source, partition, now, above=f"{_PATH}{source}"), policy()
    links = Links(details=_PATH, above="/calendar" if source else "/")
    return calendar_page(read_histories(services, [source] if source else known_sources(), now), links, now), policy()
