"""Ends what the local stack has started, in the order in which nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

from deployments.local.process_id import family, stop_processes
from deployments.local.stack_state import StackState, load_state, locked, save_state, state_file


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
    """Flow runs first, while the server still takes their last words; then the rest at once."""
    recorded = [child.identity for child in state.children if child.name != "guard"]
    worker, guard = state.child("worker"), state.child("guard")
    if state.token:
        known = {child.identity for child in state.children}
        stop_processes([one for one in family(state.token) if one not in known])
    stop_processes([worker.identity] if worker else [])
    stop_processes(recorded, grace_s=8)
    if state.token:
        stop_processes([one for one in family(state.token) if not guard or one != guard.identity], grace_s=1)
    stop_processes([guard.identity] if guard and guard.identity.pid != os.getpid() else [])
    for child in state.children:
        if child.process is not None:
            child.process.poll()
    state.children, state.owner, state.token = [], None, ""
