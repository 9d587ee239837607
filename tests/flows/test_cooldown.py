"""A source that blocked us is left alone for a while; the run goes on by itself once, and then it is a person's."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import BlockedBySource, ConfigurationError
from alerting.local_store import MemoryObjectStore
from flows import backfill as backfill_module
from flows import daily as daily_module
from flows.control import resume
from flows.control.cooldown import cool_down, cooldown_name, refuse_while_cooling
from flows.parameters import Asked
from flows.runs.outcome import resumes_at

if TYPE_CHECKING:
    from .conftest import Place, Ran

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
SOURCE = "bdl_box_scores"
FIRST, LAST = "2025-01-10", "2025-01-14"


def test_h18_a_block_stops_the_run_and_leaves_the_source_alone_until_it_goes_on(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "html403"})
    run, facts = ran(FIRST, LAST, order="sequential")
    assert isinstance(run.stopped_by, BlockedBySource)
    assert facts.verdict == "ABORTED(critical)"
    assert facts.verdict_counts == {"blocked": 1, "paused": 4}
    until = resumes_at(run.stopped_by)
    assert until is not None
    assert f"waits until {until:%Y-%m-%d %H:%M} UTC" in place.entry("2025-01-14").evidence
    assert any("HUMAN" in one["subject"].upper() for one in place.inbox.messages())

    before, asked_before = place.objects(), place.upstream.calls.report()["total"]
    asked = Asked.model_validate({"source": SOURCE, "start_date": "2025-03-01", "end_date": "2025-03-02"})
    with pytest.raises(ConfigurationError, match="left alone until"):
        asyncio.run(backfill_module._run(place.services, asked, "bf-other"))
    state = asyncio.run(daily_module.daily.fn(SOURCE))
    assert state.is_failed()
    assert "left alone until" in (state.message or "")
    assert place.objects() == before
    assert place.upstream.calls.report()["total"] == asked_before


def test_the_cooldown_is_over_at_its_end_and_concerns_no_other_source() -> None:
    store = MemoryObjectStore()
    error = BlockedBySource("a challenge page", source="one")
    cool_down(store, error, source="one", backfill_id="bf-1", now=NOW, hours=2)
    refuse_while_cooling(store, "another", NOW)
    for after_h in (0.0, 1.9):
        with pytest.raises(ConfigurationError, match="blocked bf-1"):
            refuse_while_cooling(store, "one", NOW + dt.timedelta(hours=after_h))
    refuse_while_cooling(store, "one", NOW + dt.timedelta(hours=2))


def test_without_a_cooldown_nothing_waits_and_nothing_goes_on_by_itself() -> None:
    store = MemoryObjectStore()
    error = BlockedBySource("a challenge page", source="one")
    cool_down(store, error, source="one", backfill_id="bf-1", now=NOW, hours=0)
    assert list(store.list(cooldown_name("one"))) == []
    assert resumes_at(error) is None


@pytest.mark.parametrize(("resume_of", "times"), [("", 1), ("bf-earlier", 0)])
def test_a_blocked_run_goes_on_by_itself_once(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch, resume_of: str, times: int
) -> None:
    scheduled: list[dt.datetime] = []

    async def schedule(_: Any, __: str, at: dt.datetime) -> str:
        scheduled.append(at)
        return "resumes"

    monkeypatch.setattr(resume, "schedule_resume", schedule)
    place.upstream.trouble({"kind": "html403"})
    run, _ = ran(FIRST, LAST, resume_of=resume_of)
    asyncio.run(resume.note_resume(run))
    assert len(scheduled) == times
    assert any("blocked again" in note for note in run.notes) == (not times)
