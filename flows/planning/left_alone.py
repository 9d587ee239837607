"""Which partitions wait because the site that answers for them has blocked us: until its cooldown ends."""

from __future__ import annotations

import datetime as dt

from alerting.errors import ConfigurationError
from alerting.wording import plural
from flows.ledger.cooldowns import Cooldown, lift_command, sites_left_alone
from flows.planning.plan import LEFT_ALONE, Plan
from flows.wiring import Services
from scrapers.base import Scraper


def besides_left_alone(services: Services, scraper: Scraper, plan: Plan, now: dt.datetime) -> Plan:
    """``plan`` without calls to sites in cooldown, and with a note of each; one small listing, for such sources only.

    Raises ``ConfigurationError`` when nothing is left to be done, because all of it waits.
    """
    if not plan.to_fetch:
        return plan
    cooling = sites_left_alone(services.store, scraper, now)
    waits = {one.key: site for one in plan.to_fetch if (site := scraper.site_of(one.key)) in cooling}
    if not waits:
        return plan
    plan = plan.waiting({key: _why(site, cooling[site]) for key, site in waits.items()})
    sites = {site: sum(one == site for one in waits.values()) for site in dict.fromkeys(waits.values())}
    if not any(item.path.is_work for item in plan.items):
        first = next(iter(sites))
        told = "; ".join(told_left_alone(site, cooling[site]) for site in sites)
        raise ConfigurationError(
            f"nothing can start: {told}. Nothing was done",
            source=scraper.source,
            stage="plan",
            hint=f"wait, or if you know that the block is gone: {lift_command(scraper.source, first)}",
        )
    return plan.noting(
        *(
            f"Left out, {plural(count, 'partition')}: {told_left_alone(site, cooling[site])}; when you know that the "
            f"block is gone: {lift_command(scraper.source, site)}"
            for site, count in sites.items()
        )
    )


def told_left_alone(site: str, cooldown: Cooldown) -> str:
    """For people: which site, why, and until when."""
    return (
        f"{site} blocked {cooldown.backfill_id} ({cooldown.why}); it is left alone until "
        f"{cooldown.until:%Y-%m-%d %H:%M} UTC"
    )


def _why(site: str, cooldown: Cooldown) -> str:
    return f"{LEFT_ALONE} {cooldown.until:%Y-%m-%d %H:%M} UTC for {site}, which blocked {cooldown.backfill_id}"
