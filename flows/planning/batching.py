"""When the partitions that have landed so far are worth a load job. Pure.

Loading goes on beside landing. The first jobs are small, so that it begins early and soon shows what is wrong; the last
ones too, so that little is left to do when the last date has landed; those between are as large as one job may be.
"""

from __future__ import annotations

LEAST_PER_JOB = 28
"""The shortest month: beyond 31 dates, partitions land in windows of a month."""

_WINDOW = 30


def is_worth_a_job(waiting: int, *, loaded: int, to_come: int, most: int, waits: bool = False) -> bool:
    """Whether ``waiting`` partitions are loaded now, while nobody loads and no more of them have landed.

    Args:
        waiting: Landed and not loaded yet.
        loaded: By this run before.
        to_come: Not landed yet; some of them may never land.
        most: Per job.
        waits: The others land sooner than a job is done, so that one for all of them is done first.

    >>> [is_worth_a_job(31, loaded=loaded, to_come=300, most=120) for loaded in (0, 31)]
    [True, False]
    >>> [is_worth_a_job(31, loaded=300, to_come=to_come, most=120) for to_come in (40, 31, 3, 0)]
    [False, True, False, True]
    """
    if waiting >= most or not to_come:
        return waiting > 0
    return not waits and min(waiting, to_come) >= LEAST_PER_JOB and (waiting > loaded or waiting >= to_come)


def told_together(partitions: int, most: int) -> list[int]:
    """How many of a window's partitions are told at a time, oldest first: at most ``most``, the last ones halved.

    What is told last waits for nobody: that many are left to be loaded when the last one has landed.

    >>> [told_together(count, 92) for count in (31, 92, 362)]
    [[31], [46, 46], [92, 92, 89, 45, 44]]
    """
    parts, left = list[int](), partitions
    while left:
        parts.append(min(most, left if left < 2 * LEAST_PER_JOB else (left + 1) // 2))
        left -= parts[-1]
    return parts


def jobs_for(partitions: int, most: int) -> int:
    """Load jobs per table for so many partitions, landed month by month and each loaded at once.

    >>> [jobs_for(days, 120) for days in (0, 1, 31, 59, 365, 3653)]
    [0, 1, 1, 2, 5, 32]
    """
    jobs = loaded = waiting = 0
    while loaded + waiting < partitions:
        waiting += min(_WINDOW, partitions - loaded - waiting)
        if is_worth_a_job(waiting, loaded=loaded, to_come=partitions - loaded - waiting, most=most):
            jobs, loaded, waiting = jobs + 1, loaded + waiting, 0
    return jobs
