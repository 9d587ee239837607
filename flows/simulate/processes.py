"""Schedules spread over processes: each has a memory of its own, and what came of a seed is the same in each."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.util import Finalize

from flows.asked import Asked
from flows.settings import Settings
from flows.simulate.interrupts import deaf_to_interrupts
from flows.simulate.invariants import Ending
from flows.simulate.memory_warehouse import Engine
from flows.simulate.outcome import Outcome, outcome_of
from flows.simulate.schedule import prepared, truth_of, without_server
from flows.simulate.subject import Subject
from flows.simulate.world import Answers
from scrapers.answers import Answer

_AT_A_TIME = 20
_MEMORY = "/dev/shm"  # noqa: S108 - folders of it have names that nobody can guess
"""Where Linux keeps folders in memory."""
_COLLECTED_AT = (20_000, 20, 50)
LEAST_EACH = 50
"""Schedules that pay for a process: it takes as long to begin as some fifty of them."""


@dataclass(frozen=True)
class _Given:
    """A subject as it travels to another process."""

    asked: Asked
    settings: Settings
    begins_at: dt.datetime
    known: Mapping[str, Answer]


_here: tuple[Subject, Ending] | None = None
"""Of a worker: what it simulates, and how that ends without faults."""


def outcomes(
    subject: Subject, truth: Ending, seeds: Sequence[int], *, faults: bool, processes: int
) -> Iterator[Outcome]:
    """What came of each seed, in their order, however many processes there are.

    Only this process asks the source: a schedule that asks for something new is done here.
    """
    if processes == 1:
        with _rarely_collected(), _staged_in_memory():
            for seed in seeds:
                yield outcome_of(subject, truth, seed, faults=faults)
        return
    given = _Given(subject.asked, subject.settings, subject.begins_at, subject.answers.known)
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (given,))
    try:
        parts = [seeds[begin : begin + _AT_A_TIME] for begin in range(0, len(seeds), _AT_A_TIME)]
        with deaf_to_interrupts():
            found = pool.map(_outcomes, parts, [faults] * len(parts))
        for part, done in zip(parts, found, strict=True):
            for seed, outcome in zip(part, done, strict=True):
                yield outcome or outcome_of(subject, truth, seed, faults=faults)
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _staged_in_memory() -> Iterator[None]:
    """Runs stage their rows on no disk: a folder of one takes a millisecond to remove, three of them are a fifteenth of
    a schedule.
    """
    before = tempfile.tempdir
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        tempfile.tempdir = _MEMORY
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def _rarely_collected() -> Iterator[None]:
    before = gc.get_threshold()
    _collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _collect_rarely() -> None:
    """What is there by now stays to the end: looking through it for garbage takes a tenth of a schedule."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AT)


def _begin(given: _Given) -> None:
    global _here
    logging.disable(logging.CRITICAL)
    # Made anew, so that this process knows its secrets, too.
    settings = Settings(**dict(given.settings))
    answers = Answers(dict(given.known), is_closed=True)
    subject = Subject(given.asked, settings, given.begins_at, Engine(), answers)
    with without_server():
        subject = prepared(subject)
        _here = subject, truth_of(subject)
    _collect_rarely()
    Finalize(None, _end, exitpriority=1)


def _end() -> None:
    """DuckDB complains of a connection that outlives it."""
    global _here
    _here = None
    gc.unfreeze()
    gc.collect()


def _outcomes(seeds: Sequence[int], faults: bool) -> list[Outcome | None]:
    """None for a schedule in which something was asked that nobody has answered yet."""
    assert _here is not None
    subject, truth = _here
    found: list[Outcome | None] = []
    with without_server(), _staged_in_memory():
        for seed in seeds:
            outcome = outcome_of(subject, truth, seed, faults=faults)
            found.append(None if subject.answers.unanswered else outcome)
            subject.answers.unanswered.clear()
    return found
