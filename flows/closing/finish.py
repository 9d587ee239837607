"""The end of a run in the process that did its work: what only this process knows goes into the closing."""

from __future__ import annotations

import dataclasses

from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from flows.closing.announcing import announce, run_events
from flows.closing.close import close_backfill, recount
from flows.closing.settle_ledger import Ending, settle_ledger
from flows.coordination.lease import pause_lease
from flows.ledger.verdicts import resumes_at
from flows.planning.stored_plan import read_plan
from flows.run.data_facts import balance_facts, drift_facts, slowest_answer
from flows.run.progress_artifact import tell_progress
from flows.run.run import Run
from flows.run.usage import spent_facts


def finish(run: Run, aborted: str) -> RunFacts:
    """Sends the one mail and frees the lease. Blocking; returns the recounted facts."""
    run.services.alerts.flush("end", "final")
    facts = dataclasses.replace(
        run.facts,
        notes=[*run.facts.notes, *run.notes],
        warnings=balance_facts(run.tally.receipts),
        schema_drift=[
            *drift_facts(run.tally.receipts, run.history.known_unknown_fields),
            *(f"{told}: read as what it is" for told in getattr(run.client, "drift", ())),
        ],
        slowest_step=slowest_answer(run.tally.answers_s),
        **spent_facts(run),
    )
    closed = close_backfill(
        run.services,
        run.backfill_id,
        aborted=aborted,
        now=utc_now(),
        facts=facts,
        resumes_at=resumes_at(run.stopped_by),
    )
    return closed.facts if closed else facts


def pause(run: Run, told: str = "suspended in Prefect: Resume does the rest") -> None:
    """Leaves the source free and the mail owed: Resume starts this run again, and it sends the mail. Blocking.

    ``told`` is its progress meanwhile.
    """
    run.services.alerts.flush("pause", run.backfill_id)
    why = "is suspended in Prefect; Resume continues it"
    ending, plan = Ending(why, utc_now(), is_paused=True), read_plan(run.services.store, run.backfill_id)
    ledger = settle_ledger(run.services.store, run.source, run.backfill_id, plan, ending)
    pause_lease(run.services.store, run.source, run.backfill_id, utc_now())
    tell_progress(run.facts.flow_run_id, told)
    known = recount(run.services, run.facts, plan, ledger, aborted="user", now=utc_now())
    announce(run_events(known.redacted(), ledger, run.services.table_names(run.source), is_paused=True))
