"""Two machines share a store, and their clocks differ: whether people are told is decided by the clock of the store."""

from __future__ import annotations

import datetime as dt

import pytest
from reported import text

from alerting.incident import Incident

OFF = [dt.timedelta(minutes=minutes) for minutes in (10, -10, 60, -60)]


@pytest.fixture
def machines(make_manager, mail_server, clock):
    """Two managers of one store and mailbox: the first by a clock that is right, the second by one that is off."""

    def make(off):
        right = make_manager(mail_server.channel())
        return right, make_manager(mail_server.channel(), clock=lambda: clock() + off)

    return make


def broken(message: str = "got an unexpected keyword argument 'date'", **rest) -> Incident:
    return Incident(source="nba", error_type="TypeError", message=message, **rest)


@pytest.mark.parametrize("off", OFF, ids=str)
def test_one_cause_that_both_meet_is_one_mail_an_hour(machines, mail_server, clock, off):
    both = machines(off)
    for _ in range(6):
        for manager in both:
            manager.record_error(broken())
        clock.tick(minutes=9)
    assert len(mail_server.inbox.mails) == 1
    clock.tick(minutes=7)
    for manager in reversed(both):
        manager.record_error(broken())
    assert len(mail_server.inbox.mails) == 2
    assert "11 more errors of this cause" in text(mail_server.inbox.mails[1])


@pytest.mark.parametrize("off", OFF, ids=str)
def test_an_unknown_error_of_both_is_five_mails_an_hour(machines, mail_server, clock, off):
    both = machines(off)
    for _ in range(10):
        for manager in both:
            manager.record_error(TypeError("got an unexpected keyword argument 'date'"))
        clock.tick(minutes=5)
    assert len(mail_server.inbox.mails) == 5


@pytest.mark.parametrize("off", OFF, ids=str)
def test_every_alert_of_either_is_in_one_digest_and_in_no_other(machines, mail_server, clock, off):
    words = "abcdefghijklmnopqrst"
    both = machines(off)
    both[1].send_digest(hours=1)
    for at, word in enumerate(words):
        both[at % 2].record_error(broken(f"no player named {word * 4}", severity="INFO"))
        clock.tick(minutes=13)
        if at % 5 == 4:
            both[at % 2].send_digest(hours=1)
    told = "".join(text(mail) for mail in mail_server.inbox.mails)
    assert {word: told.count(word * 4) for word in words} == dict.fromkeys(words, 1)


def test_an_alert_that_storage_takes_only_after_the_digest_is_in_the_next_one(
    make_manager, mail_server, clock, store, monkeypatch
):
    one, other = make_manager(mail_server.channel()), make_manager(mail_server.channel())
    other.send_digest(hours=24)
    write = store.write

    def late(name, *given, **rest):
        if name.startswith("pending-alerts/"):
            monkeypatch.setattr(store, "write", write)
            clock.tick(seconds=50)
            other.send_digest(hours=1)
            clock.tick(seconds=10)
        return write(name, *given, **rest)

    monkeypatch.setattr(store, "write", late)
    one.record_error(broken(severity="INFO"))
    clock.tick(hours=2)
    assert other.send_digest(hours=1)
    assert "got an unexpected keyword argument" in text(mail_server.inbox.mails[-1])
    clock.tick(minutes=5)
    assert not other.send_digest(hours=0.01), "once"
