"""What a person reads of a run that Prefect could not even begin."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Crashed

from flows.backfill import backfill
from flows.closing import state_hooks

NEEDED = {"source": "bdl_box_scores", "start_date": "2025-01-01", "end_date": "2025-01-02", "reason": "test"}


class Server:
    """Where states are set."""

    def __init__(self) -> None:
        self.states: list[State[None]] = []

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_flow_run_state(self, _run_id: object, state: State[None], *, force: bool) -> None:
        assert force
        self.states.append(state)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({**NEEDED, "start_date": None} | {"foo": 1}, "got an unexpected keyword argument 'foo'"),
        (
            {name: value for name, value in NEEDED.items() if name != "start_date"},
            "missing a required argument: 'start_date'",
        ),
    ],
)
def test_a_run_that_cannot_be_called_ends_failed_and_says_which_parameter(monkeypatch, given, told) -> None:
    server = Server()
    monkeypatch.setattr(state_hooks, "impatient_client", lambda: server)
    run = SimpleNamespace(id=uuid4(), parameters=given, run_count=0)
    state_hooks.close_after_state_change(backfill, run, Crashed(message="Process exited with status code: 1."))
    (ended,) = server.states
    assert ended.is_failed()
    assert ended.message == (
        f"{told}. Nothing was done. Next: run it by its form, or correct the schedule that began it"
    )


def test_a_run_that_was_called_rightly_is_closed_as_ever() -> None:
    assert state_hooks.unfit_parameters(backfill, {**NEEDED, "advanced": {"max_calls": 5}}) == ""
