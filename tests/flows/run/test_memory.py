"""The parent never holds payloads: its memory does not grow with the size of what it fetches."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from alerting.instant import utc_now
from alerting.local_store import FileObjectStore
from flows.asked import Asked
from flows.ledger.ledger import Ledger
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import land
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.settings import Settings
from flows.wiring import Services, SourceKit
from scrapers.base import Page, Request

DATES, BODY_BYTES = 400, 200_000
BOUND_BYTES = 16 * 2**20
"""A fifth of what 400 bodies would take."""


class BigClient:
    """Answers every date with the same proof of emptiness and a lot of blanks."""

    calls = received_bytes = 0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        body = bytearray(b'{"data":[]}')
        body += b" " * BODY_BYTES
        return Page(request, page_number, 200, {}, bytes(body), utc_now(), 0.01)

    def close(self) -> None:
        pass


class CountedFiles(FileObjectStore):
    calls: dict[str, int] = {}  # noqa: RUF012


def test_n28_landing_400_dates_takes_the_memory_of_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Services, "store", CountedFiles(tmp_path))
    monkeypatch.setattr(SourceKit, "client", BigClient())
    services: Any = Services(Settings(project="p", console_only=True))
    last = dt.date(2024, 1, 1) + dt.timedelta(days=DATES - 1)
    asked = Asked(source="bdl_box_scores", start_date=dt.date(2024, 1, 1), end_date=last)
    run = Run(services, asked, "bf-1", PlainOrchestrator())
    planned = plan_asked(services, asked, utc_now(), "bf-1")
    run.begin(planned, starting_facts(services, planned.plan, {}, "bf-1", asked))
    tracemalloc.start()
    try:
        for key in run.work.partitions:
            land(run, key)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(Ledger(services.store, "bdl_box_scores").refresh()) == DATES
    assert peak_bytes < BOUND_BYTES < DATES * BODY_BYTES / 4


def test_the_memory_that_the_breaker_hears_of_is_the_flows_own_and_not_that_of_the_worker_that_started_it() -> None:
    held = bytearray(b"x") * (512 * 2**20)
    told = "from flows.run.supervisor import memory_bytes; held = bytearray(b'x') * 2**27; print(memory_bytes())"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=120, check=True)
    assert 2**27 < int(done.stdout) < len(held)


@pytest.mark.parametrize("status", ["Name:\tpython\nVmRSS:\t1 kB\n", None])
def test_where_the_kernel_does_not_tell_the_peak_of_a_program_that_of_its_parents_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    from flows.run import supervisor as supervise

    told = tmp_path / "status"
    if status is not None:
        told.write_text(status)
    monkeypatch.setattr(supervise, "STATUS", told)
    assert supervise.memory_bytes() > 2**24
