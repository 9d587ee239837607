"""Ten years of made-up verdicts, for the calendar: seasons, gaps, failures, daily runs."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator

from flows.truth.whole_history import Cell, History
from scrapers.partition import Partition, partitions_between

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
FIRST, LAST = dt.date(2017, 1, 1), dt.date(2026, 11, 27)


def daily(seed: int, years: int = 10) -> History:
    """A day a partition: rests in summer, some dates failed, blocked, shrunk or never asked for, daily runs at last."""
    return History("toy", "A league", "day", tuple(_cells(random.Random(seed), LAST.year - years + 1)))


def _cells(chance: random.Random, first_year: int) -> Iterator[Cell]:
    for number, one in enumerate(partitions_between(dt.date(first_year, 1, 1), LAST, "UTC")):
        day, drawn = one.start, chance.random()
        run = f"bf-{number // 400:012x}" if day.year < LAST.year else f"daily-{number:012x}"
        state, why, attempts = "verified", "", 1
        if day.month == 3 and 4 < day.day < 9 and day.year % 3 == 0:
            state, why, attempts, run = "planned", "never attempted", 0, ""
        elif day.month in (7, 8, 9):
            state = "rest"
        elif (day.month, day.day) in ((3, 4), (12, 31)):
            pass
        elif drawn < 0.08:
            state = "empty_ok"
        elif drawn < 0.095:
            state, why, attempts = "failed_retryable", "SourceUnavailable", 6
        elif drawn < 0.1:
            state, why = chance.choice((("blocked", "BlockedBySource"), ("shrunk", "Shrunk")))
        yield Cell(one, state, why, attempts, run, NOW)


def months() -> History:
    """A month a partition."""
    found = partitions_between(dt.date(2024, 1, 1), dt.date(2025, 6, 1), "UTC", "month")
    states = {"2024-02": "truncated", "2024-03": "planned"}
    return History(
        "monthly", "", "month", tuple(Cell(one, states.get(one.key, "verified"), "", 1, "bf-1", NOW) for one in found)
    )


def entities_of_days() -> History:
    """Two teams, a day a partition."""
    cells = [
        Cell(one, "blocked" if (entity, one.start.day) == ("celtics", 9) else "verified", "", 1, "bf-1", NOW)
        for entity in ("celtics", "lakers")
        for one in partitions_between(dt.date(2025, 1, 1), dt.date(2025, 2, 5), "UTC", entity=entity)
    ]
    return History("entities", "Two teams", "day", tuple(cells))


def towns() -> History:
    """Whole entities of two variants."""
    names = ("alameda.ca", "berkeley.ca", "a-town-with-a-rather-long-name-in-california.ca")
    cells = [
        Cell(Partition.whole(f"{name}~{variant}", "UTC"), "verified", "", 1, "bf-1", NOW)
        for name in names
        for variant in ("agendas", "minutes")
    ]
    return History("towns", "Towns", "whole", (*cells[:-1], Cell(cells[-1].partition, "planned", "never attempted")))
