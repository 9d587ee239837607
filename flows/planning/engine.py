"""Whether a run is worth child runs in other processes, and how many. Pure.

More processes help where one of them is the slowest part: never against a source's rate, and never against its answers,
as all parts together have ``max_concurrency`` dates in flight. What one costs: docs/scale.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from alerting.wording import duration, plural
from flows.parameters import Engine

PROCESS_S_A_DATE = 0.06
"""Of one core, for fetching and loading a date, measured: docs/scale.md."""

LEAST_S_A_PART = 1_800.0
"""A part begins with a process of 3 s and ends with whoever waits for the slowest: half an hour of work hides both."""

MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class Spread:
    """The engine of a run. ``parts`` is 0 where the settings decide; ``why`` is "" where a person asked for it."""

    engine: Engine
    parts: int = 0
    why: str = ""

    @property
    def is_distributed(self) -> bool:
        """Whether windows run in other processes."""
        return self.engine is Engine.DISTRIBUTED

    def describe(self) -> str:
        """For the log, the plan and the mail; "" where a person asked for it."""
        if not self.why:
            return ""
        what = f"{self.engine.value}, {plural(self.parts, 'part')}" if self.is_distributed else self.engine.value
        return f"auto: {what}, because {self.why}"


@dataclass(frozen=True, slots=True)
class Load:
    """What a run has to do.

    Args:
        partitions: To be fetched.
        calls: For all of them.
        calls_per_s: What the source's rate allows; 0 is no limit.
        answer_s: What the source takes for a partition; 0 where no run has shown it.
        concurrency: Partitions in flight, in all parts together.
        is_swept: One reading of all that the source has fills them.
        workers: Online in the pool of the windows; None where that is no number (a serverless pool), or nobody looked.
    """

    partitions: int
    calls: int
    calls_per_s: float
    answer_s: float
    concurrency: int
    is_swept: bool = False
    workers: int | None = None


def spread(engine: Engine, parallel: int, load: Load) -> Spread:
    """``engine`` as asked for, with ``parallel`` parts, or what is chosen for ``auto``.

    >>> quick = Load(partitions=100_000, calls=100_000, calls_per_s=0.0, answer_s=0.05, concurrency=32)
    >>> spread(Engine.AUTO, 0, quick).describe()
    'auto: distributed, 3 parts, because one process needs 1 h 40 min for 100,000 partitions, and the source 2 min 36 s'
    >>> spread(Engine.AUTO, 0, Load(3_653, 3_653, calls_per_s=10.0, answer_s=0.0, concurrency=8)).why
    'one process needs 3 min 39 s for 3,653 partitions, and the source 6 min 5 s: more processes would wait for it'
    """
    if engine is not Engine.AUTO:
        return Spread(engine, parallel)
    alone_s, source_s = load.partitions * PROCESS_S_A_DATE, _source_s(load)
    needs = f"one process needs {duration(alone_s)} for {plural(load.partitions, 'partition')}"
    waits = f"the source {duration(source_s)}" if source_s else "nothing is known of the source's pace"
    if load.is_swept:
        return Spread(Engine.INLINE, 0, "all of it comes from one reading of the source")
    if source_s >= alone_s:
        return Spread(Engine.INLINE, 0, f"{needs}, and {waits}: more processes would wait for it")
    parts = min(
        int(alone_s / LEAST_S_A_PART),
        math.ceil(alone_s / source_s) if source_s else MOST_PARTS,
        parallel or MOST_PARTS,
        load.concurrency,
        MOST_PARTS,
    )
    if parts < 2:
        return Spread(Engine.INLINE, 0, f"{needs}: parts of less than {duration(LEAST_S_A_PART)} do not pay off")
    if load.workers is not None and load.workers < 2:
        return Spread(Engine.INLINE, 0, f"{plural(load.workers, 'worker', 'is', 'are')} online: none to spread over")
    parts = min(parts, load.workers or parts)
    return Spread(Engine.DISTRIBUTED, parts, f"{needs}, and {waits}")


def _source_s(load: Load) -> float:
    paced_s = load.calls / load.calls_per_s if load.calls_per_s else 0.0
    return max(paced_s, load.partitions * load.answer_s / load.concurrency)
