"""What other deployments may wait for: Prefect events of an ended run, and of the partitions that it verified.

``gapless.backfill.completed``, ``.failed``, ``.cancelled`` or ``.paused`` tell of the run,
``gapless.partitions.verified`` of the data; docs/downstream.md has their payloads, and an automation that takes them
up. The id of an event follows from its run, so that one which two closers of the run both tell is kept once. Telling
is no part of the run: a server that does not answer is logged, and the mail says the same.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect.events.schemas.events import Event, RelatedResource, Resource
from prefect.settings import get_current_settings

from alerting.ranges import compress_dates
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from flows.ledger.entry import LedgerEntry
from flows.ledger.verdicts import CANCELLED, exit_code
from flows.run.data_facts import changes_rows, lands_from
from flows.run.interruption import impatient_client

LOG = logging.getLogger("gapless.announcing")
VERIFIED = "gapless.partitions.verified"


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Whose event it is. ``tables`` are those of the source, as ``dataset.table``; ``run_id`` is bf-... or daily-..."""

    source: str
    run_id: str
    flow_run_id: str
    tables: Sequence[str]


def run_events(
    facts: RunFacts, ledger: Mapping[str, LedgerEntry], tables: Sequence[str], *, is_paused: bool = False
) -> list[Event]:
    """What there is to tell of a backfill that ended, or is paused and goes on later.

    Args:
        facts: Recounted.
        ledger: At least the entries of its plan.
        tables: Of the source, as ``dataset.table``.
        is_paused: It is suspended; a run that ended and goes on by itself says so in ``facts``.
    """
    ended = {0: "completed", CANCELLED: "cancelled"}.get(exit_code(facts.verdict), "failed")
    kind = f"gapless.backfill.{'paused' if is_paused or facts.resumes_at else ended}"
    payload = {
        "verdict": "PAUSED" if is_paused else facts.verdict,
        "planned": facts.planned,
        "verdicts": facts.verdict_counts,
        "open": compress_dates((key for key, one in facts.calendar.items() if one not in GOOD_VERDICTS), join=".."),
        "resumes_at": facts.resumes_at.isoformat() if facts.resumes_at else None,
    }
    origin = Origin(facts.source, facts.backfill_id, facts.flow_run_id, tables)
    told = [_event(kind, origin, payload, facts.calendar)]
    # An id is kept once: what was told of a run that goes on would be all that anybody hears.
    if not is_paused and (data := verified_event(origin, ledger.values(), lands_from(facts))):
        told.append(data)
    return told


def verified_event(origin: Origin, entries: Iterable[LedgerEntry], began_at: dt.datetime | None = None) -> Event | None:
    """The partitions to which this run gave a good verdict by loaded rows; None when there is none.

    ``changed`` are those whose rows differ from what was there before, or from what anybody was told: what a model
    built on them has to be built for. ``began_at`` is of the run; see `flows.run.data_facts.changes_rows`.
    """
    mine = {
        one.partition: one
        for one in entries
        if one.backfill_id == origin.run_id and one.verdict.is_good and one.attempt
    }
    if not mine:
        return None
    payload = {
        "partitions": len(mine),
        "changed": compress_dates((key for key, one in mine.items() if changes_rows(one, began_at)), join=".."),
        "rows": {
            table.rpartition(".")[2]: sum(one.loaded.get(table.rpartition(".")[2], 0) for one in mine.values())
            for table in origin.tables
        },
    }
    return _event(VERIFIED, origin, payload, mine)


def announce(events: Sequence[Event]) -> None:
    """Sends events to the Prefect server, in order. Blocking, 14 s at most; raises nothing."""
    if not events or not get_current_settings().api.url:
        return
    try:
        with impatient_client() as client:
            client.request("POST", "/events", json=[event.model_dump(mode="json") for event in events])
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        LOG.warning("%s: nobody was told: %s", ", ".join(event.event for event in events), problem)


def _event(kind: str, origin: Origin, payload: Mapping[str, Any], keys: Iterable[str]) -> Event:
    dates = compress_dates(keys, join="..")
    related = [
        RelatedResource({"prefect.resource.id": f"bigquery.{table}", "prefect.resource.role": "table"})
        for table in origin.tables
    ]
    if origin.flow_run_id:
        run = {"prefect.resource.id": f"prefect.flow-run.{origin.flow_run_id}", "prefect.resource.role": "flow-run"}
        related.insert(0, RelatedResource(run))
    return Event(
        id=uuid5(NAMESPACE_URL, f"{kind}:{origin.run_id}"),
        event=kind,
        resource=Resource(
            {"prefect.resource.id": f"gapless.source.{origin.source}", "prefect.resource.name": origin.source}
        ),
        related=related,
        payload={
            "source": origin.source,
            "run": origin.run_id,
            "tables": list(origin.tables),
            "dates": dates,
            **payload,
        },
    )
