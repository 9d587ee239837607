from __future__ import annotations

import multiprocessing

import pytest
from reported import text

from alerting import errors
from alerting.channels import DeliveryFailed, FileChannel
from alerting.chat_channels import AppriseChannel
from alerting.incident import Incident
from alerting.live_alerts import AlertSettings
from alerting.local_store import FileObjectStore
from alerting.smart_alert_manager import SmartAlertManager


def broken(source: str = "nba", message: str = "got an unexpected keyword argument 'date'", **rest) -> Incident:
    return Incident(source=source, error_type="TypeError", message=message, **rest)


def test_the_same_error_600_times_is_one_mail_an_hour_with_a_running_count(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    for _ in range(600):
        manager.record_error(broken())
    assert len(mail_server.inbox.mails) == 1
    clock.tick(minutes=61)
    manager.record_error(broken())
    assert "599 more errors of this cause" in text(mail_server.inbox.mails[1])


def test_a_fault_that_stays_is_told_again_every_window(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    for _ in range(36):
        manager.record_error(broken())
        clock.tick(minutes=10)
    assert len(mail_server.inbox.mails) == 6


def test_the_cooldown_counts_from_the_last_mail_that_was_accepted(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    mail_server.down()
    manager.record_error(broken())
    mail_server.up()
    clock.tick(minutes=1)
    manager.record_error(broken())
    assert len(mail_server.inbox.mails) == 1


@pytest.mark.parametrize("severity", ["ERROR", "WARNING"])
def test_the_limiter_covers_every_level_that_is_not_critical(make_manager, mail_server, severity):
    manager = make_manager(mail_server.channel())
    for _ in range(20):
        manager.send_alert("nba", "no rows", severity, {"date": "2024-01-05"})
    assert len(mail_server.inbox.mails) == 1


def test_a_critical_alert_always_goes_out_to_mail_and_chat(make_manager, mail_server, posts):
    manager = make_manager(mail_server.channel(), AppriseChannel(posts.address))
    for number in range(15):
        manager.send_alert("nba", f"14 games, 0 rows, check {number}", "CRITICAL", {})
    assert len(mail_server.inbox.mails) == 15
    assert len(posts.bodies) == 15


def test_an_unknown_error_600_times_is_five_mails_an_hour_with_a_running_count(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    for _ in range(600):
        manager.record_error(TypeError("got an unexpected keyword argument 'date'"))
    assert len(mail_server.inbox.mails) == 5
    manager.record_error(ValueError("another cause"))
    assert len(mail_server.inbox.mails) == 6
    clock.tick(minutes=61)
    manager.record_error(TypeError("got an unexpected keyword argument 'date'"))
    assert "595 more errors of this cause" in text(mail_server.inbox.mails[6])


def test_a_critical_alert_that_left_by_no_channel_is_none_of_the_five(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    mail_server.down()
    for _ in range(6):
        manager.record_error(TypeError("x"))
    mail_server.up()
    manager.record_error(TypeError("x"))
    assert len(mail_server.inbox.mails) == 1


class TakesAndHangsUp:
    """A channel that has every mail, and says of none that it took it."""

    name, kind = "recorder", "mail"

    def __init__(self) -> None:
        self.mails = []

    def preflight(self) -> None:
        pass

    def send(self, mail, *, severity="INFO"):
        self.mails.append(mail)
        raise DeliveryFailed("Connection unexpectedly closed")


def test_a_server_that_hangs_up_behind_the_message_gets_it_ever_more_seldom(make_manager, clock):
    manager = make_manager(channel := TakesAndHangsUp())
    for _ in range(60):
        manager.record_error(broken())
        clock.tick(minutes=1)
    assert len(channel.mails) == 6, "at once, and after 1, 2, 4, 8 and 16 minutes"


def test_a_server_that_hangs_up_behind_critical_alerts_has_twenty_an_hour(make_manager, clock):
    manager = make_manager(channel := TakesAndHangsUp())
    for _ in range(600):
        manager.record_error(TypeError("got an unexpected keyword argument 'date'"))
    assert len(channel.mails) == 20
    clock.tick(minutes=61)
    manager.record_error(TypeError("got an unexpected keyword argument 'date'"))
    assert len(channel.mails) == 21


def test_a_server_that_is_well_again_has_the_alert_that_waited_at_once_with_the_count(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    mail_server.down()
    for _ in range(3):
        manager.record_error(broken())
        clock.tick(minutes=2)
    mail_server.up()
    clock.tick(minutes=4)
    manager.record_error(broken())
    assert len(mail_server.inbox.mails) == 1
    manager.record_error(broken())
    assert len(mail_server.inbox.mails) == 1


def test_errors_go_to_the_chat_and_information_only_to_the_digest(make_manager, mail_server, posts):
    manager = make_manager(mail_server.channel(), AppriseChannel(posts.address))
    manager.send_alert("nba", "broken", "ERROR", {})
    manager.send_alert("nba", "finished with 0 records", "INFO", {})
    assert (len(posts.bodies), len(mail_server.inbox.mails)) == (1, 0)
    assert manager.send_digest(hours=24)
    (digest,) = mail_server.inbox.mails
    assert "broken" in text(digest)
    assert "finished with" in text(digest)


def test_more_than_ten_different_alerts_in_five_minutes_are_a_storm(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    for number in range(40):
        manager.record_error(broken(source=f"source-{number}"))
    assert len(mail_server.inbox.mails) == 11
    assert "alert storm" in mail_server.inbox.mails[-1]["Subject"]
    manager.send_alert("nba", "all scrapers down", "CRITICAL", {})
    assert len(mail_server.inbox.mails) == 12
    assert manager.get_error_summary()["total_errors"] == 41


def test_two_scrapers_do_not_silence_each_other(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    manager.record_error(broken(source="a"))
    manager.record_error(broken(source="b"))
    assert len(mail_server.inbox.mails) == 2


def test_should_send_alert_follows_what_was_really_sent(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    assert manager.should_send_alert("TypeError", source="nba")
    manager.record_error(broken())
    assert not manager.should_send_alert("TypeError", 60, source="nba")
    assert manager.should_send_alert("TypeError", 60, source="odds")
    clock.tick(minutes=61)
    assert manager.should_send_alert("TypeError", 60, source="nba")


def _alert(folder: str, mails: str) -> None:
    manager = SmartAlertManager(store=FileObjectStore(folder), channels=[FileChannel(mails)])
    for _ in range(10):
        manager.record_error(broken())


def test_processes_share_the_limiter_and_a_restart_does_not_forget_it(tmp_path):
    arguments = (str(tmp_path / "store"), str(tmp_path / "mails"))
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        processes = [context.Process(target=_alert, args=arguments) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
    assert len(list((tmp_path / "mails").glob("*.eml"))) == 1
    summary = SmartAlertManager(store=FileObjectStore(arguments[0])).get_error_summary()
    assert summary["total_errors"] == 60


def test_the_digest_groups_by_cause_and_an_empty_one_is_not_sent(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    assert manager.send_digest() is False
    for day in range(1, 9):
        manager.record_error(
            broken(message=f"no rows on 2024-01-0{day}", partition=f"2024-01-0{day}", occurred_at=clock())
        )
    mail_server.inbox.mails.clear()
    clock.tick(minutes=1)
    assert manager.send_digest() is True
    (digest,) = mail_server.inbox.mails
    assert "8 alerts, 1 cause" in digest["Subject"]
    assert "2024-01-01…2024-01-08 (8 days)" in text(digest)
    clock.tick(hours=25)
    assert manager.send_digest(hours=24) is False


def test_a_digest_that_comes_late_tells_everything_since_the_one_before(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    assert manager.send_digest(hours=24) is False
    clock.tick(hours=1)
    manager.record_error(broken(severity="INFO", occurred_at=clock()))
    clock.tick(hours=26)
    assert manager.send_digest(hours=24) is True
    assert "1 alert, 1 cause in the last 27 hours" in mail_server.inbox.mails[-1]["Subject"]


@pytest.mark.parametrize("timestamp", ["2026-01-08T23:00:00", "2026-01-12T00:00:00+00:00"])
def test_an_alert_of_another_clock_or_told_late_is_in_the_digest(make_manager, mail_server, clock, timestamp):
    manager = make_manager(mail_server.channel())
    manager.send_alert("nba", "finished with 0 records", "INFO", {"timestamp": timestamp})
    clock.tick(hours=1)
    assert manager.send_digest(hours=24)
    assert "finished with" in text(mail_server.inbox.mails[0])


def test_a_digest_tells_the_alerts_beside_one_that_cannot_be_read(make_manager, mail_server, clock, store):
    manager = make_manager(mail_server.channel())
    manager.record_error(broken(severity="INFO", occurred_at=clock()))
    name = f"pending-alerts/{clock():%Y-%m-%d}/235959-cut.json.gz"
    store.write(name, b"\x1f\x8b cut", if_generation=0, content_type="application/gzip")
    assert manager.send_digest() is True
    told = text(mail_server.inbox.mails[-1])
    assert "TypeError" in told
    assert name in "".join(told.split())


def test_an_alert_sent_by_a_clock_that_was_ahead_silences_nobody(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    clock.tick(hours=48)
    manager.record_error(broken())
    clock.tick(hours=-46)
    manager.record_error(broken())
    assert len(mail_server.inbox.mails) == 2


def test_a_digest_that_reaches_nobody_is_an_error_and_keeps_its_alerts(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    manager.record_error(broken(occurred_at=clock()))
    mail_server.down()
    with pytest.raises(errors.TransientError, match="digest"):
        manager.send_digest()
    mail_server.up()
    assert manager.send_digest()


def test_a_broken_limiter_lets_the_alert_through(make_manager, mail_server, store):
    manager = make_manager(mail_server.channel())
    manager.record_error(broken())
    for found in list(store.list("alert-state/limiter/")):
        store.write(found.name, b"{")
    manager.record_error(broken())
    assert len(mail_server.inbox.mails) == 2


@pytest.mark.parametrize(("severity", "minutes"), [("ERROR", 60), ("WARNING", 180)])
def test_every_severity_has_its_documented_cooldown(make_manager, mail_server, clock, severity, minutes):
    manager = make_manager(mail_server.channel())
    for wait in (0, minutes - 1, 2):
        clock.tick(minutes=wait)
        manager.send_alert("nba", "no rows", severity, {"date": "2024-01-05"})
    assert len(mail_server.inbox.mails) == 2
    assert "1 more error of this cause" in text(mail_server.inbox.mails[1])


def test_the_rules_are_the_documented_ones():
    rules = AlertSettings().rules
    assert {level: (rule.kinds, rule.cooldown_minutes) for level, rule in rules.items()} == {
        "CRITICAL": (("mail", "chat", "console"), 0.0),
        "ERROR": (("chat", "console"), 60.0),
        "WARNING": (("chat", "console"), 180.0),
        "INFO": ((), 360.0),
    }
    assert (AlertSettings().batch_threshold, AlertSettings().batch_window_s) == (10, 300.0)


def test_after_the_storm_alerts_are_sent_one_by_one_again(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    for number in range(20):
        manager.record_error(broken(source=f"source-{number}"))
    sent = len(mail_server.inbox.mails)
    clock.tick(seconds=301)
    manager.record_error(broken(source="a late one"))
    assert len(mail_server.inbox.mails) == sent + 1
    assert "a late one" in mail_server.inbox.mails[-1]["Subject"]


def test_what_was_held_back_in_live_mode_is_in_no_backfills_mail(make_manager, mail_server):
    manager = make_manager(mail_server.channel())
    for _ in range(5):
        manager.record_error(broken(message="a live fault"))
    manager.enable_backfill_mode("b", source="nba")
    manager.disable_backfill_mode()
    assert "a live fault" not in text(mail_server.inbox.mails[-1])
    assert mail_server.inbox.mails[-1]["X-Backfill-Outcome"] == "OK"


def test_two_errors_of_one_moment_are_two(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    for kind in ("AError", "BError"):
        manager.record_error({"scraper": "nba", "error_type": kind, "error": kind, "timestamp": clock()})
    assert manager.get_error_summary(hours=24)["by_type"] == {"AError": 1, "BError": 1}


def test_a_digest_names_several_wordings_of_one_cause(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    for number in range(60):
        word = "".join(chr(97 + int(digit)) for digit in f"{number:03d}")
        manager.record_error(broken(message=f"no player named {word}", severity="INFO", occurred_at=clock()))
    manager.send_digest()
    assert text(mail_server.inbox.mails[-1]).count("no player named") == 10


def test_an_alert_says_where_what_and_next_once_each_and_repeats_stand_in_one_thread(make_manager, mail_server, clock):
    manager = make_manager(mail_server.channel())
    told = {"scraper": "nba", "date": "2024-01-05", "error": "no rows", "stage": "load", "hint": "gapless gaps nba"}
    for _ in range(3):
        manager.record_error({**told, "timestamp": clock(), "details": {"game_id": 7}})
        clock.tick(minutes=45)
    first, second = mail_server.inbox.mails
    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]
    assert text(second).replace("\r\n", "\n") == (
        "nba 2024-01-05: UnknownError\n\nno rows\n\nDo this: gapless gaps nba\n\n"
        "1 more error of this cause since 2026-01-10 02:00 UTC was not mailed.\n\n"
        "At: 2026-01-10 03:30 UTC, stage: load\ngame_id: 7\n\n"
        "Similar errors are counted, not mailed, for 60 minutes.\n"
    )
