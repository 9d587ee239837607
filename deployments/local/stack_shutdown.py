"""Ends what the local stack has started, in the order in which nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

from deployments.local.process_id import ProcessId, began, family, is_deaf, stop_processes
from deployments.local.stack_state import StackState, load_state, locked, save_state, state_file

_CLOSING_S = 20.0
"""For a run that is told to end to close its ledger and send its mail: 4 s at a source that answers after 5 s."""


def shut_down(state_dir: Path) -> None:
    """Stops what is recorded for the folder, and what that started; nothing else. Data and ports are kept."""
    file = state_file(state_dir)
    if not file.exists():
        return
    with locked(state_dir):
        state = load_state(file)
        stop_children(state)
        save_state(file, state)


def stop_children(state: StackState) -> None:
    """Flow runs first, while server, storage and inbox still take their last words; then the rest at once."""
    recorded = [child.identity for child in state.children if child.name != "guard"]
    worker, guard = state.child("worker"), state.child("guard")
    if state.token:
        stop_processes(_of_the_worker(state), grace_s=_CLOSING_S)
    stop_processes([worker.identity] if worker else [])
    stop_processes(recorded, grace_s=8)
    if state.token:
        stop_processes([one for one in family(state.token) if not guard or one != guard.identity], grace_s=1)
    stop_processes([guard.identity] if guard and guard.identity.pid != os.getpid() else [])
    for child in state.children:
        if child.process is not None:
            child.process.poll()
    state.children, state.owner, state.token = [], None, ""


def _of_the_worker(state: StackState) -> list[ProcessId]:
    """What the worker has begun: not itself, and nothing that a service began for itself, as storage has a server.

    What ignores SIGTERM, as the tracker of Python's ``multiprocessing`` does, ends with the worker.
    """
    known = {child.identity for child in state.children}
    services = [child.identity.pid for child in state.children if child.name != "worker"]
    begun = (one for one in family(state.token) if one not in known and not is_deaf(one))
    return [one for one in begun if not any(began(service, one) for service in services)]
