"""Sources side by side, for people: a line per source, and a table of what they disagree about."""

from __future__ import annotations

import dataclasses
from typing import Any

from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.cli.output import table
from flows.truth.disagreements import Disagreement
from flows.truth.side_by_side import SideBySide
from flows.truth.standing import COUNTS, Standing

COLUMNS = ("source", "oracle", "item", *COUNTS)


def coverage_document(name: str, found: SideBySide) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "name": name,
        "first": found.first,
        "last": found.last,
        "sources": [dataclasses.asdict(one) for one in found.standings],
        "disagreements": [dataclasses.asdict(one) for one in found.disagreements],
        "without_an_oracle": list(found.unheld),
    }


def coverage_lines(name: str, found: SideBySide) -> list[str]:
    """The same for a terminal."""
    unlike = found.disagreements
    lines = [f"{name}: {found.first} to {found.last}, {_headline(found)}"]
    lines += table([_of_source(one) for one in found.standings], COLUMNS)
    if unlike:
        columns = list(dict.fromkeys(one.source for one in found.standings if _concerns(one.source, unlike)))
        notes = ["note"] if any(one.note for one in unlike) else []
        rows = [{"date": one.date, "item": one.item, **one.states, "note": one.note or None} for one in unlike]
        lines += ["", *table(rows, ("date", "item", *columns, *notes))]
    unjudged = [
        f"not judged: {one.source}, {plural(len(dates), 'date')} ({compress_dates(dates)}): {why}"
        for one in found.standings
        for why, dates in one.unjudged.items()
    ]
    # Two oracles that lack the same dates say so once.
    lines += dict.fromkeys(unjudged)
    if found.unheld:
        lines.append(f"without an oracle: {', '.join(found.unheld)}")
    return lines


def _headline(found: SideBySide) -> str:
    if found.disagreements:
        return plural(len(found.disagreements), "disagreement")
    if not any(one.expected for one in found.standings):
        return "nothing is expected here"
    return "everything that is expected is there and verified" if found.is_whole else "no disagreement"


def _of_source(one: Standing) -> dict[str, Any]:
    return {column: getattr(one, column) for column in COLUMNS}


def _concerns(source: str, unlike: tuple[Disagreement, ...]) -> bool:
    return any(source in one.states for one in unlike)
