"""What the owed mail is, and to whom it matters: drawn, bare, compared, quiet, critical."""

from __future__ import annotations

import datetime as dt
import json

from alerting import owed_mail
from alerting.delivery import owed_summaries, send_owed_summary
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.live_alerts import AlertSettings
from alerting.outbox import Outbox
from alerting.run_facts import RunFacts

ID = "nba-2024"


def send(store, channels, clock, tmp_path, **rest):
    return send_owed_summary(store, channels, ID, now=clock(), spool_folder=tmp_path / "spool", **rest)


def test_the_next_run_of_a_source_says_what_is_new_and_what_is_gone(make_manager, store, channel):
    for number, kinds in enumerate((["A", "B"], ["B", "C"]), start=1):
        manager = make_manager(channel)
        manager.enable_backfill_mode(f"run-{number}", source="nba")
        for kind in kinds:
            manager.record_error(
                Incident(source="nba", error_type=f"{kind}Error", message=kind, partition="2024-01-02")
            )
        manager.disable_backfill_mode()
    text = channel.mails[1].get_body(("plain",)).get_content()
    section = text.partition("SINCE THE LAST RUN")[2]
    assert "run-1" in section
    assert "AError" in section.partition("gone")[2]
    assert "recurring since" in text


def test_only_dates_that_both_runs_had_are_compared(make_manager, store, channel):
    calendars = (
        {"2024-01-01": "failed_retryable", "2024-01-02": "failed_retryable", "2024-01-03": "verified"},
        {"2024-01-02": "verified", "2024-01-03": "failed_retryable", "2024-01-04": "failed_retryable"},
        {"2024-02-01": "verified"},
    )
    kinds = ({"2024-01-01": "A", "2024-01-02": "B"}, {"2024-01-03": "C", "2024-01-04": "D"}, {})
    sections = []
    for number, (calendar, failing) in enumerate(zip(calendars, kinds, strict=True), start=1):
        manager = make_manager(channel)
        manager.enable_backfill_mode(f"run-{number}", source="nba")
        for key, kind in failing.items():
            manager.record_error(Incident(source="nba", error_type=f"{kind}Error", message=kind, partition=key))
        manager.disable_backfill_mode(run_facts=RunFacts(calendar=calendar))
        text = channel.mails[-1].get_body(("plain",)).get_content()
        sections.append(text.partition("SINCE THE LAST RUN")[2].partition("WHO AND WHY")[0])
    assert sections[0] == ""
    # The first date was not asked for again, and the fourth one not before.
    assert "2024-01-02…2024-01-03" in sections[1]
    assert "BError" in sections[1]
    assert "AError" not in sections[1]
    assert "C1" in sections[1].partition("new")[2]
    assert "C2" not in sections[1]
    assert "no date in common" in sections[2]


def test_a_comparison_that_cannot_be_read_holds_no_mail_back_and_is_said(running, store, clock, channel, tmp_path):
    for broken in (b"{", b"[]"):
        store.write(owed_mail.memory_name("nba"), broken)
        running.enable_backfill_mode(ID, source="nba")
        assert send(store, [channel], clock, tmp_path).status == "sent"
        body = " ".join(channel.mails[-1].get_body(("plain",)).get_content().split())
        assert "Not compared with the last run" in body
    assert json.loads(store.read(owed_mail.memory_name("nba"))[0])["backfill_id"] == ID, "it is replaced"


def test_a_summary_that_cannot_be_drawn_is_sent_bare_and_says_where_everything_is(
    running, store, clock, channel, tmp_path, monkeypatch
):
    def broken(*_args, **_rest):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(owed_mail, "render", broken)
    facts = RunFacts(outcome="FAILED", verdict="FAILED", verdict_counts={"verified": 2, "failed_retryable": 1})
    assert send(store, [channel], clock, tmp_path, run_facts=facts).status == "sent"
    (mail,) = channel.mails
    body = mail.get_body(("plain",)).get_content()
    assert "[backfill][FAILED] nba" in mail["Subject"]
    assert "1 failed_retryable" in body
    assert f"alerts/backfill={ID}/incidents/" in body
    assert mail["Message-ID"] == f"<gapless.{ID}.1.final@gapless.local>"


def test_a_run_that_died_is_told_as_critical_and_one_that_ended_badly_as_an_error(
    running, store, clock, channel, tmp_path
):
    send(store, [channel], clock, tmp_path)
    running.enable_backfill_mode(ID, source="nba")
    channel.severities.clear()
    running.disable_backfill_mode(run_facts=RunFacts(outcome="FAILED", verdict="FAILED"))
    running.enable_backfill_mode(ID, source="nba")
    crashed = RunFacts(outcome="STOPPED", verdict="ABORTED(crashed)")
    channel.broken = True
    assert send(store, [channel], clock, tmp_path, run_facts=crashed).status == "failed"
    channel.broken = False
    send(store, [channel], clock, tmp_path)
    assert channel.severities == ["ERROR", "CRITICAL"], "also when only a later try gets through"


def test_a_source_may_be_quiet_when_everything_is_there_and_never_when_something_is_missing(
    make_manager, store, channel, clock
):
    settings = AlertSettings(retry_waits_s=(), quiet_sources=frozenset({"nba"}))
    for number, missing in enumerate((0, 1)):
        manager = make_manager(channel, settings=settings)
        manager.enable_backfill_mode(f"b{number}", source="nba")
        counts = {"verified": 3 - missing, "failed_retryable": missing}
        result = manager.disable_backfill_mode(run_facts=RunFacts(planned=3, verdict_counts=counts))
        assert result.status == ("sent" if missing else "archived")
    (mail,) = channel.mails
    assert mail["X-Backfill-Id"] == "b1"
    assert store.read("alerts/backfill=b0/mail-1.eml"), "the mail that nobody got is kept"
    assert owed_summaries(store, clock()) == []
    loud = make_manager(channel, settings=settings)
    loud.enable_backfill_mode("b2", source="odds")
    assert loud.disable_backfill_mode(run_facts=RunFacts(planned=0)).status == "sent"


def test_the_entry_names_owner_start_and_expiry_of_the_mode(running, store, clock):
    began = clock()
    entry = Outbox(store).read(ID)
    assert (entry.owner, entry.opened_at, entry.ttl_s) == ("maria", began, 600)
    clock.tick(seconds=500)
    running.heartbeat()
    assert Outbox(store).read(ID).expires_at() == began + dt.timedelta(seconds=1100)


def test_the_journal_is_the_only_source_of_the_mail(store, clock, channel, tmp_path, make_manager):
    make_manager(channel).enable_backfill_mode(ID, source="nba")
    IncidentJournal(store).append(ID, "w", 1, [Incident(source="nba", error_type="Foreign", partition="2024-01-09")])
    send(store, [channel], clock, tmp_path)
    assert "Foreign" in channel.mails[0].get_body(("plain",)).get_content()


def test_of_two_that_draw_the_mail_at_once_both_have_the_bytes_of_the_first(running, store, clock, monkeypatch):
    entry = Outbox(store).read(ID)
    drawn = owed_mail._rendered_alone
    first = []

    def overtaken(*given):
        rendered = drawn(*given)
        monkeypatch.setattr(owed_mail, "_rendered_alone", drawn)
        clock.tick(seconds=60)
        first.append(owed_mail.mail_of(store, entry, RunFacts(outcome="FAILED"), clock()))
        return rendered

    monkeypatch.setattr(owed_mail, "_rendered_alone", overtaken)
    second = owed_mail.mail_of(store, entry, None, clock())
    assert first[0]["X-Backfill-Outcome"] == second["X-Backfill-Outcome"] == "FAILED"
    assert first[0].as_bytes() == second.as_bytes() == store.read(owed_mail.mail_name(entry))[0]
