"""Runs that are refused again and again: who waits for them is told, and not every minute."""

from __future__ import annotations

import datetime as dt

import pytest

from alerting.errors import ConfigurationError, LandingUnavailable, LeaseHeld, PipelineError
from alerting.limiter import Limiter
from alerting.memory_store import MemoryObjectStore
from alerting.message import text_of
from alerting.outbox import OutboxEntry
from alerting.refused_mail import REFUSALS_OF_A_CAUSE, Refusal, send_refusal

AT = dt.datetime(2026, 1, 10, 2, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def refused(channel, limiter: Limiter, at: dt.datetime, error: PipelineError) -> bool:
    entry = OutboxEntry(f"bf-{at:%H%M}", source="orders_api")
    return send_refusal([channel], entry, Refusal("orders_api", error), limiter, at)


def test_a_schedule_that_is_refused_every_minute_sends_five_mails_an_hour_and_counts_the_others(channel) -> None:
    store = MemoryObjectStore(now=lambda: at)
    for minute in range(61):
        at = AT + minute * MINUTE
        held = LeaseHeld(f"bf-71d0c2a4e9b3 works on it since {at}", source="orders_api")
        refused(channel, Limiter(store, lambda at=at: at), at, held)
    assert len(channel.mails) == REFUSALS_OF_A_CAUSE + 1
    assert "Not mailed: 55 earlier refusals for this reason." in text_of(channel.mails[-1])
    other = ConfigurationError("start_date 2025-01-31 is after end_date 2025-01-01", source="orders_api")
    assert refused(channel, Limiter(store, lambda: AT), AT, other)


def test_a_refusal_that_no_channel_took_is_not_counted_as_told(channel) -> None:
    limiter, held = Limiter(MemoryObjectStore(), lambda: AT), LeaseHeld("bf-1 works on it", source="orders_api")
    channel.broken = True
    assert not any(refused(channel, limiter, AT, held) for _ in range(2 * REFUSALS_OF_A_CAUSE))
    channel.broken = False
    assert refused(channel, limiter, AT, held)


def test_a_store_that_does_not_answer_keeps_no_refusal_back(channel, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryObjectStore()

    def down(*_: object, **__: object) -> None:
        raise LandingUnavailable("the bucket does not answer")

    monkeypatch.setattr(store, "read", down)
    assert refused(channel, Limiter(store, lambda: AT), AT, LeaseHeld("bf-1 works on it", source="orders_api"))
