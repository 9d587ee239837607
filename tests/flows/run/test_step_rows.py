"""Rows of steps that Prefect is told together: the same events as its own functions send, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, Self

import pytest
from prefect.events import Event
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.run import step_rows
from flows.run.prefect_orchestrator import _step
from flows.run.step_rows import StepRow, rows_told_together, tell_completed

BEGAN = dt.datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=dt.UTC)
ENDED = BEGAN + dt.timedelta(milliseconds=52)


class Client:
    """The server's, which takes requests or is away."""

    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.is_away = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def request(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> None:
        assert (method, path, headers) == ("POST", "/events", {"Content-Type": "application/json"})
        if self.is_away:
            raise ConnectionError("nobody listens")
        self.requests.append(json.loads(content))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(step_rows, "get_client", lambda: made)
    return made


@pytest.fixture
def sent() -> Iterator[list[Event]]:
    """What Prefect's own queue is given."""
    EventsWorker.set_client_override(AssertingEventsClient)
    AssertingEventsClient.reset()
    try:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
            events: list[Event] = []
            worker = EventsWorker.instance()
            worker.send = events.append  # type: ignore[method-assign]
            yield events
            del worker.send  # type: ignore[method-assign]
            worker.drain()
    finally:
        EventsWorker.set_client_override(None)


def tell(*labels: str) -> None:
    async def all_of_them() -> None:
        async with rows_told_together():
            for label in labels:
                await tell_completed(_step, StepRow(label, BEGAN, ENDED))

    asyncio.run(all_of_them())


def test_all_rows_but_the_first_are_one_request(client: Client, sent: list[Event]) -> None:
    tell("scrape 2025-01-03", "scrape 2025-01-04", "scrape 2025-01-05")
    assert [event.resource.name for event in sent] == ["scrape 2025-01-03"]
    (together,) = client.requests
    assert [row["resource"]["prefect.resource.name"] for row in together] == ["scrape 2025-01-04", "scrape 2025-01-05"]
    ids = {one for row in together for one in (row["id"], row["resource"]["prefect.resource.id"])}
    assert len(ids) == 4


def test_a_row_told_with_others_is_what_prefect_itself_would_send(client: Client, sent: list[Event]) -> None:
    tell("scrape 2025-01-03", "scrape 2025-01-04")
    tell("scrape 2025-01-04")
    ((ours,),) = client.requests
    theirs = sent[-1].model_dump(mode="json")
    own = [
        (event.pop("id"), event["resource"].pop("prefect.resource.id"), event["payload"]["task_run"].pop("dynamic_key"))
        for event in (ours, theirs)
    ]
    assert not set(own[0]) & set(own[1])
    assert _with_instants(ours) == _with_instants(theirs)


def test_rows_that_the_server_does_not_take_go_through_prefects_queue(client: Client, sent: list[Event]) -> None:
    client.is_away = True
    tell("scrape 2025-01-03", "scrape 2025-01-04", "scrape 2025-01-05")
    assert [event.resource.name for event in sent] == [f"scrape 2025-01-0{day}" for day in (3, 4, 5)]


def test_rows_that_nobody_takes_are_said_and_end_no_run(
    client: Client, sent: list[Event], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client.is_away = True

    def stopped(event: Event) -> None:
        if sent:
            raise RuntimeError("Cannot put items in a stopped service instance.")
        sent.append(event)

    monkeypatch.setattr(EventsWorker.instance(), "send", stopped)
    tell("scrape 2025-01-03", "scrape 2025-01-04")
    assert "1 step is not shown: Cannot put items" in caplog.text


def test_no_step_waits_for_a_server_that_never_answers_and_its_rows_go_through_the_queue(
    client: Client, sent: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: object) -> Any:
        await asyncio.Event().wait()

    async def story() -> None:
        async with rows_told_together():
            async with asyncio.timeout(5):
                for label in ("scrape 2025-01-03", "scrape 2025-01-04"):
                    await tell_completed(_step, StepRow(label, BEGAN, ENDED))
            monkeypatch.setattr(step_rows, "_TOLD_WITHIN_S", 0.01)

    monkeypatch.setattr(step_rows, "related_resources_from_run_context", never)
    asyncio.run(story())
    assert client.requests == []
    assert [event.resource.name for event in sent] == ["scrape 2025-01-03", "scrape 2025-01-04"]


def _with_instants(event: Any) -> Any:
    """The event with texts of instants read, as ``Z`` and ``+00:00`` are the same zone."""
    if isinstance(event, dict):
        return {name: _with_instants(value) for name, value in event.items()}
    with contextlib.suppress(TypeError, ValueError):
        return dt.datetime.fromisoformat(event)
    return event
