"""One date walked through the real modules: it passes the rooms of `flows` in the order of docs/design.md.

A backfill of one date runs from its first step to its mail, on the emulators and without Prefect. Noted is every call
of a function in `flows` that is given the date: its key, a partition, a manifest, or something that holds one of them.
What a thing says of itself (``plan.to_fetch``) is no such call.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

import flows
from deployments.local.upstreams.box_scores_upstream import Upstream
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.wiring import Services

if TYPE_CHECKING:
    from ..conftest import Provisioned

ROOT = Path(__file__).parents[2]
SOURCE, DATE, KEY = "bdl_box_scores", "2025-01-10", "sample-key-7d1f"
FLOWS = str(Path(flows.__file__).parent) + os.sep
# Every stage tells the live run, the ledger and the log what has become of the date.
ASKED_BY_ALL = {"run", "ledger", "log"}

Call = tuple[str, str]
"""The room that called, "" for a thread or a task of its own, and the room that was called."""


class Walk:
    """Notes the calls that are given the date; each once, because a coroutine is entered again whenever it goes on."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._begun: dict[int, FrameType] = {}

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(FLOWS) or id(frame) in self._begun:
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(has_date(frame.f_locals.get(name)) for name in names if name != "self"):
            self._begun[id(frame)] = frame  # kept, so that its id is nobody else's
            callers = (room_of(one) for one in before(frame))
            self.calls.append((next((room for room in callers if room), ""), room_of(frame)))

    @property
    def stages(self) -> list[str]:
        """The rooms in the order in which they are given the date, without those that everybody asks."""
        rooms = (room for _, room in self.calls if room not in ASKED_BY_ALL)
        return [room for room, _ in itertools.groupby(rooms)]


def before(frame: FrameType) -> Iterator[FrameType]:
    caller = frame.f_back
    while caller is not None:
        yield caller
        caller = caller.f_back


def room_of(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    if not path.startswith(FLOWS):
        return ""
    return Path(path.removeprefix(FLOWS)).with_suffix("").parts[0]


def has_date(given: Any, depth: int = 2) -> bool:
    if isinstance(given, str):
        return given == DATE
    held = getattr(given, "partition", given)
    if DATE in (held, getattr(held, "key", None)):
        return True
    if isinstance(given, Mapping):
        return DATE in given
    if isinstance(items := getattr(given, "items", None), tuple):
        given = items  # a plan
    return bool(depth) and isinstance(given, list | tuple | set) and any(has_date(one, depth - 1) for one in given)


@contextmanager
def walking() -> Iterator[Walk]:
    walk, before_s = Walk(), sys.getprofile()
    threading.setprofile(walk.note)
    sys.setprofile(walk.note)
    try:
        yield walk
    finally:
        sys.setprofile(before_s)
        threading.setprofile(None)


@pytest.fixture
def services(provisioned: Provisioned) -> Iterator[Services]:
    nobody = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with Upstream(api_key=KEY) as upstream, temporary_settings(nobody):
        yield provisioned(SOURCE, upstream.url, {"bdl_api_key": KEY})


def ranks() -> dict[str, int]:
    """Rooms by the layer of their import-linter contract, 0 on top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rooms,) = (one for one in contracts if one["name"] == "The rooms of flows import only rooms below them")
    return {room: rank for rank, layer in enumerate(rooms["layers"]) for room in re.findall(r"\w+", layer)}


def test_one_date_passes_the_rooms_from_the_plan_to_the_mail_and_comes_back_to_none_of_them(services: Services) -> None:
    asked = Asked.model_validate({"source": SOURCE, "start_date": DATE, "end_date": DATE, "max_concurrency": 1})
    with walking() as walk:
        state = asyncio.run(run_backfill(services, asked, "bf-1", PlainOrchestrator()))
    assert state.is_completed(), state.message
    rooms = ["planning", "backfill", "canaries", "mapping", "dates", "loading", "process", "closing"]
    assert walk.stages[: len(rooms)] == rooms
    # The source's calendar is drawn where there is a page for it, which this run has not.
    assert set(walk.stages[len(rooms) :]) <= {"closing"}

    # Every call goes down the layers, but those of a part or step that the run was given to do.
    rank = ranks()
    upwards = {(caller, room) for caller, room in walk.calls if caller and rank[caller] > rank[room]}
    assert upwards == {("run", "dates"), ("run", "process")}
