"""Frees a lease by hand: only from the run that was named, only when it is gone, and never without a trace."""

from __future__ import annotations

import json
from typing import Any

from alerting.errors import LeaseHeld
from alerting.object_store import GenerationConflict
from alerting.store_clock import StoreClock
from flows.coordination.intervention import Intervention
from flows.coordination.lease import is_taken, lease_record
from flows.views.situation import cancel_command
from flows.wiring import Services

_HOLDING = ("held", "paused")
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def release_by_hand(
    services: Services, source: str, backfill_id: str, by: Intervention, *, force: bool
) -> dict[str, Any]:
    """Releases the lease and returns what was kept about it.

    The trace is written first, as an object of its own that nothing overwrites. Raises ``LeaseHeld`` when somebody
    else holds the lease, or when the holder may be alive (fresh heartbeat, and Prefect does not say that it ended)
    and ``force`` is not given.
    """
    record = lease_record(services.store, source)
    seen = record.version()
    held = seen.value if seen else None
    if held is None or held.state not in _HOLDING or held.backfill_id != backfill_id:
        holder = held.describe() if held and held.state in _HOLDING else "nobody"
        raise LeaseHeld(
            f"{backfill_id} does not hold the lease, {holder} does. Nothing was done",
            source=source,
            stage="lease",
            hint=f"gapless status {source}",
        )
    state = _prefect_state(held.flow_run_id) if held.flow_run_id else ""
    if state not in _ENDED and not force and is_taken(StoreClock(services.store), held, by.at):
        raise LeaseHeld(
            f"the holder may be alive: {held.describe()}, Prefect says {state or 'nothing'}. Nothing was done",
            source=source,
            stage="lease",
            hint=(
                f"{cancel_command(held.flow_run_id)}; it expires by itself at {held.expires_at:%H:%M:%S} UTC without a "
                "heartbeat"
            ),
        )
    trace = {
        "source": source,
        "backfill_id": backfill_id,
        "released_by": by.who,
        "reason": by.reason,
        "at": by.at.isoformat(),
        "forced": force,
        "prefect_state": state,
        "lease": held.model_dump(mode="json"),
    }
    name = f"audit/leases/source={source}/{by.at:%Y%m%dT%H%M%SZ}-{backfill_id}.json"
    services.store.write(name, json.dumps(trace, indent=1).encode(), content_type="application/json")
    freed = held.left(by.at, state="released", released_by=by.who, released_reason=by.reason)
    try:
        record.write(freed, seen)
    except GenerationConflict:
        raise LeaseHeld(
            "the lease changed just now: the holder is alive. It was left alone", source=source, stage="lease"
        ) from None
    return {**trace, "audit": f"{services.store.root_uri}/{name}"}


def _prefect_state(flow_run_id: str) -> str:
    """What Prefect says of the run, "" when it does not know it or cannot be asked."""
    from flows.cli.prefect_runs import run_state

    state = run_state(flow_run_id)
    return state.value if state else ""
