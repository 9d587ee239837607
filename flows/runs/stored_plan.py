"""Where the record of a backfill lies, and its plan as stored there."""

from __future__ import annotations

import json
from typing import Any

from alerting.errors import ConfigurationError, StateUnreadable
from alerting.object_store import ObjectMissing, ObjectStore


def run_prefix(backfill_id: str) -> str:
    """Where the record of one backfill lies."""
    return f"runs/backfill={backfill_id}/"


def plan_name(backfill_id: str) -> str:
    """Where the plan of one backfill lies."""
    return f"{run_prefix(backfill_id)}plan.json"


def named_plan(store: ObjectStore, backfill_id: str, source: str = "") -> dict[str, Any]:
    """The plan of a run that a person named.

    Raises ``ConfigurationError`` when there is no such run (of ``source``), ``StateUnreadable``.
    """
    if next(store.list(plan_name(backfill_id)), None) is None:
        raise ConfigurationError(
            f"there is no backfill {backfill_id!r}, or it was refused and has no plan. Nothing was done",
            stage="start",
            hint="gapless runs",
        )
    plan = read_plan(store, backfill_id)
    if source and plan.get("source", source) != source:
        raise ConfigurationError(
            f"{backfill_id} is a backfill of {plan['source']}, not of {source}. Nothing was done",
            source=source,
            stage="start",
            hint=f"gapless runs --source {source}",
        )
    return plan


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
