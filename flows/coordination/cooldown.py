"""After a block the source is in cooldown for a while: no run begins, and the blocked one goes on by itself afterwards.

A block that is still there then is a person's: a run that already went on once does not go on by itself again.
A person who knows that the block is gone lifts the cooldown; who and why is kept.

Where each site is a domain of its own (`Scraper.domain`), one that blocks us is left alone by all runs
(`flows.planning.left_alone`), and the others are asked.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from alerting.errors import BlockedBySource, ConfigurationError
from alerting.object_store import GenerationConflict, ObjectStore
from alerting.store_clock import StoreClock
from flows.coordination.intervention import Intervention
from flows.ledger.cooldowns import Cooldown, cooldown_record, lift_command, read_cooldown
from scrapers.registry import account_of

_MINUTE = dt.timedelta(minutes=1)
_MOST_OFF = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Who refuses us: the account of ``source``, or one ``site`` of it."""

    source: str
    site: str = ""


def cool_down(
    store: ObjectStore, error: BlockedBySource, *, blocked: Blocked, backfill_id: str, now: dt.datetime, hours: float
) -> None:
    """Begins the cooldown, and tells ``error`` its end as ``resets_at`` and in its hint; with 0 hours there is none.

    The first block of a run says how long: every date that was under way meets the same one.
    """
    if not hours:
        return
    ends = now + dt.timedelta(hours=hours)
    # A whole minute, because people are told minutes: at the one they are told it must be over.
    until = ends.replace(second=0, microsecond=0) + (_MINUTE if ends.second or ends.microsecond else dt.timedelta())
    begun = _begin(store, blocked, Cooldown(until=until, backfill_id=backfill_id, why=error.message), now)
    error.facts["resets_at"] = begun.until.isoformat()
    what = f"{blocked.site} is left alone" if blocked.site else f"every run of {_all_of(blocked.source)} is refused"
    error.hint = (
        f"wait: {what} until {begun.until:%Y-%m-%d %H:%M} UTC; if you know that the block is gone: "
        f"{lift_command(blocked.source, blocked.site)}"
    )


def _begin(store: ObjectStore, blocked: Blocked, wanted: Cooldown, now: dt.datetime) -> Cooldown:
    begun = wanted

    def begin(found: Cooldown | None) -> Cooldown | None:
        nonlocal begun
        is_begun = found is not None and found.backfill_id == wanted.backfill_id and found.is_on(now)
        begun = found if found is not None and is_begun else wanted
        return None if is_begun else wanted

    cooldown_record(store, blocked.source, blocked.site).update(begin)
    return begun


def refuse_while_cooling(store: ObjectStore, source: str, now: dt.datetime) -> None:
    """Raises ``ConfigurationError`` while the source is in cooldown. Nothing was done then."""
    found = read_cooldown(store, source)
    if found is not None and _is_on(store, found, now):
        raise ConfigurationError(
            f"{_all_of(source)} blocked {found.backfill_id} ({found.why}); it is in cooldown until "
            f"{found.until:%Y-%m-%d %H:%M} UTC. Nothing was done",
            source=source,
            stage="start",
            hint=f"wait, or if you know that the block is gone: {lift_command(source)}",
        )


def _is_on(store: ObjectStore, found: Cooldown, now: dt.datetime) -> bool:
    """Near its end the store is asked what time it is: a run that goes on then begins on any machine, and not before
    on one whose clock is ahead."""
    is_near = found.lifted_at is None and abs(found.until - now) < _MOST_OFF
    return found.is_on(StoreClock(store).now() if is_near else now)


def lift_by_hand(store: ObjectStore, source: str, by: Intervention, site: str = "") -> dict[str, Any]:
    """Ends the cooldown of ``source``, or of one site of it, and returns what was kept about it.

    The trace is written first, as an object of its own that nothing overwrites. Raises ``ConfigurationError`` when
    the source is not in cooldown, or is blocked again in this moment.
    """
    record = cooldown_record(store, source, site)
    seen = record.version()
    found = seen.value if seen else None
    if found is None or not found.is_on(by.at):
        raise ConfigurationError(f"there is no cooldown: {_last(found, site)}. Nothing was done", **_where(source))
    lifted = {"lifted_at": by.at, "lifted_by": by.who, "lifted_reason": by.reason}
    trace = {
        "source": source,
        "site": site,
        "backfill_id": found.backfill_id,
        "lifted_by": by.who,
        "reason": by.reason,
        "at": by.at.isoformat(),
        "cooldown": found.model_dump(mode="json"),
    }
    of_site = f"site={site}/" if site else ""
    name = f"audit/cooldowns/source={source}/{of_site}{by.at:%Y%m%dT%H%M%SZ}-{found.backfill_id}.json"
    store.write(name, json.dumps(trace, indent=1).encode(), content_type="application/json")
    try:
        record.write(found.model_copy(update=lifted), seen)
    except GenerationConflict:
        raise ConfigurationError(
            f"{site or 'the source'} blocked a run just now; its cooldown stays", **_where(source)
        ) from None
    return {**trace, "audit": f"{store.root_uri}/{name}"}


def _all_of(source: str) -> str:
    """The source, or the account that it shares with others."""
    account = account_of(source)
    return source if account == source else f"the account {account}"


def _last(found: Cooldown | None, site: str) -> str:
    if found is None:
        return f"{site or 'the source'} never blocked a run"
    if found.lifted_at is not None:
        return f"the last one was lifted at {found.lifted_at:%Y-%m-%d %H:%M} UTC by {found.lifted_by}"
    return f"the last one ended at {found.until:%Y-%m-%d %H:%M} UTC"


def _where(source: str) -> dict[str, str]:
    return {"source": source, "stage": "start", "hint": f"gapless status {source}"}
