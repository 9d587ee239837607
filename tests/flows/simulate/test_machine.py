"""Simulated processes have machines: their timers and files end with them, and they are known by their numbers."""

from __future__ import annotations

import datetime as dt
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.memory_store import MemoryObjectStore
from alerting.spool import Spool, recover
from flows.simulate.machine import Machines
from flows.simulate.virtual_time import VirtualClock, virtual_time

BEGIN = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


@contextmanager
def machines(disk: Path, *, is_one: bool = True) -> Iterator[tuple[Machines, VirtualClock]]:
    with virtual_time(BEGIN, 0) as clock:
        made = Machines(clock, disk, is_one=is_one)
        with made.in_place_of_this_one():
            yield made, clock


def test_a_timer_goes_off_when_its_own_process_waits_and_never_after_it_has_ended(tmp_path: Path) -> None:
    gone_off: list[tuple[str, float]] = []
    with machines(tmp_path) as (made, clock):

        def note(name: str) -> None:
            gone_off.append((name, clock.now_s))

        with made.process():
            threading.Timer(2, note, ("first",)).start()
            threading.Timer(1, note, ("before",)).start()
            cancelled = threading.Timer(1, note, ("cancelled",))
            cancelled.start()
            cancelled.cancel()
            with made.standstill(asleep=False), made.process():
                time.sleep(10)
            assert gone_off == []
            time.sleep(0.5)
            threading.Timer(60, note, ("never",)).start()
        clock.sleep(600)
    assert gone_off == [("before", 10.0), ("first", 10.0)]


def test_who_is_on_the_same_machine_knows_the_dead_by_their_number(tmp_path: Path) -> None:
    with machines(tmp_path) as (made, _):
        with made.process():
            first, host = os.getpid(), socket.gethostname()
            with made.process():
                os.kill(first, 0)
                assert os.getpid() != first
                assert socket.gethostname() == host
        with made.process(), pytest.raises(ProcessLookupError):
            os.kill(first, 0)
    with machines(tmp_path, is_one=False) as (made, _), made.process():
        here = socket.gethostname()
        with made.process():
            assert socket.gethostname() != here


def test_what_a_dead_process_left_on_the_disk_is_taken_up_on_its_machine_and_nothing_comes_after_its_death(
    tmp_path: Path,
) -> None:
    store = MemoryObjectStore()
    with machines(tmp_path) as (made, _):
        with made.process():
            spool = Spool(IncidentJournal(store), "bf-1", made.spool_folder)
            spool.add(Incident(error_type="Known", message="before"))
            with made.process():
                assert recover(IncidentJournal(store), made.spool_folder) == 0
            made.died()
            spool.add(Incident(error_type="Known", message="after"))
        with made.process():
            assert recover(IncidentJournal(store), made.spool_folder) == 1
    assert [incident.message for incident in IncidentJournal(store).read("bf-1")] == ["before"]


def test_another_thread_goes_on_in_real_time(tmp_path: Path) -> None:
    seen: list[tuple[float, int]] = []

    def elsewhere() -> None:
        time.sleep(0.001)
        seen.append((time.monotonic(), os.getpid()))

    pid, begun_s = os.getpid(), time.monotonic()
    with machines(tmp_path) as (made, clock), made.process():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert clock.now_s == 0.0
    ((at_s, real_pid),) = seen
    assert at_s > begun_s
    assert real_pid == pid


@pytest.mark.parametrize("ahead_s", [3_600.0, -3_600.0])
def test_a_clock_that_is_wrong_is_that_of_one_machine_until_it_is_set_right(tmp_path: Path, ahead_s: float) -> None:
    off = dt.timedelta(seconds=ahead_s)
    with machines(tmp_path, is_one=False) as (made, clock):
        store = MemoryObjectStore(now=clock.right)
        with made.process():
            made.set_clock(ahead_s, 1)
            assert dt.datetime.now(dt.UTC) == BEGIN + off
            assert time.monotonic() == 0.0
            with made.process():
                assert dt.datetime.now(dt.UTC) == BEGIN
            store.write("one", b"")
            assert [one.updated_at for one in store.list("")] == [BEGIN]
            made.operates()
            assert dt.datetime.now(dt.UTC) == BEGIN + off
            made.operates()
            assert dt.datetime.now(dt.UTC) == BEGIN
        made.next_clock(ahead_s, 5)
        with made.process():
            assert dt.datetime.now(dt.UTC) == BEGIN + off
            made.set_right()
            assert dt.datetime.now(dt.UTC) == BEGIN


@pytest.mark.parametrize(("asleep", "read_s"), [(True, 1.0), (False, 11.0)])
def test_the_monotonic_clock_of_a_machine_that_sleeps_stands_still_and_its_wall_clock_does_not(
    tmp_path: Path, asleep: bool, read_s: float
) -> None:
    with machines(tmp_path) as (made, clock), made.process():
        clock.sleep(1.0)
        with made.standstill(asleep=asleep), made.process():
            clock.sleep(10.0)
        assert time.monotonic() == read_s
        assert dt.datetime.now(dt.UTC) == clock.right() == BEGIN + dt.timedelta(seconds=11)
