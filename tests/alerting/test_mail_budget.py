"""The mail budget as an invariant: one summary, at most one "needs a human", never nothing when something failed."""

from __future__ import annotations

import datetime as dt
import random
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import errors
from alerting.channels import Delivery, DeliveryFailed
from alerting.delivery import owed_summaries, send_owed_summary
from alerting.errors import LandingUnavailable
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.live_alerts import AlertSettings
from alerting.memory_store import MemoryObjectStore
from alerting.object_store import GenerationConflict
from alerting.smart_alert_manager import SmartAlertManager

START = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


class Channel:
    kind = "mail"
    name = "channel"

    def __init__(self) -> None:
        self.down, self.mails = False, []

    def preflight(self) -> None:
        pass

    def send(self, mail, *, severity="INFO") -> Delivery:
        if self.down:
            raise DeliveryFailed("down")
        self.mails.append(mail)
        return Delivery()


class Store(MemoryObjectStore):
    down = False

    def write(self, name, data, **rest):
        if self.down:
            raise LandingUnavailable("down")
        return super().write(name, data, **rest)


ERRORS = {
    "transient": lambda day: errors.SourceUnavailable(f"503 on {day}", partition=day),
    "minor": lambda day: errors.NothingPublished(f"nothing on {day}", partition=day),
    "auth": lambda day: errors.AuthenticationError("dead key", partition=day),
    "bug": lambda day: TypeError(f"unexpected keyword on {day}"),
}
step = st.one_of(
    st.tuples(st.just("error"), st.sampled_from(sorted(ERRORS)), st.integers(1, 28), st.sampled_from([1, 1, 20, 120])),
    st.tuples(st.sampled_from(["flush", "heartbeat", "mail down", "mail up", "store down", "store up"])),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(step, max_size=20), st.booleans(), st.booleans())
def test_any_stream_of_errors_and_outages_ends_in_one_summary_and_at_most_one_call_for_a_human(steps, killed, early):
    now, channel, store = [START], Channel(), Store()
    with tempfile.TemporaryDirectory() as spool:
        settings_ = AlertSettings(retry_waits_s=())
        manager = SmartAlertManager(
            store=store, channels=[channel], settings=settings_, spool_folder=spool, clock=lambda: now[0]
        )
        manager.enable_backfill_mode("b", source="s")
        days: set[str] = set()
        for kind, *rest in steps:
            now[0] += dt.timedelta(seconds=20)
            if kind == "error":
                name, number, times = rest
                day = f"2024-01-{number:02d}"
                days.add(day)
                for _ in range(times):
                    manager.record_error(Incident.from_error(ERRORS[name](day), source="s", partition=day))
            elif kind in ("flush", "heartbeat"):
                getattr(manager, kind)()
            else:
                where, state = kind.split()
                (channel if where == "mail" else store).down = state == "down"
        store.down = False
        manager.flush()
        if not killed:
            manager.disable_backfill_mode()
            manager.disable_backfill_mode()
        channel.down = False
        for hours in (0 if early else 2, 3, 4):
            now[0] += dt.timedelta(hours=hours)
            for owed in owed_summaries(store, now[0]):
                if owed.is_due:
                    send_owed_summary(store, [channel], owed.backfill_id, now=now[0], spool_folder=spool)
    finals = [mail for mail in channel.mails if ".final@" in mail["Message-ID"]]
    humans = [mail for mail in channel.mails if ".human@" in mail["Message-ID"]]
    assert len(finals) == 1
    assert len(humans) <= 1
    assert len(channel.mails) == len(finals) + len(humans)
    text = finals[0].get_body(("plain",)).get_content()
    assert ("CAUSES" in text) == bool(days)
    assert owed_summaries(store, now[0]) == []


class Racing(MemoryObjectStore):
    """Somebody else writes between read and write, every other time."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0

    def write(self, name, data, *, if_generation=None, **rest):
        self.turn += 1
        if if_generation and self.turn % 2:
            raise GenerationConflict(name)
        return super().write(name, data, if_generation=if_generation, **rest)


def test_lost_races_change_nothing_in_the_budget(tmp_path):
    channel, store = Channel(), Racing()
    manager = SmartAlertManager(store=store, channels=[channel], spool_folder=tmp_path)
    manager.enable_backfill_mode("b", source="s")
    for _ in range(5):
        manager.record_error(errors.AuthenticationError("dead"))
        manager.heartbeat()
    manager.disable_backfill_mode()
    assert [mail["Message-ID"].split(".")[3].split("@")[0] for mail in channel.mails] == ["human", "final"]


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_100_000_errors_are_one_summary_under_80_kb_and_every_one_is_journaled(tmp_path):
    rng = random.Random(20260110)
    channel, store = Channel(), MemoryObjectStore()
    manager = SmartAlertManager(
        store=store, channels=[channel], spool_folder=tmp_path, settings=AlertSettings(retry_waits_s=())
    )
    manager.enable_backfill_mode("b", source="s")
    days = [str(dt.date(1990, 1, 1) + dt.timedelta(days=number)) for number in range(13_000)]
    words = [f"{kind} fault" for kind in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")]
    for number in range(100_000):
        day, word = rng.choice(days), rng.choice(words)
        told = f"{word} in request {rng.getrandbits(64):x} on {day} at https://api.test/{number}"
        kind = errors.AuthenticationError if number == 70_000 else errors.SourceUnavailable
        manager.record_error(Incident.from_error(kind(told), source="s", partition=day))
    assert IncidentJournal(store).count("b") + 200 > 100_000
    assert manager.disable_backfill_mode().status == "sent"
    roles = [mail["Message-ID"].split(".")[3].split("@")[0] for mail in channel.mails]
    assert roles == ["human", "final"]
    final = channel.mails[-1]
    assert "CAUSES (9)" in final.get_body(("plain",)).get_content()
    assert len(final.get_body(("html",)).as_bytes()) < 80_500
    assert IncidentJournal(store).count("b") == 100_000
