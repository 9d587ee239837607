"""However a run ends, its threads, connections, reserved calls and lease are given back; its counts lose nothing."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import processors.sources
from alerting.errors import LeaseHeld, StateUnreadable
from flows import backfill as backfill_module
from flows import daily as daily_module
from flows.asked import Asked
from flows.coordination.lease import read_lease
from flows.planning.plan import make_plan
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import take
from flows.run.run import Run
from processors.registry import processor

if TYPE_CHECKING:
    from .conftest import Place

SOURCE, DATE = "bdl_box_scores", "2025-01-10"


def test_a_plan_that_fails_gives_back_threads_connections_reserved_calls_and_the_lease(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPLESS_SOURCE_CALLS_PER_DAY", json.dumps({"balldontlie": 1000}))
    place.services = backfill_module.build_services()
    made: list[Run] = []

    def begun(*given: Any) -> Run:
        made.append(Run(*given))
        return made[-1]

    def one_call(*_: Any) -> list[str]:
        made[-1].kit.budget.acquire()
        return []

    monkeypatch.setattr(backfill_module, "Run", begun)
    monkeypatch.setattr(backfill_module, "refresh_versions", one_call)
    place.store.write(f"ledger/source={SOURCE}/{DATE}.json", b"no entry", metadata={"verdict": "nonsense"})
    asked = Asked.model_validate({"source": SOURCE, "start_date": DATE, "end_date": DATE})
    with pytest.raises(StateUnreadable):
        asyncio.run(backfill_module.run_backfill(place.services, asked, "bf-1", PlainOrchestrator()))
    (run,) = made
    assert run._executor._shutdown
    assert run.client is not None
    assert run.client._transport._http.is_closed
    assert sum(place.services.source_kit(SOURCE).quota.counts().spent["day"].values()) == 1, (
        "the rest of the block is back"
    )
    assert read_lease(place.store, SOURCE).state != "held"  # type: ignore[union-attr]


def test_a_daily_run_whose_ledger_cannot_be_read_frees_its_lease(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.store.write(f"ledger/source={SOURCE}/{DATE}.json", b"no entry", metadata={"verdict": "nonsense"})
    lease = asyncio.run(_held(place))
    before = threading.active_count()
    plan = make_plan(place.services.source_kit(SOURCE).scraper, place.partitions(DATE, 1), {})
    with pytest.raises(StateUnreadable):
        asyncio.run(daily_module._work(place.services, plan, 2, lease))
    assert read_lease(place.store, SOURCE).state != "held"  # type: ignore[union-attr]
    assert threading.active_count() <= before + 2


async def _held(place: Place) -> Any:
    from flows.coordination.lease_loan import acquire_when_free

    return await acquire_when_free(
        place.services, SOURCE, backfill_id="daily-1", mode="daily", range_text=DATE, wait_s=0.0
    )


def test_an_answer_that_comes_when_its_run_has_ended_is_not_recorded(place: Place) -> None:
    async def made() -> Run:
        return Run(place.services, Asked(source=SOURCE), "bf-1", PlainOrchestrator())

    (manifest,) = place.land(DATE, record=False)
    with asyncio.run(made()) as run:
        run.work.partitions = {one.key: one for one in place.partitions(DATE, 1)}
    with pytest.raises(LeaseHeld, match="has ended"):
        take(run, manifest)
    assert place.ledger.refresh() == {}


class Slow(int):
    """Between its reading and its writing another thread has its turn."""

    def __radd__(self, other: int) -> int:
        time.sleep(0)
        return other + int(self)


def test_rows_landed_by_many_threads_at_once_are_all_counted(place: Place) -> None:
    async def made() -> Run:
        return Run(place.services, Asked(source=SOURCE), "bf-1", PlainOrchestrator())

    with asyncio.run(made()) as run, ThreadPoolExecutor(16) as threads:
        list(threads.map(run.tally.add_rows, [Slow(1)] * 5_000))
        assert run.tally.rows == 5_000
        taken = list(threads.map(lambda _: run.tally.takes_prompt_flush(50), range(2_000)))
        assert sum(taken) == 50


OTHER = """
import datetime as dt
from processors.base import Processor, Row, Table

class Game(Row):
    game_key: str
    game_date: dt.date

class Rival(Processor):
    tables = (Table("nba_bdl_games", Game, ("game_key",), "game_date"),)

    def rows(self, partition, page):
        yield from ()
"""


def test_two_processors_of_one_table_are_refused_at_the_start_and_a_broken_third_disturbs_nobody(
    place: Place, gapless: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors.sources, "__path__", [*processors.sources.__path__, str(tmp_path)])
    (tmp_path / "broken_one.py").write_text("raise RuntimeError('not finished')\n")
    processor.cache_clear()
    assert gapless("plan", SOURCE, DATE, DATE).code == 0
    (tmp_path / "rival.py").write_text(OTHER)
    processor.cache_clear()
    before = place.objects()
    try:
        refused = gapless("plan", SOURCE, DATE, DATE)
    finally:
        processor.cache_clear()
        sys.modules.pop("processors.sources.rival", None)
    assert refused.code != 0
    assert f"nba_bdl_games is declared by the processors of {SOURCE} and rival" in refused.err
    assert place.objects() == before
