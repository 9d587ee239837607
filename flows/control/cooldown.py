"""After a block the source is left alone for a while: no run begins, and the blocked one goes on by itself afterwards.

A block that is still there then is a person's: a run that already went on once does not go on by itself again.
"""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict, ValidationError

from alerting.errors import BlockedBySource, ConfigurationError, StateUnreadable
from alerting.object_store import ObjectMissing, ObjectStore


class Cooldown(BaseModel):
    """Why and until when (aware UTC) a source is left alone."""

    model_config = ConfigDict(frozen=True)

    until: dt.datetime
    backfill_id: str
    why: str


def cooldown_name(source: str) -> str:
    """Where the cooldown of a source lies."""
    return f"cooldowns/{source}.json"


def cool_down(
    store: ObjectStore, error: BlockedBySource, *, source: str, backfill_id: str, now: dt.datetime, hours: float
) -> None:
    """Begins the cooldown, and tells ``error`` its end as ``resets_at``; with 0 hours there is none."""
    if not hours:
        return
    until = now + dt.timedelta(hours=hours)
    known = Cooldown(until=until, backfill_id=backfill_id, why=error.message)
    store.write(cooldown_name(source), known.model_dump_json(indent=1).encode(), content_type="application/json")
    error.facts["resets_at"] = until.isoformat()


def refuse_while_cooling(store: ObjectStore, source: str, now: dt.datetime) -> None:
    """Raises ``ConfigurationError`` while the source is to be left alone. Nothing was done then."""
    name = cooldown_name(source)
    try:
        found = Cooldown.model_validate_json(store.read(name)[0])
    except ObjectMissing:
        return
    except ValidationError as error:
        raise StateUnreadable(f"state unreadable at {store.root_uri}/{name}; nothing was changed") from error
    if found.until > now:
        raise ConfigurationError(
            f"{source} blocked {found.backfill_id} ({found.why}); it is left alone until {found.until:%Y-%m-%d %H:%M} "
            "UTC. Nothing was done",
            source=source,
            stage="start",
            hint=f"wait; when you know that the block is gone: gcloud storage rm {store.root_uri}/{name}",
        )
