"""What the command says when the run that it followed has ended: why, and what to do."""

from __future__ import annotations

import datetime as dt
from typing import Any

from alerting.instant import utc_now
from flows.cli.ending import ending_lines
from flows.ledger.resumes import Resume, keep_resume

SOURCE = "bdl_box_scores"


def test_a_run_with_gaps_ends_with_its_causes_and_the_command_that_takes_them_up(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-04"]})
    run, facts = ran("2025-01-03", "2025-01-05")
    lines = ending_lines(place.services, SOURCE, run.backfill_id, "Failed", f"{facts.verdict}: 3 planned")
    assert lines == [
        f"Failed: {facts.verdict}: 3 planned",
        "C1: SourceUnavailable, 2025-01-04: the source answered 500, expected 200: Server error",
        f"next: gapless retry-failed {SOURCE} --reason errors",
        f"record: gapless record {run.backfill_id}",
    ]


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
