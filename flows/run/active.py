"""The runs whose parent is this process: subflows get plain strings and find their run by its backfill id."""

from __future__ import annotations

from flows.run.run import Run

_RUNS: dict[str, Run] = {}


def register(run: Run) -> None:
    """Makes ``run`` findable by the subflows of this process."""
    _RUNS[run.backfill_id] = run


def unregister(run: Run) -> None:
    """The opposite of ``register``; closes the run."""
    _RUNS.pop(run.backfill_id, None)
    run.close()


def is_here(backfill_id: str) -> bool:
    """Whether the run's parent is this process."""
    return backfill_id in _RUNS


def current_run(backfill_id: str) -> Run:
    """The run of this process; ``KeyError`` when the parent is elsewhere."""
    return _RUNS[backfill_id]
