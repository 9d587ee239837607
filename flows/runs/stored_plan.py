"""Where the record of a backfill lies, and its plan as stored there."""

from __future__ import annotations

import json
from typing import Any

from alerting.errors import StateUnreadable
from alerting.object_store import ObjectMissing, ObjectStore


def run_prefix(backfill_id: str) -> str:
    """Where the record of one backfill lies."""
    return f"runs/backfill={backfill_id}/"


def plan_name(backfill_id: str) -> str:
    """Where the plan of one backfill lies."""
    return f"{run_prefix(backfill_id)}plan.json"


def read_plan(store: ObjectStore, backfill_id: str) -> dict[str, Any]:
    """The stored plan of a run; raises ``StateUnreadable``."""
    name = plan_name(backfill_id)
    try:
        plan: dict[str, Any] = json.loads(store.read(name)[0])
    except (ObjectMissing, ValueError) as error:
        raise StateUnreadable(
            f"plan unreadable at {store.root_uri}/{name}; nothing was changed", stage="close"
        ) from error
    return plan
