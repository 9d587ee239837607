from __future__ import annotations

import datetime as dt
import itertools
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alerting import delivery, errors
from alerting.backfill_mode import AlertContext, BackfillMode
from alerting.delivery import owed_summaries, send_owed_summary
from alerting.live_alerts import AlertSettings
from alerting.local_store import FileObjectStore
from alerting.outbox import Outbox
from alerting.owed_mail import mail_of
from alerting.run_facts import RunFacts

ID = "nba-2024"


def send(store, channels, clock, tmp_path, **rest):
    return send_owed_summary(store, channels, ID, now=clock(), spool_folder=tmp_path / "spool", **rest)


def test_a_summary_is_owed_from_the_very_first_moment(running, store, clock):
    (owed,) = owed_summaries(store, clock())
    assert (owed.backfill_id, owed.why, owed.is_due) == (ID, "running", False)


def test_a_dead_run_is_due_when_its_time_is_over_and_is_mailed_as_stopped(running, store, clock, channel, tmp_path):
    clock.tick(seconds=601)
    (owed,) = owed_summaries(store, clock())
    assert (owed.why, owed.is_due) == ("stale", True)
    result = send(store, [channel], clock, tmp_path)
    assert result.status == "sent"
    (mail,) = channel.mails
    assert mail["X-Backfill-Outcome"] == "STOPPED"
    assert "2024-01-02" in mail.get_body(("plain",)).get_content()
    assert owed_summaries(store, clock()) == []
    assert send(store, [channel], clock, tmp_path).status == "already_sent"
    assert len(channel.mails) == 1


def test_a_run_whose_mail_is_out_stays_closed_whoever_ends_it_once_more(running, store, clock, channel, tmp_path):
    assert send(store, [channel], clock, tmp_path).status == "sent"
    context = AlertContext(store, (channel,), AlertSettings(retry_waits_s=()), clock, tmp_path / "other")
    joined = BackfillMode(ID, context)
    assert joined.end(True, RunFacts(verdict="COMPLETE")).status == "already_sent"
    assert len(channel.mails) == 1


def test_of_many_senders_at_once_exactly_one_sends(running, store, clock, channel, tmp_path):
    start = threading.Barrier(12)

    def sender(_: int) -> str:
        start.wait()
        return send(store, [channel], clock, tmp_path).status

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(sender, range(12)))
    assert statuses.count("sent") == 1
    assert set(statuses) <= {"sent", "claimed_by_other", "already_sent"}
    assert len(channel.mails) == 1


def test_a_claim_of_a_sender_that_died_is_taken_over_when_it_expires(running, store, clock, channel, tmp_path):
    # By the clock of the store, too.
    clock.tick(days=36_500)
    assert Outbox(store).claim(ID, "dead host", clock())
    assert send(store, [channel], clock, tmp_path).status == "claimed_by_other"
    assert owed_summaries(store, clock())[0].is_due is False
    clock.tick(seconds=901)
    assert owed_summaries(store, clock())[0].is_due is True
    assert send(store, [channel], clock, tmp_path).status == "sent"


def test_a_sender_whose_clock_is_ahead_takes_no_claim_of_another_one_for_over(running, store, clock, channel, tmp_path):
    now = clock()
    ahead = now + dt.timedelta(minutes=10)
    assert Outbox(store).claim(ID, "another host", now)
    assert (
        send_owed_summary(store, [channel], ID, now=ahead, spool_folder=tmp_path / "spool").status == "claimed_by_other"
    )
    assert channel.mails == []


def test_the_claim_of_a_sender_whose_clock_is_behind_holds(running, store, clock, channel, tmp_path):
    now = clock()
    assert Outbox(store).claim(ID, "another host", now - dt.timedelta(minutes=10))
    assert (
        send_owed_summary(store, [channel], ID, now=now, spool_folder=tmp_path / "spool").status == "claimed_by_other"
    )


def test_what_a_run_writes_after_a_claim_does_not_prolong_it(running, store, clock, channel, tmp_path):
    now = clock()
    outbox = Outbox(store)
    assert outbox.claim(ID, "dead host", now - dt.timedelta(minutes=16))

    def beat(entry):
        entry.heartbeat_at = now
        return entry

    outbox.update(ID, beat)
    assert send_owed_summary(store, [channel], ID, now=now, spool_folder=tmp_path / "spool").status == "sent"


def test_a_claim_of_a_process_of_this_machine_that_is_gone_is_taken_over_at_once(
    running, store, clock, channel, tmp_path
):
    script = "from alerting.outbox import sender_name; print(sender_name())"
    gone = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert Outbox(store).claim(ID, gone, clock())
    assert owed_summaries(store, clock())[0].is_due is True
    assert send(store, [channel], clock, tmp_path).status == "sent"


def test_a_claim_of_a_living_process_of_this_machine_holds(running, store, clock, channel, tmp_path):
    alive = delivery.sender_name().rpartition("/")[0] + "/another thread"
    assert Outbox(store).claim(ID, alive, clock())
    assert send(store, [channel], clock, tmp_path).status == "claimed_by_other"


def test_a_failed_mail_stays_owed_and_the_same_bytes_are_sent_later(
    running, store, clock, mail_server, tmp_path, caplog
):
    smtp = mail_server.channel()
    mail_server.down()
    failed = send(store, [smtp], clock, tmp_path)
    assert failed.status == "failed"
    assert failed.errors
    assert "2024-01-02" in caplog.text
    kept = store.read(failed.mail_object)[0]
    clock.tick(hours=5)
    mail_server.up()
    assert send(store, [smtp], clock, tmp_path, run_facts=RunFacts(outcome="OK")).status == "sent"
    (raw,) = mail_server.inbox.raw
    head, _, body = raw.partition(b"\r\n\r\n")
    kept_head, _, kept_body = kept.partition(b"\r\n\r\n")
    assert body == kept_body
    assert set(kept_head.split(b"\r\n")) <= set(head.split(b"\r\n"))
    assert mail_server.inbox.mails[0]["Message-ID"] == "<gapless.nba-2024.1.final@gapless.local>"


def test_a_451_after_the_data_is_retried_with_the_same_message_id(running, store, clock, mail_server, tmp_path):
    smtp = mail_server.channel()
    mail_server.inbox.data_answer = "451 try again later"
    first = send(store, [smtp], clock, tmp_path)
    mail_server.inbox.data_answer = "250 OK"
    second = send(store, [smtp], clock, tmp_path)
    assert (first.status, second.status) == ("failed", "sent")
    assert first.message_id == second.message_id == mail_server.inbox.mails[0]["Message-ID"]
    assert len(mail_server.inbox.mails) == 1


def test_a_channel_that_has_the_mail_is_not_asked_again_when_another_failed(running, store, clock, channel, tmp_path):
    good, bad = type(channel)("good"), type(channel)("bad")
    bad.broken = True
    assert send(store, [good, bad], clock, tmp_path).errors == ("bad: 451 later",)
    bad.broken = False
    assert send(store, [good, bad], clock, tmp_path).status == "sent"
    assert (len(good.mails), len(bad.mails)) == (1, 1)


@pytest.mark.parametrize("ended", ["by itself", "by a sender that was killed while it drew the mail"])
def test_a_resumed_run_is_told_by_a_mail_of_its_own_while_a_channel_still_owes_the_one_before(
    make_manager, store, clock, channel, ended
):
    bad = type(channel)("bad")
    bad.broken = True
    first = make_manager(channel, bad)
    first.enable_backfill_mode("b", source="nba")
    first.record_error({"scraper": "nba", "date": "2024-01-02", "error_type": "Timeout", "error": "slow"})
    if ended == "by itself":
        assert first.disable_backfill_mode().status == "failed"
    else:
        first.flush()
        mail_of(store, Outbox(store).claim("b", "gone/1/1", clock()), None, clock())
    resumed = make_manager(channel, bad)
    resumed.enable_backfill_mode("b", source="nba")
    resumed.record_error({"scraper": "nba", "date": "2024-01-03", "error_type": "KeyError", "error": "pts"})
    resumed.disable_backfill_mode()
    mail = channel.mails[-1]
    assert mail["Message-ID"] == "<gapless.b.2.final@gapless.local>"
    assert "2024-01-02" in str(mail.get_body(("plain",)))
    assert "2024-01-03" in str(mail.get_body(("plain",)))
    bad.broken = False
    clock.tick(minutes=10)
    assert send_owed_summary(store, [channel, bad], "b", now=clock()).status == "sent"
    assert [one["Message-ID"] for one in bad.mails] == [mail["Message-ID"]]


def test_a_mail_that_leaves_after_its_run_was_resumed_does_not_settle_the_next_one(
    running, make_manager, store, clock, channel, tmp_path
):
    class Slow(type(channel)):
        def send(self, mail, *, severity="INFO"):
            make_manager(channel).enable_backfill_mode(ID, source="nba")
            return super().send(mail, severity=severity)

    assert send(store, [Slow("recorder")], clock, tmp_path).status == "sent"
    entry = Outbox(store).read(ID)
    assert (entry.attempt, entry.state, entry.delivered) == (2, "open", {})


def test_a_channel_that_takes_the_mail_and_fails_all_the_same_is_no_flood(running, store, clock, channel, tmp_path):
    bad = type(channel)("bad")
    tries = []

    def send_and_fail(mail, *, severity="INFO"):
        tries.append(clock.now)
        raise errors.SourceUnavailable("no usable answer")

    bad.send = send_and_fail
    for _ in range(3):
        send(store, [channel, bad], clock, tmp_path)
    for _ in range(2 * 24 * 12):
        clock.tick(minutes=5)
        if owed_summaries(store, clock())[0].is_due:
            send(store, [channel, bad], clock, tmp_path)
    assert 10 < len(tries) < 20
    assert max(later - before for before, later in itertools.pairwise(tries)) <= dt.timedelta(hours=6)
    bad.send = type(channel)("bad").send
    assert send(store, [channel, bad], clock, tmp_path).status == "sent", "whoever asks for it is not told to wait"


def test_a_refused_recipient_is_in_the_result_and_in_the_entry(running, store, clock, mail_server, tmp_path):
    mail_server.inbox.refused = {"gone@example.org": "550 no"}
    smtp = mail_server.channel(recipients=["ops@example.org", "gone@example.org"])
    result = send(store, [smtp], clock, tmp_path)
    assert (result.status, result.refused) == ("sent", {"gone@example.org": "550 no"})
    entry = Outbox(store).read(ID)
    assert entry.delivered["smtp"].refused == {"gone@example.org": "550 no"}


def test_without_any_channel_nothing_is_marked_as_sent(running, store, clock, tmp_path):
    assert send(store, [], clock, tmp_path).status == "failed"
    assert owed_summaries(store, clock())[0].is_due


def test_an_unreadable_journal_keeps_the_summary_owed_and_tells_a_human_once(running, store, clock, channel, tmp_path):
    name = next(found.name for found in store.list(f"alerts/backfill={ID}/incidents/"))
    good = store.read(name)[0]
    store.write(name, b"broken")
    for _ in range(2):
        with pytest.raises(errors.StateUnreadable, match=name):
            send(store, [channel], clock, tmp_path)
    (mail,) = channel.mails
    assert "NEEDS A HUMAN" in mail["Subject"]
    assert owed_summaries(store, clock())[0].is_due is False or Outbox(store).read(ID).state == "open"
    store.write(name, good)
    assert send(store, [channel], clock, tmp_path).status == "sent"


def test_an_unreadable_outbox_entry_is_never_an_empty_one(running, store, clock, channel, tmp_path):
    store.write(f"outbox/backfill={ID}.json", b"{")
    for attempt in (
        lambda: send(store, [channel], clock, tmp_path),
        lambda: owed_summaries(store, clock()),
        running.disable_backfill_mode,
        lambda: running.enable_backfill_mode(ID),
    ):
        with pytest.raises(errors.StateUnreadable, match="outbox/"):
            attempt()
    assert store.read(f"outbox/backfill={ID}.json")[0] == b"{"


def test_a_backfill_that_never_began_owes_nothing(store, clock, channel, tmp_path):
    assert send(store, [channel], clock, tmp_path).status == "not_owed"


CRASHES = """
    import datetime as dt, os, signal, sys
    from alerting import owed_mail
    from alerting.channels import SmtpChannel
    from alerting.smtp_session import SmtpServer
    from alerting.incident import Incident
    from alerting.local_store import FileObjectStore
    from alerting.outbox import Outbox
    from alerting.smart_alert_manager import SmartAlertManager

    folder, port, point = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    die = lambda *args, **rest: os.kill(os.getpid(), signal.SIGKILL)
    channel = SmtpChannel(SmtpServer("127.0.0.1", port, security="none"), sender="g@x.org", recipients=["ops@x.org"])
    store = FileObjectStore(folder + "/store")
    manager = SmartAlertManager(store=store, channels=[channel], spool_folder=folder + "/spool")
    manager.enable_backfill_mode("b", source="s", ttl_s=60)
    for n in range(20):
        manager.record_error(Incident(source="s", error_type="E", message="m", partition=f"2024-01-{n + 1:02d}"))
    if point == "recording":
        die()
    if point == "rendering":
        owed_mail.render = die
    if point == "before sending":
        SmtpChannel.send = die
    if point == "after sending":
        send = SmtpChannel.send
        SmtpChannel.send = lambda *args, **rest: (send(*args, **rest), die())
    manager.disable_backfill_mode()
"""


@pytest.mark.parametrize("point", ["recording", "rendering", "before sending", "after sending"])
def test_killed_at_any_point_one_message_id_arrives_with_every_error(mail_server, tmp_path, point):
    command = [sys.executable, "-c", textwrap.dedent(CRASHES), str(tmp_path), str(mail_server.port), point]
    assert subprocess.run(command, check=False, timeout=60, cwd=Path.cwd()).returncode == -9
    store = FileObjectStore(tmp_path / "store")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=16)
    (owed,) = owed_summaries(store, later)
    assert owed.is_due
    result = send_owed_summary(store, [mail_server.channel()], "b", now=later, spool_folder=tmp_path / "spool")
    assert result.status == "sent"
    arrived = mail_server.inbox.mails
    assert len(arrived) == (2 if point == "after sending" else 1)
    assert {mail["Message-ID"] for mail in arrived} == {"<gapless.b.1.final@gapless.local>"}
    assert len({mail.get_body(("plain",)).get_content() for mail in arrived}) == 1
    assert "2024-01-01…2024-01-20 (20 days)" in arrived[0].get_body(("plain",)).get_content()


def test_a_sender_is_named_by_host_process_and_thread():
    assert str(os.getpid()) in delivery.sender_name()
