"""Where the record of a backfill lies, and its plan as stored there: what any later process recounts it against."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

from alerting.errors import ConfigurationError, StateUnreadable
from alerting.object_store import METADATA_LIMIT_BYTES, ObjectMissing, ObjectStore
from alerting.ranges import compress_dates, expand_dates
from alerting.versioned_record import unreadable
from flows.parameters import NO_DATE, Mode
from flows.planning.plan import Path
from processors.items import Expectation
from scrapers.oracle import Oracle

RUNS = "runs/"
_PLAN = re.compile(rf"{RUNS}backfill=([^/]+)/plan\.json")
# A plan of more scattered dates than fit into its metadata is read itself.
_MOST_BYTES = METADATA_LIMIT_BYTES - 100


class StoredExpectation(BaseModel):
    """What an oracle said of a partition: items with what people call them, by which snapshot; or a doubt."""

    model_config = ConfigDict(frozen=True)

    items: dict[str, str] = {}
    by: str = ""
    doubt: str = ""


class StoredItem(BaseModel):
    """One partition of a stored plan: what was to become of it, why, and what was expected of it."""

    model_config = ConfigDict(frozen=True)

    key: str
    path: Path
    why: str = ""
    expected: tuple[StoredExpectation, ...] = ()


class StoredPlan(BaseModel):
    """A plan as `flows.planning.plan.Plan.to_json` wrote it. What an older one lacks has a default."""

    model_config = ConfigDict(frozen=True)

    items: tuple[StoredItem, ...]
    source: str = ""
    start_date: dt.date = NO_DATE
    end_date: dt.date = NO_DATE
    mode: Mode = Mode.INCREMENTAL
    since: dt.datetime | None = Field(None, description="When the run began, or the one that it goes on with.")
    hash: str = ""
    notes: tuple[str, ...] = ()

    @field_validator("since", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return given or None

    @property
    def keys(self) -> list[str]:
        """Every partition, in the plan's order."""
        return [item.key for item in self.items]

    @property
    def work(self) -> dict[str, bool]:
        """Every partition, and whether the run was to do something about it."""
        return {item.key: item.path.is_work for item in self.items}

    def work_of(self, *paths: Path, skipping: Collection[str] = ()) -> list[str]:
        """Partitions that the run was to do something about, on one of ``paths`` (none: on any), but ``skipping``."""
        left_out = set(skipping)
        return [
            item.key
            for item in self.items
            if item.path.is_work and (not paths or item.path in paths) and item.key not in left_out
        ]

    @property
    def unavailable(self) -> dict[str, str]:
        """What the source cannot have, and why."""
        return {item.key: item.why for item in self.items if item.path is Path.UNAVAILABLE}

    def expected_by(self, oracles: Sequence[Oracle]) -> dict[str, tuple[Expectation, ...]]:
        """What was expected of each partition, by these oracles of its source."""
        return {
            item.key: tuple(
                Expectation(oracle, said.items, said.by, said.doubt)
                for oracle, said in zip(oracles, item.expected, strict=True)
            )
            for item in self.items
            if item.expected and len(item.expected) == len(oracles)
        }

    @property
    def waiting(self) -> dict[str, str]:
        """What was left out because another source has to come first, and why."""
        return {item.key: item.why for item in self.items if item.path is Path.WAIT}


def run_prefix(backfill_id: str) -> str:
    """Where the record of one backfill lies."""
    return f"{RUNS}backfill={backfill_id}/"


def plan_name(backfill_id: str) -> str:
    """Where the plan of one backfill lies."""
    return f"{run_prefix(backfill_id)}plan.json"


def plan_metadata(source: str, keys: Iterable[str]) -> dict[str, str]:
    """What one listing tells of a stored plan: its source and, where they are short enough, its partitions."""
    ranges = compress_dates(keys, join="..")
    return {"source": source, **({"partitions": ranges} if len(ranges.encode()) <= _MOST_BYTES else {})}


def planned_keys(store: ObjectStore, source: str) -> set[str]:
    """Every partition that a backfill of the source ever planned. Raises ``StateUnreadable``."""
    return planned_by_source(store, [source])[source]


def planned_by_source(
    store: ObjectStore, sources: Collection[str], unreadable: list[StateUnreadable] | None = None
) -> dict[str, set[str]]:
    """For each of ``sources`` what `planned_keys` gives, by one listing for all.

    What cannot be read is added to ``unreadable``, or raised.
    """
    keys: dict[str, set[str]] = {source: set() for source in sources}
    for stored in store.list(RUNS):
        match = _PLAN.fullmatch(stored.name)
        named = stored.metadata.get("source", "")
        if match is None or named not in ("", *keys):
            continue
        if named and (ranges := stored.metadata.get("partitions")):
            keys[named].update(expand_dates(ranges))
            continue
        try:
            plan = read_plan(store, match[1])
        except StateUnreadable as error:
            error.told_or_raised(unreadable, source=named)
            continue
        if plan.source in keys:
            keys[plan.source].update(plan.keys)
    return keys


def named_plan(store: ObjectStore, backfill_id: str, source: str = "") -> StoredPlan:
    """The plan of a run that a person named.

    Raises ``ConfigurationError`` when there is no such run (of ``source``), ``StateUnreadable``.
    """
    plan = planned_by(store, backfill_id)
    if plan is None:
        raise ConfigurationError(
            f"there is no backfill {backfill_id!r}, or it was refused and has no plan. Nothing was done",
            stage="start",
            hint="gapless runs",
        )
    if source and plan.source not in ("", source):
        raise ConfigurationError(
            f"{backfill_id} is a backfill of {plan.source}, not of {source}. Nothing was done",
            source=source,
            stage="start",
            hint=f"gapless runs --source {source}",
        )
    return plan


def planned_by(store: ObjectStore, backfill_id: str) -> StoredPlan | None:
    """The plan of a run, None while it has none. Raises ``StateUnreadable``."""
    return read_plan(store, backfill_id) if next(store.list(plan_name(backfill_id)), None) else None


def read_plan(store: ObjectStore, backfill_id: str) -> StoredPlan:
    """The stored plan of a run; raises ``StateUnreadable``."""
    name = plan_name(backfill_id)
    try:
        return StoredPlan.model_validate_json(store.read(name)[0])
    except (ObjectMissing, ValueError) as error:
        raise unreadable(store, name, error, stage="close") from error
