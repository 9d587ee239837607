"""The command that searches for the first date of a source: first-date."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.care import who
from flows.cli.output import AnyEnd, AnyStart, Json, Source, check_range, finish, show, table
from flows.plans.first_date import FirstDate, read_first_date
from flows.truth.first_date import find_first_date, forget_first_date
from flows.wiring import build_services

app = typer.Typer()
_COLUMNS = ("partition", "is_there", "status", "said")


@app.command("first-date")
def first_date(
    source: Source,
    start: AnyStart = None,
    end: AnyEnd = None,
    rest_days: Annotated[
        int,
        typer.Option("--rest-days", min=0, max=2000, help="Longest rest of the source; 0 takes its own, else 154."),
    ] = 0,
    forget: Annotated[bool, typer.Option("--forget", help="Remove what was found: plans ask for all again.")] = False,
    as_json: Json = False,
) -> None:
    """Searches for the first date with rows, by a few dozen calls; plans then leave out what lies before.

    Without dates it shows what was found before. Lands nothing.
    """
    services = build_services()
    if forget:
        there = forget_first_date(services, source)
        text = "forgotten; plans ask for every date again" if there else "nothing was recorded"
        show({"source": source, "forgotten": there}, [f"{source}: {text}"], as_json)
        finish(True)
    if start is None or end is None:
        if start or end:
            raise typer.BadParameter("both are needed", param_hint="START END")
        services.scraper(source)
        known = read_first_date(services.store, source)
        show(known.model_dump() if known else {"source": source, "first_date": None}, _lines(known, source), as_json)
        finish(True)
    check_range(start, end)
    found = find_first_date(services, source, start, end, who=who(), rest_days=rest_days)
    recorded = found.first_date > found.start_date
    lines = _lines(found, source) if recorded else [
        f"{source} has rows at {found.first_date} already; nothing was recorded: search from an earlier START"
    ]  # fmt: skip
    show({**found.model_dump(), "recorded": recorded}, lines, as_json)


def _lines(found: FirstDate | None, source: str) -> list[str]:
    if found is None:
        return [f"{source}: not searched for yet: gapless first-date {source} START END"]
    head = f"{source} has rows from {found.first_date} on: {found.calls} calls, {len(found.looks)} dates known"
    before = [look for look in found.looks if look.partition < found.first_date.isoformat()]
    rows = [{name: getattr(look, name) for name in _COLUMNS} for look in before[-7:]]
    return [head, found.evidence, *table(rows, _COLUMNS)]
