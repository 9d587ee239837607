"""What a flow says when Cloud Storage does not answer at its start."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flows import wiring
from flows.audit import audit
from flows.backfill import backfill
from flows.daily import daily
from flows.digest import digest
from flows.watchdog import watchdog
from scrapers.object_store import GcsObjectStore, Patience

SOURCE: Any = "bdl_box_scores"


@pytest.fixture(params=["nobody listens", "nobody answers"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The settings point to a storage that cannot be reached; the patience is short. Gives its address."""
    monkeypatch.setattr(wiring, "PATIENT", Patience(timeout_s=0.3, first_retry_s=0.3))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "nobody answers":
            listening.listen(64)
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", endpoint)
        yield endpoint


def ask_backfill() -> Any:
    """One day."""
    day = dt.date(2025, 1, 3)
    return backfill.fn(SOURCE, day, day, "test")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "begin",
    [ask_backfill, lambda: daily.fn(SOURCE), lambda: watchdog.fn(), lambda: digest.fn(), lambda: audit.fn()],
    ids=["backfill", "daily", "watchdog", "digest", "audit"],
)
def test_a_flow_without_storage_fails_with_one_sentence_and_the_next_command(
    place: Any, storage: str, begin: Callable[[], Any]
) -> None:
    found = begin()
    state = asyncio.run(found) if inspect.isawaitable(found) else found
    assert state.is_failed()
    assert f"Cloud Storage cannot be reached at {storage}" in state.message
    assert "nothing was started" in state.message
    assert "make up" in state.message
    assert "\n" not in state.message
    assert place.objects() == {}


def test_a_storage_that_has_answered_once_is_given_the_long_patience(place: Any, gcs_endpoint: str) -> None:
    patience = Patience(first_retry_s=3.0, retry_s=50.0)
    store = GcsObjectStore(place.store.bucket, project="test", endpoint=gcs_endpoint, patience=patience)
    assert store._calling["retry"].timeout == 3.0
    store.write("a", b"1")
    assert store._calling["retry"].timeout == 50.0
    assert store._calling["timeout"] == (10.0, 30.0)


def test_the_default_patience_of_a_start_is_under_20_s() -> None:
    calling = GcsObjectStore("bucket", project="test", endpoint="http://127.0.0.1:1")._calling
    assert calling["retry"].timeout + max(calling["timeout"]) < 20
