"""Cleanup, reconcile, status, runs, errors, preflight: what people use when something went wrong."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from alerting.errors import LeaseHeld, StateUnreadable
from alerting.incident import Incident
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from flows.coordination.lease import Holder, Lease, pause_lease, read_lease
from flows.ledger.ledger import Verdict
from flows.truth import auditing
from flows.truth.accepting import accept_open
from flows.truth.cleanup import find_leftovers, remove_leftovers
from flows.truth.deficits import Deficit, Finding
from flows.truth.reconcile import rebuild_ledger
from flows.views.preflight import preflight
from flows.wiring import build_services
from scrapers.base import Page, Request

SOURCE = "bdl_box_scores"
TOMORROW = dt.timedelta(days=1, minutes=1)


def run_of(place: Any, backfill_id: str, **facts: Any) -> None:
    """A backfill that began and owes its mail."""
    alerts = place.services.alerts
    begun = RunFacts(backfill_id=backfill_id, source=SOURCE, start_date="2025-01-01", started_at=utc_now(), **facts)
    alerts.enable_backfill_mode(backfill_id, source=SOURCE, ttl_s=60, facts=begun)


# -- cleanup ---------------------------------------------------------------------------------------------------


def test_k20_cleanup_lists_broken_off_attempts_and_staging_and_touches_nothing_that_is_named(
    place: Any, gapless: Any
) -> None:
    place.fill("2025-01-01", 2)
    partition = place.partitions("2025-01-03", 1)[0]
    page = Page(Request("/x"), 1, 200, {}, b"{}", utc_now(), 0.1)
    place.services.landing.put_page(SOURCE, partition, "20250103T000000Z-dead", page, None)
    place.store.write(f"staging/source={SOURCE}/batch=x/part.ndjson.gz", b"x")
    place.sql(f"CREATE TABLE {_staging(place)} AS SELECT 1 AS x")
    before = place.objects()
    found = find_leftovers(place.services, SOURCE, utc_now() + TOMORROW, dt.timedelta(days=1))
    assert [one.kind for one in found] == ["attempt", "staging object", "staging table"]
    assert gapless("cleanup", SOURCE).code == 0
    assert place.objects() == before
    removed = remove_leftovers(place.services, SOURCE, utc_now() + TOMORROW, dt.timedelta(days=1))
    assert removed == found
    gone = set(before) - set(place.objects())
    assert {name.split("/")[0] for name in gone} == {"landing", "staging"}
    assert len(gone) == 2
    assert gapless("verify", SOURCE, "2025-01-01", "2025-01-02").code == 0
    assert find_leftovers(place.services, SOURCE, utc_now() + TOMORROW, dt.timedelta(days=1)) == []


def test_cleanup_leaves_what_is_young_and_waits_for_a_living_run(place: Any) -> None:
    place.store.write(f"staging/source={SOURCE}/batch=x/part.ndjson.gz", b"x")
    assert find_leftovers(place.services, SOURCE, utc_now(), dt.timedelta(hours=1)) == []
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=600)
    with pytest.raises(LeaseHeld):
        remove_leftovers(place.services, SOURCE, utc_now() + TOMORROW, dt.timedelta(days=1))
    assert len(list(place.store.list("staging/"))) == 1


def test_cleanup_leaves_what_a_run_would_go_on_with_and_what_another_source_has_staged(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = place.partitions("2025-01-03", 1)[0]
    page = Page(Request("/x"), 1, 200, {}, b"{}", utc_now(), 0.1)
    place.services.landing.put_page(SOURCE, partition, "20250103T000000Z-dead", page, None)
    place.sql(f"CREATE TABLE {_staging(place, 'nba_bdl_games_more')} AS SELECT 1 AS x")

    def found(days: int) -> list[str]:
        services, now = build_services(), utc_now() + days * TOMORROW
        return [one.kind for one in find_leftovers(services, SOURCE, now, dt.timedelta(days=1))]

    assert found(1) == ["attempt"]
    monkeypatch.setenv("GAPLESS_CHECKPOINT_MAX_AGE_H", "48")
    assert (found(1), found(2)) == ([], ["attempt"])


def _staging(place: Any, table: str = "nba_bdl_games") -> str:
    return str(place.services.warehouse.name_of(f"stg_{table}_0123456789abcdef"))


# -- reconcile -------------------------------------------------------------------------------------------------


def test_a_lost_ledger_is_rebuilt_from_manifests_receipts_and_a_recount(place: Any, gapless: Any) -> None:
    place.fill("2024-12-24", 3)
    place.land("2024-12-27")
    truth = place.ledger.refresh()
    for found in list(place.store.list("ledger/")):
        place.store.delete(found.name)
    assert gapless("reconcile", SOURCE).code == 0
    assert list(place.store.list("ledger/")) == []
    assert gapless("reconcile", SOURCE, "--apply").code == 0
    rebuilt = place.ledger.refresh()
    for key, entry in truth.items():
        again = rebuilt[key]
        assert (again.verdict, again.attempt, again.content_hash) == (entry.verdict, entry.attempt, entry.content_hash)
        assert (again.loaded, again.landed, again.receipt_id) == (entry.loaded, entry.landed, entry.receipt_id)
    assert gapless("verify", SOURCE, "2024-12-24", "2024-12-26").code == 0


def test_an_unreadable_entry_stops_everything_until_reconcile_rebuilds_it_and_others_stay_as_they_are(
    place: Any, gapless: Any
) -> None:
    place.fill("2025-01-01", 2)
    broken = f"ledger/source={SOURCE}/2025-01-02.json"
    place.store.write(broken, b"{}", metadata={"verdict": "nonsense"})
    before = place.objects()
    refused = gapless("status", SOURCE)
    assert refused.code == 1
    assert f"gapless reconcile {SOURCE}" in refused.err
    with pytest.raises(StateUnreadable):
        _ = place.ledger
    assert gapless("reconcile", SOURCE, "--apply").code == 0
    after = place.objects()
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed - {f"leases/{SOURCE}.json"} == {broken}
    assert place.entry("2025-01-02").verdict is Verdict.VERIFIED


def test_rows_that_do_not_agree_are_rebuilt_as_landed_so_that_the_next_run_loads_them(place: Any) -> None:
    place.fill("2025-01-01", 1)
    place.store.delete(f"ledger/source={SOURCE}/2025-01-01.json")
    place.sql("DELETE FROM {lines} WHERE TRUE")
    (one,) = rebuild_ledger(place.services, SOURCE, utc_now(), apply=True)
    assert (one.was, one.entry.verdict) == ("missing", Verdict.LANDED)


def test_reconcile_does_not_write_beside_a_living_run(place: Any) -> None:
    place.land("2025-01-01", record=False)
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=600)
    with pytest.raises(LeaseHeld):
        rebuild_ledger(place.services, SOURCE, utc_now(), apply=True)
    assert list(place.store.list("ledger/")) == []


def test_reconcile_leaves_an_entry_that_was_written_beside_it_and_says_so(
    place: Any, gapless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.land("2025-01-01", record=False)
    written = f"ledger/source={SOURCE}/2025-01-01.json"
    monkeypatch.setattr(Lease, "check", lambda _: place.store.write(written, b"{}"))
    refused = gapless("reconcile", SOURCE, "--apply")
    assert refused.code == 1
    assert "2025-01-01" in refused.err
    assert "written by another process meanwhile" in refused.err
    assert place.store.read(written)[0] == b"{}"


def reopen(place: Any) -> None:
    auditing.reopen(place.services, SOURCE, audited(place), "repair-1", utc_now())


def accept(place: Any) -> None:
    accept_open(place.services, SOURCE, ["2025-01-01"], who="me", reason="gone", now=utc_now())


def tidy_up(place: Any) -> None:
    assert remove_leftovers(place.services, SOURCE, utc_now() + TOMORROW, dt.timedelta(days=1))


def rebuild(place: Any) -> None:
    assert rebuild_ledger(place.services, SOURCE, utc_now(), apply=True)


def audited(place: Any) -> list[Finding]:
    return [Finding(SOURCE, "2025-01-01", Deficit.SHORT, "rows are gone", place.entry("2025-01-01"))]


@pytest.mark.parametrize("command", [reopen, accept, tidy_up, rebuild])
def test_no_run_begins_while_a_command_writes_and_a_suspended_one_is_suspended_afterwards(
    place: Any, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    place.fill("2025-01-01", 1)
    place.ledger.put(dataclasses.replace(place.entry("2025-01-01"), open_items="1 game"))
    place.land("2025-01-02", record=False)
    place.store.write(f"staging/source={SOURCE}/batch=x/part.ndjson.gz", b"x")
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=600)
    pause_lease(place.store, SOURCE, "bf-1", utc_now())
    before, refused = read_lease(place.store, SOURCE), []

    def looked(_: Lease) -> None:
        with pytest.raises(LeaseHeld) as error:
            Lease.acquire(place.store, SOURCE, Holder("bf-2"), now=utc_now(), ttl_s=600)
        refused.append(error)

    monkeypatch.setattr(Lease, "check", looked)
    command(place)
    assert refused, "it looks before it writes"
    assert read_lease(place.store, SOURCE) == before


# -- status ----------------------------------------------------------------------------------------------------


def answers(gapless: Any) -> dict[int, str]:
    found = gapless("status", SOURCE, "--json").data
    return {one["number"]: one["answer"] for one in found["answers"]}


def test_the_fifteen_questions_have_answers_before_the_first_run(place: Any, gapless: Any) -> None:
    said = answers(gapless)
    assert sorted(said) == list(range(1, 16))
    assert said[1].startswith("never run")
    assert said[8] == "nobody"


def test_status_of_failures_names_causes_blame_and_the_exact_retry_command(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 2)
    for date in ("2025-01-03", "2025-01-04"):
        place.fail(date)
    place.fail("2025-01-09", "AuthenticationError", "the source answered 401, expected 200")
    said = answers(gapless)
    assert "2 dates, 1 cause" in said[2]
    assert "2025-01-03…2025-01-04" in said[2]
    assert "permissions" in said[3]
    assert "the source: down" in said[3]
    assert said[6] == f"gapless retry-failed {SOURCE} --reason errors"
    assert "a person is needed" in said[15]
    assert f"gapless preflight {SOURCE} --canary, and gapless run {SOURCE} 2025-01-03 2025-01-09" in said[15]
    failed = gapless("status", SOURCE, "--failed", "--json").data
    assert {cause["error_type"] for cause in failed} == {"SourceUnavailable"}, "no date is blamed for a dead key"


def test_status_tells_running_from_hung_from_dead(place: Any, gapless: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = utc_now()
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=now, ttl_s=600)
    assert answers(gapless)[1].startswith("running")
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=now - dt.timedelta(hours=3), ttl_s=4 * 3600)
    assert answers(gapless)[1].startswith("hung")
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=now - dt.timedelta(hours=3), ttl_s=60)
    # As if the store had taken it then.
    monkeypatch.setattr("alerting.store_clock.StoreClock.written_at", lambda *_: None)
    said = answers(gapless)
    assert said[1].startswith("dead")
    assert f"gapless release-lease {SOURCE} --run bf-1" in said[8]


def test_status_says_whether_the_mail_went_out_and_what_is_muted(place: Any, gapless: Any, inbox: Any) -> None:
    run_of(place, "bf-1", planned=3, code_version="1.2.3+abc")
    said = answers(gapless)
    assert "due when the run ends" in said[10]
    assert "all other alerts are live" in said[10]
    assert "1.2.3+abc" in said[11]
    inbox.trouble("451")
    place.services.alerts.disable_backfill_mode()
    owed = answers(gapless)[10]
    assert "PENDING" in owed
    assert "gapless send-owed" in owed
    inbox.trouble("none")
    place.services.alerts.disable_backfill_mode()
    assert "sent" in answers(gapless)[10]
    (run,) = gapless("runs", "--last", "5", "--json").data
    assert (run["backfill_id"], run["source"], run["mail"].split()[0]) == ("bf-1", SOURCE, "sent")


def test_n23_errors_are_grouped_by_type_and_source_over_backfills_and_live_alerts(place: Any, gapless: Any) -> None:
    run_of(place, "bf-1")
    for day in (3, 4, 5):
        place.services.alerts.record_error(
            Incident(source=SOURCE, partition=f"2025-01-0{day}", error_type="SourceUnavailable", message="503")
        )
    place.services.alerts.disable_backfill_mode()
    place.services.alerts.record_error(Incident(source="other", error_type="RowRejected", message="bad row"))
    found = gapless("errors", "--hours", "1", "--json").data
    assert found["errors"] == 4
    assert found["by_type"] == {"SourceUnavailable": 3, "RowRejected": 1}
    assert found["by_source"] == {SOURCE: 3, "other": 1}
    assert "2025-01-03…2025-01-05" in {cause["ranges"].split(" (")[0] for cause in found["causes"]}
    assert gapless("errors", "--hours", "1", "--source", "other", "--json").data["errors"] == 1


def test_v15_incomplete_shows_a_partition_of_which_nothing_was_loaded(place: Any, gapless: Any) -> None:
    place.land("2025-01-01")
    rows = gapless("status", SOURCE, "--incomplete", "--json").data
    assert {row["table"] for row in rows} == {"nba_bdl_games", "nba_bdl_player_stats"}
    assert all(row["actual"] == 0 < row["expected"] for row in rows)


# -- preflight -------------------------------------------------------------------------------------------------


def checked(place: Any, **options: bool) -> dict[str, str]:
    chosen = {"test_mail": False, "canary": False, **options}
    return {one.name: one.result for one in preflight(place.services, SOURCE, utc_now(), **chosen)}


def test_h23_k07_preflight_passes_on_a_good_place_and_leaves_no_trace(place: Any, inbox: Any) -> None:
    place.fill("2025-01-01", 1)
    before = place.objects()
    found = checked(place, canary=True)
    assert {name for name, result in found.items() if result != "pass"} == set()
    # Its canary is a call as any other, so that the account's other processes keep their distance from it.
    assert {name for name in place.objects() if not name.startswith("budgets/pace/")} == set(before)
    assert {name: at for name, at in place.objects().items() if name in before} == before
    assert inbox.messages() == []
    assert checked(place, test_mail=True)["mail"] == "pass"
    assert len(inbox.messages()) == 1


def test_h23_preflight_names_each_failed_check_with_a_remedy(place: Any, gapless: Any, inbox: Any) -> None:
    place.upstream.trouble({"kind": "401"})
    inbox.trouble("451")
    place.store.write("landing/source=forgotten/partition=x/attempt=a/manifest.json", b"{}")
    place.store.write("leases/bdl_box_scores.json", b"garbage")
    answered = gapless("preflight", SOURCE, "--canary", "--test-mail", "--json")
    assert answered.code == 1
    failed = {one["name"]: one for one in answered.data["checks"] if one["result"] == "fail"}
    assert {"source", "mail", "mapping", "lease", "prefect api"} <= set(failed)
    assert all(one["remedy"] for one in failed.values())
