"""What is done again of a run whose rows were to wait for a person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import ConfigurationError
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.parameters import Publish
from flows.run.plain_orchestrator import PlainOrchestrator

if TYPE_CHECKING:
    from ..conftest import Place

SOURCE, RUN = "bdl_box_scores", "bf-reviewed00001"
FIRST, LAST = "2025-01-10", "2025-01-12"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The parameters of every run that a command asks Prefect for, which begins none."""
    found: list[dict[str, Any]] = []

    def start(_: str, parameters: dict[str, Any], **__: Any) -> None:
        found.append(parameters)
        raise ConfigurationError("no server here", stage="start")

    monkeypatch.setattr("flows.cli.prefect_runs.start", start)
    return found


def ended_with_a_failure(place: Place, publish: Publish) -> None:
    place.upstream.trouble({"kind": "null_id", "dates": [LAST]})
    given = {"source": SOURCE, "start_date": FIRST, "end_date": LAST, "publish": publish}
    asyncio.run(run_backfill(place.services, Asked.model_validate(given), RUN, PlainOrchestrator()))
    assert place.entry(LAST).has_failed


@pytest.mark.parametrize(
    ("line", "publish"),
    [
        (["retry-failed", SOURCE], Publish.AFTER_APPROVAL),
        (["retry-failed", SOURCE, "--run", RUN], Publish.AFTER_APPROVAL),
        (["retry-failed", SOURCE, "--run", RUN, "--cause", "C1"], Publish.AFTER_APPROVAL),
        (["repair", SOURCE, FIRST, LAST, "--yes"], Publish.AFTER_APPROVAL),
        (["retry-failed", SOURCE], Publish.AT_ONCE),
    ],
    ids=["what failed", "of one run", "for one cause", "what the audit finds", "published at once"],
)
def test_what_a_run_left_open_waits_for_approval_again_where_its_rows_were_to_wait(
    place: Place, gapless: Any, begun: list[dict[str, Any]], line: list[str], publish: Publish
) -> None:
    ended_with_a_failure(place, publish)
    assert gapless(*line).code == 1
    (asked,) = begun
    assert asked["dates"].endswith(LAST)
    assert asked.get("publish", Publish.AT_ONCE.value) == publish.value
