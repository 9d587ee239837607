"""The audit: every level compared, and repair as exactly its findings."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import pty
import subprocess
import sys
from pathlib import Path as File
from typing import Any

import pytest

from alerting.errors import LeaseHeld
from alerting.instant import utc_now
from flows.coordination.lease import Holder, Lease
from flows.ledger.ledger import Verdict
from flows.parameters import Mode
from flows.planning.plan import Path, make_plan
from flows.planning.stored_plan import plan_metadata, plan_name, planned_keys
from flows.truth import auditing
from flows.truth.deficits import summarised
from flows.truth.landed import landed_attempts
from flows.wiring import build_services

SOURCE = "bdl_box_scores"
FIRST, LAST = dt.date(2025, 1, 1), dt.date(2025, 1, 6)


def audited(place: Any, **options: Any) -> dict[str, str]:
    found = auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, LAST, **options)
    return {one.partition: one.deficit.value for one in found}


def test_k31_trap_13_every_kind_of_deficit_is_found_and_what_is_done_is_not(place: Any) -> None:
    place.fill("2025-01-01", 2)  # the second becomes short below
    place.land("2025-01-03")
    place.fail("2025-01-04")
    place.load(place.land("2025-01-05", record=False), record=False)
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-02'")
    assert audited(place) == {
        "2025-01-02": "short",
        "2025-01-03": "landed_not_loaded",
        "2025-01-04": "failed",
        "2025-01-05": "landed_not_loaded",
        "2025-01-06": "never_attempted",
    }


def test_trap_14_a_later_other_payload_reopens_a_date_and_an_equal_one_does_not(place: Any) -> None:
    place.upstream.trouble({"kind": "drop_last_player", "dates": ["2025-01-01"]})
    place.fill("2025-01-01", 2)
    place.upstream.trouble()
    place.land("2025-01-01", 2, record=False)
    assert audited(place)["2025-01-01"] == "landed_not_loaded"
    assert "2025-01-02" not in audited(place)
    kept = landed_attempts(place.store, SOURCE)
    assert {key: len(attempts) for key, attempts in kept.items()} == {"2025-01-01": 2, "2025-01-02": 2}


def test_rows_whose_payload_is_gone_are_loaded_not_landed(place: Any) -> None:
    place.fill("2025-01-01", 6)
    for found in list(place.store.list(f"landing/source={SOURCE}/partition=2025-01-04/")):
        place.store.delete(found.name)
    assert audited(place) == {"2025-01-04": "loaded_not_landed"}


def test_emptiness_expires_and_is_asked_for_again(place: Any) -> None:
    old = utc_now() - dt.timedelta(days=181)
    place.fill("2024-12-24", 1, now=old)
    first = dt.date(2024, 12, 24)
    stale = auditing.audit_sources(place.services, [SOURCE], utc_now(), first, first)
    assert [(one.partition, one.deficit.value) for one in stale] == [("2024-12-24", "stale")]
    keys = auditing.reopen(place.services, SOURCE, stale, "repair-1", utc_now())
    plan = make_plan(
        place.services.source_kit(SOURCE).scraper, place.partitions("2024-12-24", 1), place.ledger.refresh()
    )
    assert (keys, plan.items[0].path) == (["2024-12-24"], Path.FETCH)


def test_no_reload_no_recount_and_no_reconcile_makes_a_proof_of_emptiness_younger(
    place: Any, ran: Any, gapless: Any
) -> None:
    key = "2024-12-24"
    place.fill(key, 1)
    landed_at = place.manifests[key].landed_at
    for mode in (Mode.REPROCESS, Mode.VALIDATE):
        ran(key, key, mode=mode)
        entry = place.entry(key)
        assert (entry.verdict, entry.read_at) == (Verdict.EMPTY_OK, landed_at)
        assert entry.updated_at > landed_at
    place.store.delete(f"ledger/source={SOURCE}/{key}.json")
    assert gapless("reconcile", SOURCE, "--apply").code == 0
    assert place.entry(key).read_at == landed_at


def test_an_answer_that_says_the_same_again_makes_the_proof_younger(place: Any, ran: Any) -> None:
    key = "2024-12-24"
    place.fill(key, 1)
    old = place.manifests[key].landed_at - dt.timedelta(days=181)
    place.ledger.put(dataclasses.replace(place.entry(key), read_at=old, updated_at=old))
    found = auditing.audit_sources(place.services, [SOURCE], utc_now(), dt.date(2024, 12, 24), dt.date(2024, 12, 24))
    assert [one.deficit.value for one in found] == ["stale"]
    ran(key, key, mode=Mode.FULL)
    assert place.entry(key).answered_at > place.manifests[key].landed_at


def test_v25_dates_with_few_rows_are_listed_on_demand(place: Any) -> None:
    place.fill("2025-01-01", 6)
    assert audited(place) == {}
    rows = sum(place.entry("2025-01-01").loaded.values())
    assert "2025-01-01" in audited(place, below=rows + 1)


def test_trap_12_landed_objects_that_no_processor_takes_fail_loudly(place: Any, gapless: Any, inbox: Any) -> None:
    place.store.write("landing/source=forgotten/partition=2025-01-01/attempt=a/manifest.json", b"{}")
    found = gapless("audit", "--json")
    assert found.code == 1
    (line,) = [line for line in found.data["deficits"] if line["deficit"] == "unmapped"]
    assert line["source"] == "forgotten"
    assert "no scraper and no processor" in line["why"]
    auditing.tell(place.services, summarised(auditing.unmapped(place.services)))
    (mail,) = inbox.messages()
    assert "CRITICAL forgotten" in mail["subject"]


def test_v19_repair_takes_up_exactly_the_deficits_each_by_its_cheapest_path(place: Any) -> None:
    place.fill("2025-01-01", 2)
    place.land("2025-01-03", record=False)
    place.fail("2025-01-04")
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-02'")
    findings = auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, dt.date(2025, 1, 5))
    keys = auditing.reopen(place.services, SOURCE, findings, "repair-1", utc_now())
    assert keys == ["2025-01-02", "2025-01-03", "2025-01-04", "2025-01-05"]
    plan = make_plan(
        place.services.source_kit(SOURCE).scraper, place.partitions("2025-01-01", 5), place.ledger.refresh()
    )
    assert [item.path.value for item in plan.items] == ["skip", "reload", "reload", "fetch", "fetch"]


def test_repair_does_not_write_beside_a_living_run(place: Any) -> None:
    place.fill("2025-01-01", 1)
    place.sql("DELETE FROM {lines} WHERE TRUE")
    Lease.acquire(place.store, SOURCE, Holder("bf-other"), now=utc_now(), ttl_s=60)
    findings = auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, FIRST)
    before = place.objects()
    with pytest.raises(LeaseHeld, match="bf-other"):
        auditing.reopen(place.services, SOURCE, findings, "repair-1", utc_now())
    assert place.objects() == before


def test_what_a_living_run_works_on_is_no_alert_and_nothing_for_a_repair(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 1)  # which the run leaves alone
    place.sql("DELETE FROM {lines} WHERE TRUE")
    place.land("2025-01-02")
    steps = {"2025-01-01": "skip", "2025-01-02": "fetch", "2025-01-03": "fetch"}
    plan = {"source": SOURCE, "items": [{"key": key, "path": path} for key, path in steps.items()]}
    place.store.write(plan_name("bf-1"), json.dumps(plan).encode())
    lease = Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=600)
    dates = ("2025-01-01", "2025-01-03")
    found = gapless("audit", SOURCE, "--from", dates[0], "--to", dates[1], "--json").data["deficits"]
    assert [(one["deficit"], one["ranges"]) for one in found] == [
        ("short", "2025-01-01"),
        ("in_work", "2025-01-02…2025-01-03"),
    ]
    assert found[1]["why"].startswith("bf-1 works on it since ")
    assert "2 partitions left to the run that works on them" in gapless("repair", SOURCE, *dates, "--dry-run").out
    lease.release(utc_now())
    assert audited(place)["2025-01-03"] == "never_attempted"


def test_a_range_in_which_nothing_can_be_there_is_called_wrong_and_not_clean(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 1)
    for verb, *option in (("audit", "--from"), ("repair",), ("gaps",), ("verify",)):
        told = gapless(verb, SOURCE, *option, "2099-01-01")
        assert (told.code, told.out) == (2, "")
        assert "2099-01-01 is not over and settled before 2099-01-02 11:00 UTC, and nothing after it" in told.err
        told = gapless(verb, "civic_band", *option, "2025-01-01")
        assert told.code == 2
        assert "civic_band is asked by entity and has no dates. Nothing was looked at" in told.err
    told = gapless("audit", "--from", "2099-01-01")
    assert (told.code, told.out, "2099-01-01 lies ahead" in told.err) == (2, "", True)


def test_an_audit_makes_no_call_and_no_write(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 2)
    before, calls = place.objects(), place.upstream.calls.report()["total"]
    assert gapless("audit", SOURCE, "--from", "2025-01-01").code == 1
    assert gapless("repair", SOURCE, "2025-01-01", "--dry-run").code == 0
    assert place.objects() == before
    assert place.upstream.calls.report()["total"] == calls


def test_five_deficits_of_two_sources_are_one_alert() -> None:
    from types import SimpleNamespace

    told: list[Any] = []
    lines = [
        {"source": source, "deficit": deficit, "count": 2, "ranges": "2025-01-01..2025-01-02", "why": "w"}
        for source, deficit in (("a", "stale"), ("a", "short"), ("b", "failed"), ("b", "stale"), ("b", "unfinished"))
    ]
    auditing.tell(SimpleNamespace(alerts=SimpleNamespace(record_error=told.append)), lines)
    (one,) = told
    assert one.error_type == "AuditDeficits"
    assert len(one.message.splitlines()) == 5
    assert one.hint == "gapless repair a --reason audit; gapless repair b --reason audit"
    auditing.tell(SimpleNamespace(alerts=SimpleNamespace(record_error=told.append)), [])
    assert len(told) == 1


def test_what_no_repair_can_mend_is_told_with_what_does() -> None:
    from types import SimpleNamespace

    told: list[Any] = []
    lines = [
        {"source": source, "deficit": deficit, "count": 1, "ranges": ranges, "why": why}
        for source, deficit, ranges, why in (
            ("gone", "unmapped", "", "no processor of that name"),
            ("a", "not_audited", "", "StateUnreadable: leases/a.json"),
            ("b", "in_review", "2025-01-03", "rows of bf-1 wait for approval"),
            ("c", "short", "2025-01-04", "rows now and when verified differ"),
        )
    ]
    auditing.tell(SimpleNamespace(alerts=SimpleNamespace(record_error=told.append)), lines)
    (one,) = told
    assert one.message.splitlines() == [
        "gone: unmapped: no processor of that name",
        "a: not audited: StateUnreadable: leases/a.json",
        "b: 1 partition in review: 2025-01-03. rows of bf-1 wait for approval",
        "c: 1 partition short: 2025-01-04. rows now and when verified differ",
    ]
    assert one.hint == (
        "install the code of gone; gapless audit a; gapless reviews --source b; gapless repair c --reason audit"
    )


def never_attempted(place: Any) -> str:
    """Without a range, as the schedule asks."""
    found = summarised(auditing.audit_sources(place.services, [SOURCE], utc_now(), None, dt.date(2025, 2, 10)))
    return next((one["ranges"] for one in found if one["deficit"] == "never_attempted"), "")


def test_dates_between_two_ranges_that_nobody_asked_for_are_no_gap(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place.fill("2025-01-01", 1)
    place.fill("2025-02-05", 1)
    assert never_attempted(place) == ""
    keys = [f"2025-01-{day:02d}" for day in range(1, 5)]
    place.store.write(plan_name("bf-a"), b"{}", metadata=plan_metadata(SOURCE, keys))
    place.store.write(plan_name("bf-b"), b"{}", metadata=plan_metadata("another", ["2025-01-20"]))
    whole = {"source": SOURCE, "items": [{"key": "2025-01-10", "path": "fetch"}]}
    place.store.write(plan_name("bf-without-metadata"), json.dumps(whole).encode())
    assert never_attempted(place) == "2025-01-02…2025-01-04, 2025-01-10"
    place.run_id = "daily-0f3a5c1e7b1d"
    place.fill("2025-02-07", 1)
    assert never_attempted(place) == "2025-01-02…2025-01-04, 2025-01-10, 2025-02-08…2025-02-10"
    monkeypatch.setenv("GAPLESS_AUDIT_FROM", json.dumps({SOURCE: "2024-12-31"}))
    place.services = build_services()
    assert never_attempted(place).startswith("2024-12-31, 2025-01-02…2025-02-04, 2025-02-06, ")


def test_a_run_leaves_word_of_which_dates_it_was_asked_for(place: Any, ran: Any) -> None:
    ran("2025-01-01", "2025-01-03", exclude="2025-01-02")
    (plan,) = place.store.list(plan_name("bf-run000000001"))
    assert plan.metadata["source"] == SOURCE
    assert planned_keys(place.store, SOURCE) == {"2025-01-01", "2025-01-03"}


def test_a_plan_of_too_many_scattered_dates_for_a_listing_is_read_itself() -> None:
    days = [str(FIRST + dt.timedelta(days=2 * number)) for number in range(1_000)]
    assert plan_metadata(SOURCE, days) == {"source": SOURCE}


def on_a_terminal(*words: str, answer: bytes) -> tuple[int, str]:
    """One command line whose three streams are a pseudo-terminal at which somebody types ``answer``."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "flows", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=dict(os.environ),
            cwd=File(__file__).parents[3],
        ) as running:  # fmt: skip
            os.close(theirs)
            os.write(ours, answer)
            said = b""
            try:
                while part := os.read(ours, 65_536):
                    said += part
            except OSError:  # EIO: the other side has closed
                pass
            return running.wait(60), said.decode()
    finally:
        os.close(ours)


def test_repair_says_what_it_would_do_and_asks_on_a_terminal_before_it_changes_anything(place: Any) -> None:
    place.fill("2025-01-01", 1)
    place.land("2025-01-02")
    place.fail("2025-01-03")
    before = place.objects()
    code, said = on_a_terminal("repair", SOURCE, "2025-01-01", "2025-01-03", answer=b"n\n")
    assert code == 1
    assert "Repair of 2 partitions: 1 partition fetched again, 1 partition loaded again" in said
    assert "Begin? [y/N]" in said
    assert "Aborted" in said
    assert place.objects() == before


def test_repair_asks_no_script_and_nobody_who_said_yes(place: Any, gapless: Any) -> None:
    place.fail("2025-01-03")
    # Both get as far as the Prefect server, which is not there.
    for words in ((), ("--yes",)):
        answered = gapless("repair", SOURCE, "2025-01-03", "2025-01-03", *words)
        assert "Repair of 1 partition: 1 partition fetched again." in answered.out
        assert "Begin?" not in answered.out + answered.err
        assert "PREFECT_API_URL is not set" in answered.err


def test_all_that_an_audit_of_several_deficits_found_arrives_as_one_mail(place: Any, inbox: Any) -> None:
    place.fill("2025-01-01", 1)
    place.land("2025-01-02")
    place.fail("2025-01-03")
    before = len(inbox.messages())
    auditing.tell(
        place.services,
        summarised(auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, dt.date(2025, 1, 4))),
    )
    mails = inbox.messages()
    assert len(mails) == before + 1
    assert mails[0]["subject"] == f"[gapless] ERROR {SOURCE}: AuditDeficits"
    text = inbox.message(mails[0]["id"])["text"]
    for said in ("1 partition failed", "1 partition landed not loaded", "1 partition never attempted"):
        assert said in text
    assert f"gapless repair {SOURCE} --reason audit" in text
