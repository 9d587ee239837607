"""After a block the source is in cooldown for a while: no run begins, and the blocked one goes on by itself afterwards.

A block that is still there then is a person's: a run that already went on once does not go on by itself again.
A person who knows that the block is gone lifts the cooldown; who and why is kept.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.errors import BlockedBySource, ConfigurationError
from alerting.object_store import GenerationConflict, ObjectStore
from alerting.versioned_record import VersionedRecord
from flows.coordination.intervention import Intervention
from scrapers.registry import account_of

_MINUTE = dt.timedelta(minutes=1)


class Cooldown(BaseModel):
    """Why and until when (aware UTC, a whole minute) a source is in cooldown, and who ended that earlier."""

    model_config = ConfigDict(frozen=True)

    until: dt.datetime
    backfill_id: str
    why: str
    lifted_at: dt.datetime | None = None
    lifted_by: str = ""
    lifted_reason: str = ""

    def is_on(self, now: dt.datetime) -> bool:
        """Whether the source is in cooldown at ``now``."""
        return self.lifted_at is None and now < self.until


def cooldown_name(source: str) -> str:
    """Where the cooldown of a source lies; the sources of one account have one together."""
    return f"cooldowns/{account_of(source)}.json"


def lift_command(source: str) -> str:
    """What a person types who knows that the block is gone."""
    return f"gapless lift-cooldown {source} --reason WHY"


_SHAPE = TypeAdapter(Cooldown)


def _record(store: ObjectStore, source: str) -> VersionedRecord[Cooldown]:
    return VersionedRecord(store, cooldown_name(source), _SHAPE, source=source, stage="start")


def read_cooldown(store: ObjectStore, source: str) -> Cooldown | None:
    """The last cooldown, over or not; None when there never was one. Raises ``StateUnreadable``."""
    return _record(store, source).read()


def cooling_until(store: ObjectStore, source: str, now: dt.datetime) -> dt.datetime | None:
    """The instant from which runs of the source begin again (aware UTC), None when they begin already."""
    found = read_cooldown(store, source)
    return found.until if found is not None and found.is_on(now) else None


def cool_down(
    store: ObjectStore, error: BlockedBySource, *, source: str, backfill_id: str, now: dt.datetime, hours: float
) -> None:
    """Begins the cooldown, and tells ``error`` its end as ``resets_at`` and in its hint; with 0 hours there is none.

    The first block of a run says how long: every date that was under way meets the same one.
    """
    if not hours:
        return
    ends = now + dt.timedelta(hours=hours)
    # A whole minute, because people are told minutes: at the one they are told it must be over.
    until = ends.replace(second=0, microsecond=0) + (_MINUTE if ends.second or ends.microsecond else dt.timedelta())
    begun = _begin(store, source, Cooldown(until=until, backfill_id=backfill_id, why=error.message), now)
    error.facts["resets_at"] = begun.until.isoformat()
    error.hint = (
        f"wait: every run of {_all_of(source)} is refused until {begun.until:%Y-%m-%d %H:%M} UTC; when you know that "
        f"the block is gone: {lift_command(source)}"
    )


def _begin(store: ObjectStore, source: str, wanted: Cooldown, now: dt.datetime) -> Cooldown:
    begun = wanted

    def begin(found: Cooldown | None) -> Cooldown | None:
        nonlocal begun
        is_begun = found is not None and found.backfill_id == wanted.backfill_id and found.is_on(now)
        begun = found if found is not None and is_begun else wanted
        return None if is_begun else wanted

    _record(store, source).update(begin)
    return begun


def refuse_while_cooling(store: ObjectStore, source: str, now: dt.datetime) -> None:
    """Raises ``ConfigurationError`` while the source is in cooldown. Nothing was done then."""
    found = read_cooldown(store, source)
    if found is not None and found.is_on(now):
        raise ConfigurationError(
            f"{_all_of(source)} blocked {found.backfill_id} ({found.why}); it is in cooldown until "
            f"{found.until:%Y-%m-%d %H:%M} UTC. Nothing was done",
            source=source,
            stage="start",
            hint=f"wait; when you know that the block is gone: {lift_command(source)}",
        )


def lift_by_hand(store: ObjectStore, source: str, by: Intervention) -> dict[str, Any]:
    """Ends the cooldown of ``source`` and returns what was kept about it.

    The trace is written first, as an object of its own that nothing overwrites. Raises ``ConfigurationError`` when
    the source is not in cooldown, or is blocked again in this moment.
    """
    record = _record(store, source)
    seen = record.version()
    found = seen.value if seen else None
    if found is None or not found.is_on(by.at):
        raise ConfigurationError(f"there is no cooldown: {_last(found)}. Nothing was done", **_where(source))
    lifted = {"lifted_at": by.at, "lifted_by": by.who, "lifted_reason": by.reason}
    trace = {
        "source": source,
        "backfill_id": found.backfill_id,
        "lifted_by": by.who,
        "reason": by.reason,
        "at": by.at.isoformat(),
        "cooldown": found.model_dump(mode="json"),
    }
    name = f"audit/cooldowns/source={source}/{by.at:%Y%m%dT%H%M%SZ}-{found.backfill_id}.json"
    store.write(name, json.dumps(trace, indent=1).encode(), content_type="application/json")
    try:
        record.write(found.model_copy(update=lifted), seen)
    except GenerationConflict:
        raise ConfigurationError(
            "the source blocked a run in this moment; its cooldown stays", **_where(source)
        ) from None
    return {**trace, "audit": f"{store.root_uri}/{name}"}


def _all_of(source: str) -> str:
    """The source, or the account that it shares with others."""
    account = account_of(source)
    return source if account == source else f"the account {account}"


def _last(found: Cooldown | None) -> str:
    if found is None:
        return "the source never blocked a run"
    if found.lifted_at is not None:
        return f"the last one was lifted at {found.lifted_at:%Y-%m-%d %H:%M} UTC by {found.lifted_by}"
    return f"the last one ended at {found.until:%Y-%m-%d %H:%M} UTC"


def _where(source: str) -> dict[str, str]:
    return {"source": source, "stage": "start", "hint": f"runs begin; see: gapless status {source}"}
