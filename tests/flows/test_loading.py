"""Batches on their way: the next one is staged while one is written, and what was learned meanwhile is heeded."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import CoverageLow, CriticalError
from alerting.instant import utc_now
from flows import loading, mapping
from flows.asked import Asked
from flows.loading import BATCHES_UNDER_WAY, BatchLoader, load_in_batches
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import record_failure
from flows.run.run import Run
from flows.run.work_set import Landed
from processors.warehouse import BigQueryWarehouse

if TYPE_CHECKING:
    from .conftest import Place

FIRST, SECOND = "2025-01-03", "2025-01-04"
PATIENCE_S = 20.0
GAMES = "nba_bdl_games"


@pytest.fixture
def run(place: Place) -> Iterator[Run]:
    """Two dates that have landed, none of them loaded."""
    day = dt.date.fromisoformat
    asked = Asked(source="bdl_box_scores", start_date=day(FIRST), end_date=day(SECOND), canary=0)
    with Run(place.services, asked, place.run_id, PlainOrchestrator()) as made:
        made.work.take_up(plan_asked(place.services, asked, utc_now()).plan)
        place.land(FIRST, 2)
        made.ledger.refresh()
        yield made


class Watched:
    """What the warehouse was asked, in order; the first MERGE waits until the second batch is staged, and ``then``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.then: Callable[[], None] = lambda: None
        self._both_staged = threading.Event()
        for step in ("stage", "replace"):
            monkeypatch.setattr(BigQueryWarehouse, step, self._watching(step, getattr(BigQueryWarehouse, step)))

    def _watching(self, step: str, real: Any) -> Any:
        def watching(warehouse: Any, batch: Any, *given: Any) -> Any:
            if batch.table.name != GAMES:
                return real(warehouse, batch, *given)
            date = str(batch.scope[0].values[0])
            if step == "replace" and "replace" not in " ".join(self.steps):
                assert self._both_staged.wait(PATIENCE_S), "the next batch waits until this one is written"
                self.then()
            self.steps.append(f"{step} {date}")
            done = real(warehouse, batch, *given)
            if step == "stage" and date == SECOND:
                self._both_staged.set()
            return done

        return watching


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def load_one_by_one(run: Run, place: Place) -> None:
    async def story() -> None:
        loader = BatchLoader(run)
        for date in (FIRST, SECOND):
            await loader.begin([Landed(place.manifests[date])])
        await loader.ended()

    asyncio.run(story())


def verdicts(place: Place) -> dict[str, str]:
    return {key: entry.verdict.value for key, entry in place.ledger.refresh().items()}


def loaded(place: Place) -> list[str]:
    return [str(row["d"]) for row in place.sql("SELECT DISTINCT game_date AS d FROM {games} ORDER BY d")]


def staged(place: Place) -> list[str]:
    """Tables and objects that hold rows on their way."""
    tables = place.services.warehouse._open().list_tables(place.services.warehouse.dataset.name)
    names = [table.table_id for table in tables] + [one.name for one in place.store.list("staging/")]
    return [name for name in names if name.startswith(("stg_", "staging/"))]


def test_the_next_batch_is_staged_while_one_is_written_and_written_after_it(
    run: Run, place: Place, watched: Watched
) -> None:
    load_one_by_one(run, place)
    assert sorted(watched.steps[:2]) == [f"stage {FIRST}", f"stage {SECOND}"]
    assert watched.steps[2:] == [f"replace {FIRST}", f"replace {SECOND}"]
    assert verdicts(place) == {FIRST: "verified", SECOND: "verified"}
    assert loaded(place) == [FIRST, SECOND]
    assert staged(place) == []


def test_two_batches_are_staged_side_by_side_and_written_in_their_order(
    run: Run, place: Place, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_is_staged, real = threading.Event(), BigQueryWarehouse.stage

    def stage(warehouse: Any, batch: Any, *given: Any) -> Any:
        date = str(batch.scope[0].values[0])
        if date == FIRST:
            assert second_is_staged.wait(PATIENCE_S), "the next batch waits until this one is staged"
        done = real(warehouse, batch, *given)
        if date == SECOND:
            second_is_staged.set()
        return done

    monkeypatch.setattr(BigQueryWarehouse, "stage", stage)
    load_one_by_one(run, place)
    assert watched.steps[2:] == [f"replace {FIRST}", f"replace {SECOND}"]
    assert verdicts(place) == {FIRST: "verified", SECOND: "verified"}


def test_a_batch_that_was_staged_when_loading_was_stopped_is_not_written(
    run: Run, place: Place, watched: Watched
) -> None:
    watched.then = lambda: run.stop(CriticalError("stop"), "load")
    load_one_by_one(run, place)
    assert watched.steps[-1] == f"replace {FIRST}"
    assert verdicts(place) == {FIRST: "verified", SECOND: "landed"}
    assert loaded(place) == [FIRST]
    assert staged(place) == []


def test_a_batch_whose_dates_are_no_longer_believed_when_its_turn_comes_is_not_written(
    run: Run, place: Place, watched: Watched
) -> None:
    def disbelieve() -> None:
        record_failure(run, SECOND, CoverageLow("the payload of another date"), "load", SECOND)
        run.work.quarantine(SECOND)

    watched.then = disbelieve
    load_one_by_one(run, place)
    assert verdicts(place) == {FIRST: "verified", SECOND: "partial"}
    assert loaded(place) == [FIRST]
    assert staged(place) == []


def test_a_date_that_the_next_batch_shows_to_be_a_twin_keeps_that_verdict_when_it_is_recounted(
    run: Run, place: Place, watched: Watched
) -> None:
    def disbelieve() -> None:
        record_failure(run, FIRST, CoverageLow("the payload of another date"), "load", SECOND)
        run.work.quarantine(FIRST)

    watched.then = disbelieve
    load_one_by_one(run, place)
    assert verdicts(place) == {FIRST: "partial", SECOND: "verified"}


def test_no_more_batches_are_under_way_than_there_are_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> tuple[list[str], int]:
        begun, under_way, most = list[str](), 0, 0
        may_end = asyncio.Event()

        async def all_of_them(_run: Any, landed: Any) -> Any:
            return landed

        async def load_batch(_run: Any, batch: Any, told: Any) -> None:
            nonlocal under_way, most
            begun.append(batch[0].key)
            under_way += 1
            most = max(most, under_way)
            told.read(batch)
            await may_end.wait()
            under_way -= 1

        one_each: Any = lambda landed: [[one] for one in landed]  # noqa: E731
        monkeypatch.setattr(loading, "to_load", all_of_them)
        monkeypatch.setattr(loading, "load_batch", load_batch)
        monkeypatch.setattr(loading, "pack", one_each)
        of_run: Any = type("Of", (), {"loading_stopped_by": None})()
        loader = BatchLoader(of_run)
        manifests: Any = [type("One", (), {"key": str(at), "partition": str(at)})() for at in range(5)]
        working = asyncio.create_task(loader.begin(manifests))
        for _ in range(50):
            await asyncio.sleep(0)
        told = list(begun)
        may_end.set()
        await working
        await loader.ended()
        return told, most

    told, most = asyncio.run(story())
    assert told == [str(at) for at in range(BATCHES_UNDER_WAY)]
    assert most == BATCHES_UNDER_WAY


def test_what_a_batch_raises_ends_the_run_when_the_others_have_ended() -> None:
    class Breaks:
        def __init__(self) -> None:
            self.has_ended = False

        async def begin(self, landed: Any) -> None:
            raise ConnectionError("nobody listens")

        async def ended(self) -> None:
            self.has_ended = True

    async def story() -> bool:
        breaks, landed = Breaks(), asyncio.Queue[Landed | None]()
        with pytest.raises(ConnectionError):
            await load_in_batches(breaks, [Landed(Any), Landed(Any)], landed, 0, 2)  # type: ignore[arg-type]
        return breaks.has_ended

    assert asyncio.run(story())


def test_a_window_that_breaks_ends_the_run_when_the_others_have_landed_what_they_had_begun(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def land_here(_run: Any, window: Any, _landed: Any, _slots: int) -> None:
        (date,) = [one.key for one in window]
        told.append(f"{date} begins")
        if date == SECOND:
            raise ConnectionError("nobody listens")
        for _ in range(10):
            await asyncio.sleep(0.01)
        told.append(f"{date} ends")

    three = [(one,) for one in place.partitions(FIRST, 3)]
    monkeypatch.setattr(mapping, "_windows", lambda *_: (three, 2))
    monkeypatch.setattr(mapping, "_land_here", land_here)
    with pytest.raises(ConnectionError):
        asyncio.run(mapping.land_in_windows(run, None, asyncio.Queue()))  # type: ignore[arg-type]
    assert told == [f"{FIRST} begins", f"{SECOND} begins", f"{FIRST} ends"]
