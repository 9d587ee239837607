"""Hemnet (hemnet.se), sold homes: what its sources share. One site, one pace, one session. No public API.

The site is asked slowly and by its front door: a pause of 5 to 10 seconds between two calls, drawn anew each time. A
page of its bot defence means stop, on any status and in any language: nothing here solves it or gets round it.
"""

from __future__ import annotations

from types import MappingProxyType

from alerting.errors import BlockedBySource
from scrapers.auth import SessionCookie
from scrapers.base import Scraper
from scrapers.rate import Rate

ZONE = "Europe/Stockholm"


class Hemnet(Scraper):
    """Facts of the site."""

    zone = ZONE
    base_url = "https://www.hemnet.se"
    family = "hemnet"
    account = "hemnet"
    # The name of the cookie is an assumption: no answer of the site is recorded with its headers.
    auth = SessionCookie("hemnet_session", ("_hemnet_session_id",), is_optional=True)
    rate = Rate(pause_s=(5.0, 10.0))
    # A site without a login: it refuses whom it does not want.
    statuses = MappingProxyType({401: BlockedBySource, 403: BlockedBySource})
    timeout_s = 60.0
