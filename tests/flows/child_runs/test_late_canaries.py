"""Canaries that fail, or are cancelled, when the other dates are under way already."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from live_windows import PARENT, PATIENCE_S, SOURCE, days, fleet

from alerting.errors import AuthenticationError
from alerting.instant import utc_now
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.canaries import try_canaries
from flows.closing.finish import finish
from flows.coordination.lease import read_lease
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.planner import plan_asked
from flows.run.orchestrator import Child, ChildRequest
from flows.run.plain_orchestrator import PlainOrchestrator
from processors.warehouse import BigQueryWarehouse

if TYPE_CHECKING:
    from ..conftest import Place, Ran

# So many that some are left of them however late the canary's failure is heard of.
CANARY, REST = days(1, 1)[0], days(2, 28)


def landed(place: Place) -> list[str]:
    return [key for key in REST if (entry := place.ledger.refresh().get(key)) and entry.attempt]


def rows(place: Place) -> int:
    (found,) = place.sql("SELECT COUNT(*) AS n FROM {games}")
    return int(found["n"])


@pytest.mark.usefixtures("processes")
def test_windows_end_when_the_canary_fails_behind_them_and_nothing_of_them_is_written(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.2})
    written: list[str] = []

    def refused(_: Any, batch: Any, *given: Any) -> Any:
        written.append(str(batch.scope[0].values[0]))
        for _ in range(int(PATIENCE_S / 0.05)):
            if len(landed(place)) >= 3:
                break
            threading.Event().wait(0.05)
        raise AuthenticationError("bigquery.tables.updateData is missing", stage="load")

    monkeypatch.setattr(BigQueryWarehouse, "replace", refused)

    async def story() -> None:
        async with fleet(CANARY, REST[-1], parallel=1, canary=1, max_concurrency=1) as found:
            run = found.run

            class Workers(PlainOrchestrator):
                async def child(self, request: ChildRequest) -> Child:
                    keys = request.parameters["partitions"]
                    await found.window(*keys, slots=request.parameters["slots"])
                    return Child(keys[0], "Completed")

            run.orchestrator = Workers()
            watching = asyncio.create_task(found.supervisor.watch())
            plan = plan_asked(run.services, run.asked, utc_now(), PARENT).plan
            await map_windows(run, await try_canaries(run, plan))
            watching.cancel()
            facts = await run.in_thread(finish, run, abort_reason(run.stopped_by))
            assert facts.verdict == "ABORTED(red_flag)"
            (note,) = [one for one in facts.notes if "red flag, canary" in one]
            assert f"1 of 1 canary dates failed ({CANARY}: AuthenticationError)" in note

    asyncio.run(story())
    kept = landed(place)
    asked = place.upstream.calls.report()["total"]
    assert 3 <= len(kept) < len(REST), "the window was told to stop"
    assert asked == 1 + len(kept), "what was under way is kept, and nothing was asked for twice"
    assert (set(written), rows(place)) == ({CANARY}, 0)
    verdicts = {key: entry.verdict.value for key, entry in place.ledger.refresh().items()}
    assert verdicts == dict.fromkeys([CANARY, *kept], "landed") | dict.fromkeys(set(REST) - set(kept), "planned")
    assert len(place.inbox.messages()) <= 2
    # Whoever mends it calls nothing again.
    monkeypatch.undo()
    place.upstream.trouble()
    _, facts = ran(CANARY, REST[-1])
    assert facts.verdict == "COMPLETE"
    assert place.upstream.calls.report()["total"] == 1 + len(REST)


@pytest.mark.parametrize("during", ["stage_rows", "replace"])
def test_a_run_cancelled_while_its_canary_is_loaded_ends_cleanly_and_writes_nothing_afterwards(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    is_loading, is_over = threading.Event(), threading.Event()
    real = getattr(BigQueryWarehouse, during)

    def slow(warehouse: Any, *given: Any, **more: Any) -> Any:
        is_loading.set()
        is_over.wait(PATIENCE_S)
        return real(warehouse, *given, **more)

    monkeypatch.setattr(BigQueryWarehouse, during, slow)

    async def story() -> None:
        asked = Asked.model_validate({"source": SOURCE, "start_date": CANARY, "end_date": REST[3], "canary": 1})
        running = asyncio.create_task(run_backfill(place.services, asked, "bf-cancelled0001", PlainOrchestrator()))
        async with asyncio.timeout(PATIENCE_S):
            while not is_loading.is_set() or len(landed(place)) < 4:
                await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        is_over.set()

    asyncio.run(story())
    lease = read_lease(place.store, SOURCE)
    assert lease is not None
    assert lease.state == "released"
    (mail,) = place.inbox.messages()
    assert "CANCELLED" in mail["subject"]
    verdicts = {key: entry.verdict.value for key, entry in place.ledger.refresh().items()}
    assert verdicts == dict.fromkeys(days(1, 5), "landed")
    assert rows(place) == 0
    monkeypatch.undo()
    run, facts = ran(CANARY, REST[3])
    assert (facts.verdict, run.tally.calls) == ("COMPLETE", 0)
