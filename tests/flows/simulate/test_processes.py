"""Where schedules do their work."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from flows.simulate import processes
from flows.simulate.invariants import Ending
from flows.simulate.subject import Subject


@pytest.mark.parametrize("is_there", [True, False])
def test_schedules_stage_their_rows_in_memory_where_the_machine_has_a_folder_there(
    subject: Subject, truth: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    usual, memory = tempfile.gettempdir(), tmp_path if is_there else tmp_path / "nowhere"
    monkeypatch.setattr(processes, "_MEMORY", str(memory))
    monkeypatch.setattr(processes, "outcome_of", lambda *_, **__: tempfile.gettempdir())
    assert list(processes.outcomes(subject, truth, [0], faults=True, processes=1)) == [
        str(memory) if is_there else usual
    ]
    assert tempfile.gettempdir() == usual
