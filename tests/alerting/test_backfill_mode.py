"""Backfill mode between its beginning and its end: signs of life, calls for a human, a store that is down."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from reported import fail, text

from alerting import errors
from alerting.delivery import owed_summaries
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.live_alerts import AlertSettings
from alerting.memory_store import MemoryObjectStore
from alerting.outbox import Outbox, OutboxEntry
from alerting.run_facts import RunFacts


def test_live_alerts_of_another_flow_go_on_during_a_backfill(make_manager, mail_server):
    backfill, live = make_manager(mail_server.channel()), make_manager(mail_server.channel())
    backfill.enable_backfill_mode("b", source="nba")
    live.record_error(fail(1))
    assert live.should_send_alert("Other") is True
    assert backfill.should_send_alert("Other") is False
    assert len(mail_server.inbox.mails) == 1


def test_a_mode_nobody_keeps_alive_ends_by_itself_and_says_so(make_manager, mail_server, clock, store):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b", source="nba", ttl_s=600)
    clock.tick(seconds=500)
    manager.heartbeat()
    clock.tick(seconds=500)
    assert manager.is_backfill_mode
    clock.tick(seconds=101)
    assert not manager.is_backfill_mode
    manager.record_error(fail(1))
    subjects = [mail["Subject"] for mail in mail_server.inbox.mails]
    assert any("CRITICAL" in subject and "StaleBackfillMode" in subject for subject in subjects)
    assert any("Timeout" in subject for subject in subjects)
    assert owed_summaries(store, clock())[0].why == "stale"
    assert manager.disable_backfill_mode().status == "sent"


def test_a_critical_error_tells_a_human_at_once_and_only_once(make_manager, mail_server):
    manager = make_manager(mail_server.channel(by_severity={"CRITICAL": ["oncall@example.org"]}))
    manager.enable_backfill_mode("b", source="nba", facts=RunFacts(contacts={"primary": "maria"}))
    for day in range(1, 6):
        error = errors.AuthenticationError("key revoked", source="nba", partition=f"2024-01-{day:02d}", hint="renew it")
        manager.record_error(error)
    (mail,) = mail_server.inbox.mails
    assert mail_server.inbox.recipients == [["oncall@example.org"]]
    assert "Do this: Renew it" in text(mail)
    assert "maria" in text(mail)
    manager.disable_backfill_mode()
    assert len(mail_server.inbox.mails) == 2


def test_a_human_who_could_not_be_told_is_told_with_the_next_heartbeat(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b", source="nba")
    mail_server.down()
    manager.record_error(errors.BlockedBySource("challenge page"))
    mail_server.up()
    manager.heartbeat()
    manager.heartbeat()
    assert [mail["Message-ID"] for mail in mail_server.inbox.mails] == ["<gapless.b.1.human@gapless.local>"]


class Flaky(MemoryObjectStore):
    """Takes nothing while ``down``, and counts how often it was asked in vain."""

    down, refused = False, 0

    def write(self, name, data, **rest):
        if self.down:
            self.refused += 1
            raise errors.LandingUnavailable("503")
        return super().write(name, data, **rest)


def test_a_human_is_told_by_the_next_heartbeat_when_the_store_was_down_at_the_critical_error(make_manager, mail_server):
    flaky = Flaky()
    manager = make_manager(mail_server.channel(), store=flaky)
    manager.enable_backfill_mode("b", source="nba")
    flaky.down = True
    for day in range(1, 29):
        manager.record_error(errors.BlockedBySource("challenge page", partition=f"2024-01-{day:02d}"))
    assert mail_server.inbox.mails == []
    assert flaky.refused < 5, "a thousand errors must not wait a thousand times for a dead store"
    flaky.down = False
    manager.heartbeat()
    manager.heartbeat()
    (mail,) = mail_server.inbox.mails
    assert mail["X-Backfill-Outcome"] == "BLOCKED"
    assert mail["Subject"] == "[backfill][BLOCKED] nba · BlockedBySource"
    assert "2024-01-01" in text(mail), "the first one, not the last one"


def test_errors_recorded_while_the_store_is_down_are_in_the_mail(make_manager, mail_server):
    flaky = Flaky()
    manager = make_manager(mail_server.channel(), store=flaky)
    manager.enable_backfill_mode("b", source="nba")
    flaky.down = True
    manager.record_error(fail(1))
    manager.record_error(errors.AuthenticationError("dead", partition="2024-01-02"))
    assert manager.flush("w") is False
    assert manager.heartbeat() is False
    with pytest.raises(errors.LandingUnavailable):
        manager.disable_backfill_mode()
    flaky.down = False
    assert manager.disable_backfill_mode().status == "sent"
    body = text(mail_server.inbox.mails[-1])
    assert "2024-01-01" in body
    assert "2024-01-02" in body


def test_eight_threads_lose_no_error(make_manager, mail_server, store):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b", source="nba")
    start = threading.Barrier(8)

    def work(worker: int) -> None:
        start.wait()
        for number in range(40):
            manager.record_error(Incident(source="nba", error_type="E", message="m", incident_id=f"{worker}-{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    manager.disable_backfill_mode()
    assert {found.incident_id for found in IncidentJournal(store).read("b")} == {
        f"{w}-{n}" for w in range(8) for n in range(40)
    }


def test_a_start_mail_is_a_choice_and_comes_once_per_attempt(make_manager, mail_server):
    manager = make_manager(mail_server.channel(), settings=AlertSettings(retry_waits_s=(), start_mail=True))
    for _ in range(2):
        manager.enable_backfill_mode("b", source="nba", facts=RunFacts(planned=1826))
    (mail,) = mail_server.inbox.mails
    assert (mail["Message-ID"], mail["X-Backfill-Outcome"]) == ("<gapless.b.1.start@gapless.local>", "STARTED")
    assert "1,826 partitions" in mail.get_content()
    manager.disable_backfill_mode()
    assert [each["X-Backfill-Outcome"] for each in mail_server.inbox.mails] == ["STARTED", "OK"]


def test_a_long_run_may_send_one_sign_of_progress_a_day(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel(), settings=AlertSettings(retry_waits_s=(), progress_mail_hours=24))
    manager.enable_backfill_mode("b", source="nba", ttl_s=10**6)
    for _ in range(50):
        clock.tick(hours=1)
        manager.heartbeat(RunFacts(planned=10, verdict_counts={"verified": 4}))
    assert ["RUNNING" in mail["Subject"] for mail in mail_server.inbox.mails] == [True, True]
    assert "4 of 10 partitions" in text(mail_server.inbox.mails[0])


def test_another_process_joins_a_backfill_without_touching_its_entry(make_manager, mail_server, store, clock):
    parent, child = make_manager(mail_server.channel()), make_manager(mail_server.channel())
    parent.enable_backfill_mode("b", source="nba", facts=RunFacts(owner="maria"))
    before = Outbox(store).read("b")
    child.join_backfill("b", source="nba")
    child.record_error(fail(7))
    child.flush("2024-01", 1)
    clock.tick(minutes=1)
    assert child.heartbeat()
    assert Outbox(store).read("b") == before
    parent.disable_backfill_mode()
    assert "2024-01-07" in text(mail_server.inbox.mails[0])


@pytest.mark.parametrize("leave", ["leave_backfill", "disable_backfill_mode"])
def test_what_another_process_records_after_the_mail_is_told_by_an_alert_and_in_the_digest(
    make_manager, mail_server, leave
):
    parent, child = make_manager(mail_server.channel()), make_manager(mail_server.channel())
    parent.enable_backfill_mode("b", source="nba")
    child.join_backfill("b", source="nba")
    child.record_error(Incident(source="nba", message="no rows: in the mail"))
    child.flush("2024-01", 1)
    parent.disable_backfill_mode()
    child.record_error(Incident(source="nba", message="no key: behind the mail"))
    getattr(child, leave)()
    summary, alert = (text(mail) for mail in mail_server.inbox.mails)
    assert ("in the mail" in summary, "behind the mail" in summary) == (True, False)
    assert ("in the mail" in alert, "behind the mail" in alert) == (False, True)
    assert parent.send_digest()
    digest = text(mail_server.inbox.mails[-1])
    assert ("in the mail" in digest, "behind the mail" in digest) == (False, True)


def test_what_is_to_be_in_the_mail_is_no_alert(make_manager, mail_server):
    parent, child = make_manager(mail_server.channel()), make_manager(mail_server.channel())
    parent.enable_backfill_mode("b", source="nba")
    child.join_backfill("b", source="nba")
    child.record_error(fail(7))
    child.leave_backfill("2024-01", 1)
    assert mail_server.inbox.mails == []
    parent.disable_backfill_mode()
    assert len(mail_server.inbox.mails) == 1
    assert not parent.send_digest()


def test_a_sign_of_life_costs_one_write_and_loses_nothing_that_another_process_wrote(make_manager, mail_server, store):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b", source="nba")
    real, read = store.read, list[str]()
    store.read = lambda name: (read.append(name), real(name))[1]
    manager.heartbeat(RunFacts(calls=1))
    assert read == []

    def noted(entry):
        entry.note("by the watchdog")
        return entry

    Outbox(store).update("b", noted)
    manager.heartbeat(RunFacts(calls=2))
    entry = Outbox(store).read("b")
    assert (entry.errors, entry.run_facts.calls) == (["by the watchdog"], 2)


def test_a_run_ends_by_two_writes_of_its_entry(make_manager, mail_server, store):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b", source="nba")
    real, wrote = store.write, list[str]()
    store.write = lambda name, *args, **rest: (wrote.append(name), real(name, *args, **rest))[1]
    assert manager.disable_backfill_mode(run_facts=RunFacts(calls=3)).status == "sent"
    # Claimed with what is known at the end, then sent: Cloud Storage takes one write of an object a second.
    assert wrote.count("outbox/backfill=b.json") == 2
    entry = Outbox(store).read("b")
    assert (entry.state, entry.run_facts.calls, entry.claimed_by) == ("sent", 3, "")
    assert entry.finished_at is not None


def test_what_another_process_wrote_is_read_before_an_entry_is_left_as_it_is(store):
    ours, theirs = Outbox(store), Outbox(store)

    def owned(entry):
        entry.owner = "ours"
        return entry

    ours.update("b", owned, create=lambda: OutboxEntry("b"))
    theirs.update("b", lambda entry: setattr(entry, "claimed_by", "them") or entry)
    seen = ours.update("b", lambda entry: owned(entry) if entry.claimed_by else None)
    assert seen is not None
    assert seen.claimed_by == "them"
