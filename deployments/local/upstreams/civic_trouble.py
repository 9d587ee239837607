"""What can happen at the sample of civic.band, at which call: a changed town, or an answer that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter


class Trouble(BaseModel):
    """What happens at the ``at_call``-th call for a table, counted since the last ``DELETE calls``, before its answer.

    ``fail`` answers ``status`` (with a web page when ``html``) for so many ``calls``, 0 = from then on.
    """

    town: str
    table: str = "agendas"
    at_call: int = 1
    do: Literal["delete", "add", "alter", "fail"]
    rows: int = 1
    seed: int = 0
    status: int = 500
    html: bool = False
    calls: int = 1


TROUBLES = TypeAdapter(list[Trouble])


def failure_due(
    troubles: Sequence[Trouble], town: str, table: str, call: int, change: Callable[[Trouble], Any]
) -> Trouble | None:
    """Does what is due at the ``call``-th call for a table of the town. Returns the failure to answer with, if any."""
    for one in troubles:
        if (one.town, one.table) != (town, table):
            continue
        if one.do == "fail":
            if one.at_call <= call and (not one.calls or call < one.at_call + one.calls):
                return one
        elif one.at_call == call:
            change(one)
    return None
