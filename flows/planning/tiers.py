"""Whether the plan that an account is paid for opens what is asked: said before a call is made, not by its 401."""

from __future__ import annotations

import json
from collections.abc import Iterable

from alerting.errors import ConfigurationError
from alerting.wording import plural
from flows.wiring import SourceKit
from scrapers.partition import Partition
from scrapers.rate import Tier
from scrapers.registry import account_of, sources

SETTING = "GAPLESS_ACCOUNT_TIERS"


def refuse_closed(kit: SourceKit, to_fetch: Iterable[Partition]) -> None:
    """Raises ``ConfigurationError`` where one of the partitions needs a higher tier than the account has."""
    if kit.tier is None:
        return
    _refuse_unknown_accounts(kit)
    wanting: dict[str, list[Partition]] = {}
    asked = list(to_fetch)
    for partition in asked:
        if (needed := lacking(kit, partition)) is not None:
            wanting.setdefault(needed.name, []).append(partition)
    if not wanting:
        return
    name = next(tier.name for tier in reversed(kit.scraper.tiers) if tier.name in wanting)
    closed = [partition for partitions in wanting.values() for partition in partitions]
    what = kit.source
    if any(partition.is_whole for partition in closed):
        what += f" ({', '.join(partition.key for partition in closed)})"
    others = sorted(partition.key for partition in asked if partition not in closed)
    rest = f"; without it: {', '.join(others[:5])}" if others and asked[0].is_whole else ""
    raise ConfigurationError(
        f"{what} needs the tier {kit.scraper.tier(name).shown}, and the account {kit.scraper.account_name} has "
        f"{kit.tier.shown}: {plural(len(closed), 'partition')} could not be fetched. Nothing was done",
        source=kit.source,
        stage="plan",
        hint=f"when it is paid for: {_export(kit, name)}{rest}",
    )


def lacking(kit: SourceKit, partition: Partition) -> Tier | None:
    """The tier that the partition needs and the account does not have; None where it may be asked for."""
    needed, names = kit.scraper.tier_needed(partition), [tier.name for tier in kit.scraper.tiers]
    if needed is None or kit.tier is None or names.index(needed.name) <= names.index(kit.tier.name):
        return None
    return needed


def described_tier(kit: SourceKit) -> str:
    """The account's tier for people, and how to say another one where it is not stated; "" without tiers."""
    if kit.tier is None:
        return ""
    if kit.stated_tier:
        return f"{kit.tier.shown} of {kit.scraper.account_name}"
    lowest = kit.scraper.tiers[0].name
    return f"{kit.tier.shown} of {kit.scraper.account_name} is taken for granted; if it is not: {_export(kit, lowest)}"


def _export(kit: SourceKit, name: str) -> str:
    tiers = {**kit.services.settings.account_tiers, kit.scraper.account_name: name}
    return f"export {SETTING}='{json.dumps(tiers)}'"


def _refuse_unknown_accounts(kit: SourceKit) -> None:
    """A name that is written wrongly would leave its account with the highest tier."""
    known = {account_of(source) for source in sources()}
    if unknown := sorted(set(kit.services.settings.account_tiers) - known):
        raise ConfigurationError(
            f"{SETTING} names {unknown[0]!r}, which no source has as its account. Nothing was done",
            source=kit.source,
            stage="settings",
            hint=f"{kit.source} belongs to {kit.scraper.account_name!r}",
        )
