"""Whether the plan that an account is paid for opens what is asked: said before a call is made, not by its 401."""

from __future__ import annotations

import json
from collections.abc import Iterable

from alerting.errors import ConfigurationError
from alerting.wording import plural
from flows.planning.refused_tier import RefusedTier, refused_tier
from flows.wiring import SourceKit
from scrapers.partition import Partition
from scrapers.rate import Tier

SETTING = "GAPLESS_ACCOUNT_TIERS"


def refuse_closed(kit: SourceKit, to_fetch: Iterable[Partition]) -> None:
    """Raises ``ConfigurationError`` where one of the partitions needs a higher tier than the account has.

    What it has is said by the settings, and by the source when it refused an earlier run. Raises ``StateUnreadable``.
    """
    if kit.tier is None:
        return
    wanting: dict[str, list[Partition]] = {}
    asked = list(to_fetch)
    # One read, and none where nothing could be refused.
    refused = refused_tier(kit) if any(kit.scraper.tier_needed(partition) for partition in asked) else None
    for partition in asked:
        if (needed := _lacking(kit, partition, refused)) is not None:
            wanting.setdefault(needed.name, []).append(partition)
    if not wanting:
        return
    needed = next(tier for tier in reversed(kit.scraper.tiers) if tier.name in wanting)
    closed = [partition for partitions in wanting.values() for partition in partitions]
    what = kit.source
    if any(partition.is_whole for partition in closed):
        what += f" ({', '.join(partition.key for partition in closed)})"
    others = sorted(partition.key for partition in asked if partition not in closed)
    rest = f"; without it: {', '.join(others[:5])}" if others and asked[0].is_whole else ""
    why, paid = _what_it_has(kit, needed, refused)
    raise ConfigurationError(
        f"{what} needs the tier {needed.shown}, and the account {kit.scraper.account_name} {why}: "
        f"{plural(len(closed), 'partition')} could not be fetched. Nothing was done",
        source=kit.source,
        stage="plan",
        hint=f"when it is paid for: {paid}{rest}",
    )


def lacking(kit: SourceKit, partition: Partition) -> Tier | None:
    """The tier that the partition needs and the account does not have; None where it may be asked for."""
    return _lacking(kit, partition, refused_tier(kit))


def _lacking(kit: SourceKit, partition: Partition, refused: RefusedTier | None) -> Tier | None:
    needed, names = kit.scraper.tier_needed(partition), [tier.name for tier in kit.scraper.tiers]
    if needed is None or kit.tier is None:
        return None
    has = names.index(kit.tier.name)
    if refused is not None and refused.tier in names:
        has = min(has, names.index(refused.tier) - 1)
    return needed if names.index(needed.name) > has else None


def _what_it_has(kit: SourceKit, needed: Tier, refused: RefusedTier | None) -> tuple[str, str]:
    """Why the account has not the tier, and the command for when it has."""
    names = [tier.name for tier in kit.scraper.tiers]
    if refused is not None and kit.tier is not None and names.index(kit.tier.name) >= names.index(needed.name):
        return (
            f"does not have it, as the source said at {refused.at:%Y-%m-%d %H:%M} UTC to {refused.backfill_id} "
            f"({refused.why})",
            f"gapless lift-cooldown {kit.source} --reason WHY",
        )
    return f"has {_shown(kit)}", _export(kit, needed.name)


def described_tier(kit: SourceKit) -> str:
    """The account's tier for people, and how to say another one where it is not stated; "" without tiers."""
    if kit.tier is None:
        return ""
    if kit.stated_tier or kit.is_tier_by_limit:
        return f"{_shown(kit)} of {kit.scraper.account_name}"
    lowest = kit.scraper.tiers[0].name
    return f"{_shown(kit)} of {kit.scraper.account_name} is assumed; if that is wrong: {_export(kit, lowest)}"


def _shown(kit: SourceKit) -> str:
    """The tier, what is not in it, and how it is known."""
    assert kit.tier is not None
    told = kit.tier.shown
    if kit.tier.without:
        told += f", which has no {kit.tier.without}"
    if kit.is_tier_by_limit:
        unit = kit.scraper.cost_unit or "call"
        told += f" (by the limit of {plural(kit.stated_limit or 0, unit)} a month in the settings)"
    return told


def _export(kit: SourceKit, name: str) -> str:
    tiers = {**kit.services.settings.account_tiers, kit.scraper.account_name: name}
    return f"export {SETTING}='{json.dumps(tiers)}'"
