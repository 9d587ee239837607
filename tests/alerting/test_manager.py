from __future__ import annotations

import socket

import pytest
from reported import fail, text

from alerting import errors
from alerting.channels import LogChannel
from alerting.delivery import owed_summaries
from alerting.journal import IncidentJournal
from alerting.outbox import Outbox
from alerting.smart_alert_manager import SmartAlertManager
from scrapers.object_store import GcsObjectStore


def test_it_is_made_without_any_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("network"))
    SmartAlertManager(store=GcsObjectStore("bucket", project="p"))


def test_its_folder_is_made_at_first_use(tmp_path):
    manager = SmartAlertManager(
        bucket_name=tmp_path / "alerts", channels=[LogChannel()], spool_folder=tmp_path / "spool"
    )
    assert list(tmp_path.iterdir()) == []
    manager.enable_backfill_mode()
    manager.disable_backfill_mode()
    assert (tmp_path / "alerts").is_dir()


def test_fifty_failing_dates_are_one_mail(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode(source="nba")
    for day in range(1, 31):
        manager.record_error(fail(day))
    assert mail_server.inbox.mails == []
    result = manager.disable_backfill_mode(send_summary=True)
    (mail,) = mail_server.inbox.mails
    assert result.delivered
    assert "2024-01-01…2024-01-30 (30 days)" in text(mail)


def test_the_old_way_of_calling_without_any_argument_works(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode()
    try:
        manager.record_error({"processor": "box", "error": "no", "details": {"date": "2024-01-05", "run_id": "r"}})
    finally:
        manager.disable_backfill_mode()
    assert len(mail_server.inbox.mails) == 1


def test_a_run_without_errors_is_mailed_too(make_manager, mail_server):
    with make_manager(mail_server.channel()):
        pass
    (mail,) = mail_server.inbox.mails
    assert mail["X-Backfill-Outcome"] == "OK"


def test_an_exception_that_leaves_the_context_is_in_the_mail(make_manager, mail_server):
    with pytest.raises(ValueError, match="boom"), make_manager(mail_server.channel()):
        raise ValueError("boom")
    final = [mail for mail in mail_server.inbox.mails if ".final@" in mail["Message-ID"]]
    assert len(final) == 1
    assert final[0]["X-Backfill-Outcome"] == "FAILED"
    assert "boom" in text(final[0])


def test_entering_and_leaving_the_mode_is_told(make_manager, mail_server, caplog):
    caplog.set_level("INFO", logger="gapless.alerting")
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b-7")
    assert "backfill mode enabled: errors of b-7 are collected" in caplog.text
    manager.disable_backfill_mode()
    assert "backfill mode disabled for b-7: summary sent" in caplog.text


def test_disabling_twice_sends_one_mail(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b")
    manager.disable_backfill_mode()
    assert manager.disable_backfill_mode() is None
    assert len(mail_server.inbox.mails) == 1


def test_the_mode_ends_even_when_the_mail_fails_and_a_second_call_sends_it(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b")
    mail_server.down()
    assert manager.disable_backfill_mode().status == "failed"
    assert not manager.is_backfill_mode
    mail_server.up()
    assert manager.disable_backfill_mode().status == "sent"
    assert len(mail_server.inbox.mails) == 1


def test_without_summary_the_errors_are_archived_with_the_run_and_not_in_the_next_mail(
    make_manager, mail_server, store
):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("first", source="nba")
    manager.record_error(fail(1))
    manager.disable_backfill_mode(send_summary=False)
    manager.enable_backfill_mode("second", source="nba")
    manager.disable_backfill_mode()
    (mail,) = mail_server.inbox.mails
    assert "Timeout" not in text(mail)
    assert len(list(IncidentJournal(store).read("first"))) == 1
    assert owed_summaries(store) == []


def test_a_resumed_backfill_is_the_next_attempt_in_the_same_thread(make_manager, mail_server):
    for _ in range(2):
        manager = make_manager(mail_server.channel())
        manager.enable_backfill_mode("b", source="nba")
        manager.disable_backfill_mode()
    first, second = mail_server.inbox.mails
    assert (first["Message-ID"], second["Message-ID"]) == (
        "<gapless.b.1.final@gapless.local>",
        "<gapless.b.2.final@gapless.local>",
    )
    assert first["References"] == second["References"] == second["In-Reply-To"] == "<gapless.b.root@gapless.local>"


def test_backfill_mode_without_a_working_transport_is_refused(make_manager, mail_server, store):
    with pytest.raises(errors.ConfigurationError, match="no alert channel"):
        make_manager().enable_backfill_mode("b")
    mail_server.down()
    with pytest.raises(errors.TransientError):
        make_manager(mail_server.channel()).enable_backfill_mode("b")
    assert Outbox(store).read("b") is None


def test_console_only_is_allowed_when_it_is_said(make_manager, caplog):
    caplog.set_level("INFO")
    manager = make_manager(LogChannel())
    manager.enable_backfill_mode("b")
    manager.record_error(fail(3))
    assert manager.disable_backfill_mode().status == "sent"
    assert "2024-01-03" in caplog.text


def test_the_error_summary_counts_by_type_and_scraper(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    manager.enable_backfill_mode("b")
    for day in range(1, 4):
        manager.record_error(fail(day))
    manager.record_error({"scraper": "odds", "error": ValueError("x")})
    summary = manager.get_error_summary(hours=10**6)
    assert summary["total_errors"] == 4
    assert summary["by_type"] == {"Timeout": 3, "ValueError": 1}
    assert summary["by_scraper"] == {"nba": 3, "odds": 1}


def test_a_test_alert_names_the_channel_that_does_not_work(make_manager, mail_server, posts):
    from alerting.chat_channels import AppriseChannel

    posts.status = 404
    problems = make_manager(mail_server.channel(), AppriseChannel(posts.address)).test_alert()
    assert problems["smtp"] == ""
    assert "did not take" in problems["apprise"]
    assert "test alert" in mail_server.inbox.mails[0]["Subject"]
