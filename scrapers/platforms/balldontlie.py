"""Ball Don't Lie, NBA: what its sources share. One key, its tier, its limit a minute. https://docs.balldontlie.io

A parameter that the API does not know is ignored in silence, and nothing echoes what it understood: the dates inside
the rows are the only proof that it answered what it was asked.
"""

from __future__ import annotations

from scrapers.auth import SecretHeader
from scrapers.base import Scraper
from scrapers.rate import Rate, Tier

TIERS = (
    Tier("free", Rate(per_minute=5), 0.0),
    Tier("all-star", Rate(per_minute=60), 9.99),
    Tier("goat", Rate(per_minute=600), 39.99),
)


class BallDontLie(Scraper):
    """Facts of the account."""

    zone = "America/New_York"
    base_url = "https://api.balldontlie.io"
    account = "balldontlie"
    auth = SecretHeader("Authorization", "bdl_api_key")
    tiers = TIERS
    rate = TIERS[-1].rate
