"""What the command says when the run that it followed has ended: why, and what to do."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from alerting.instant import utc_now
from alerting.outbox import Outbox, OutboxEntry
from flows.cli.ending import ending_lines
from flows.coordination.lease import Holder, Lease
from flows.ledger.pending import Pending, leave_pending
from flows.ledger.resumes import Resume, keep_resume
from flows.parameters import PASTED_WAIT_S
from flows.views.situation import situation_of

SOURCE = "bdl_box_scores"


def test_a_run_with_gaps_ends_with_its_causes_and_the_command_that_takes_them_up(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-04"]})
    run, facts = ran("2025-01-03", "2025-01-05")
    lines = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", f"{facts.verdict}: 3 planned")
    assert lines == [
        f"Failed: {facts.verdict}: 3 planned",
        "C1: SourceUnavailable, 2025-01-04: the source answered 500, expected 200: Server error",
        f"next: gapless retry-failed {SOURCE} --run {run.backfill_id} --reason errors",
        f"record: gapless record {run.backfill_id}",
    ]


def test_what_comes_next_is_of_the_partitions_of_the_run_alone(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-03", "2025-01-05"]})
    earlier, _ = ran("2025-01-03", "2025-01-03")
    later, _ = ran("2025-01-04", "2025-01-05")
    for run in (earlier, later):
        *_, next_step, _ = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", "FAILED")
        assert next_step == f"next: gapless retry-failed {SOURCE} --run {run.backfill_id} --reason errors"


def test_what_a_run_did_not_begin_is_taken_up_as_the_run_was_asked_for_it(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-03", "2025-01-05"]})
    ran("2025-01-03", "2025-01-03")
    run, _ = ran("2025-01-05", "2025-01-05")
    untouched = [f"{day:%F}" for day in (dt.date(2025, 1, 7) + dt.timedelta(days=2 * n) for n in range(100))]
    told = ", ".join(untouched)
    rest = Pending(backfill_id=run.backfill_id, verdict="planned", why="", at=utc_now(), ranges=told)
    leave_pending(place.services.store, SOURCE, (), rest)
    owed = Outbox(place.services.store).read(run.backfill_id)
    assert owed is not None
    now = situation_of(place.services, SOURCE, utc_now())
    how, waits = "--reason errors", f"-p wait_for_lease_s={PASTED_WAIT_S}"
    dates = "2025-01-05 2025-01-07 --dates '2025-01-05, 2025-01-07'"
    assert now.after(owed, ["2025-01-05", "2025-01-07"]).next_step == f"gapless run {SOURCE} {dates} {waits} {how}"
    reviewed = dataclasses.replace(owed, facts={**owed.facts, "flags": {"publish": "after_approval"}})
    last, own = untouched[-1], f"--publish after_approval -p failed_of={run.backfill_id}"
    assert now.after(reviewed, ["2025-01-05", *untouched]).next_step == (
        f"gapless run {SOURCE} 2025-01-05 {last} {own} {waits} {how}"
    )


def test_another_run_at_work_does_not_do_what_this_one_left(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-04"]})
    run, _ = ran("2025-01-03", "2025-01-05")
    Lease.acquire(place.services.store, SOURCE, Holder("bf-other", SOURCE), now=utc_now(), ttl_s=900)
    *_, next_step, _ = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", "FAILED")
    assert next_step == f"next: gapless retry-failed {SOURCE} --run {run.backfill_id} --reason errors"


def test_what_no_retry_heals_is_fixed_first(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "wrong_date", "dates": ["2025-01-04"]})
    run, _ = ran("2025-01-04", "2025-01-04")
    *_, next_step, _ = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", "FAILED")
    again = f"gapless retry-failed {SOURCE} --run {run.backfill_id} --reason errors"
    assert next_step == f"next: fix first, then {again}"


def test_what_a_person_did_not_approve_is_looked_at_and_not_retried(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-04"]})
    run, _ = ran("2025-01-03", "2025-01-04")

    def rejected(owed: OutboxEntry) -> OutboxEntry:
        owed.facts = {**owed.facts, "left_to_a_person": "2025-01-04"}
        return owed

    Outbox(place.services.store).update(run.backfill_id, rejected)
    *_, next_step, _ = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", "FAILED")
    assert next_step == f"next: see gapless reviews --source {SOURCE}"


def test_a_dead_key_is_named_although_no_date_was_tried(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "401"})
    run, _ = ran("2025-01-03", "2025-01-05")
    _, cause, next_step, _ = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", "ABORTED(critical)")
    assert cause.startswith("C1: AuthenticationError, 2025-01-03")
    assert cause.endswith(": the source answered 401, expected 200: Unauthorized")
    assert next_step.startswith("next: renew the key; then gapless preflight")


def test_a_run_that_fails_while_another_one_will_resume_is_not_said_to_need_nothing(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-04"]})
    run, _ = ran("2025-01-03", "2025-01-05")
    later = utc_now() + dt.timedelta(hours=1)
    for of, told in (("bf-of-another", f"gapless retry-failed {SOURCE}"), (run.backfill_id, "nothing to do")):
        waits = Resume(
            backfill_id=of,
            scheduled_at=utc_now(),
            at=later,
            waits_for="quota",
            flow_run_id=f"run of {of}",
            flow_run_name="jerboa",
            ranges="2025-01-04",
        )
        keep_resume(place.services.store, SOURCE, waits)
        *_, next_step, _ = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", "FAILED: 3 planned")
        assert next_step.startswith(f"next: {told}")


def test_a_whole_run_ends_with_its_record_and_a_refused_one_with_its_message(place: Any, ran: Any) -> None:
    run, _ = ran("2025-01-03", "2025-01-03")
    assert ending_lines(place.services, SOURCE, run.backfill_id, "Completed", "COMPLETE: 1 partition: 1 verified") == [
        "Completed: COMPLETE: 1 partition: 1 verified",
        f"record: gapless record {run.backfill_id}",
    ]
    assert ending_lines(place.services, SOURCE, "bf-unknown", "Failed", "refused") == ["Failed: refused"]
