"""What the commands share: argument types, and printing: text for people, one JSON document, never a secret."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

from alerting.errors import PipelineError, WrongUsage
from alerting.redaction import printable, redact_value, visible
from flows.calendar_dates import calendar_date
from flows.parameters import Reason
from flows.planning.period import PERIOD
from scrapers.registry import families
from scrapers.registry import sources as known_sources


def day(text: str) -> dt.date:
    """An ISO date. Anything else is a usage error: exit code 2."""
    try:
        return calendar_date(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def day_or_period(text: str) -> dt.date | str:
    """An ISO date, or the name of a season, year or month, which its source resolves. A usage error for the rest."""
    return text if PERIOD.fullmatch(text.strip()) else day(text)


def _complete_source(incomplete: str) -> list[str]:
    return [name for name in known_sources() if name.startswith(incomplete)]


def _complete_family(incomplete: str) -> list[str]:
    return [name for name in (*families(), *known_sources()) if name.startswith(incomplete)]


Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="Name of the source.", show_default=False, autocompletion=_complete_source),
]
AnySource = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Name of the source; default all.", autocompletion=_complete_source)
]
AnyFamilyOrSource = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="Name of the source or family; default all.", autocompletion=_complete_family
    ),
]
AnyStart = Annotated[
    dt.date | None, typer.Argument(parser=day, metavar="START", help="First date; default all known dates.")
]
FamilyOrSource = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Name of the source or family (nba, racing).",
        show_default=False,
        autocompletion=_complete_family,
    ),
]
RunStart = Annotated[
    # Or the text of a period; help shows this type.
    dt.date | None,
    typer.Argument(
        parser=day_or_period,
        metavar="START",
        help="First date, in the source's zone; or a season, year or month: 2024-25, 2024, 2024-03.",
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="SOURCE", help="Leave out a source of the family; can be repeated."),
]
Also = Annotated[
    list[str] | None,
    typer.Option("--also", metavar="SOURCE", help="Add a source of another family; can be repeated."),
]
RunEnd = Annotated[dt.date | None, typer.Argument(parser=day, metavar="END", help="Last date, inclusive.")]
Entities = Annotated[
    str,
    typer.Option(
        "--entities",
        metavar="NAMES",
        help="For sources with entities: all, or names (name or name~variant), instead of or beside dates.",
    ),
]
AnyEnd = Annotated[
    dt.date | None,
    typer.Argument(parser=day, metavar="END", help="Last date, inclusive; default the last settled one."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Why = Annotated[str, typer.Option("--reason", "-r", metavar="WHY", help=f"{', '.join(Reason)}; or your own words.")]


def show(data: Any, lines: Iterable[str], as_json: bool) -> None:
    """Prints ``data`` as JSON, or ``lines``; secrets are masked in both."""
    if as_json:
        # A locale that is not Unicode still gets JSON that says the same.
        is_unicode = (getattr(sys.stdout, "encoding", "") or "utf-8").lower().startswith("utf")
        typer.echo(visible(json.dumps(redact_value(_plain(data)), indent=1, ensure_ascii=not is_unicode)))
        return
    for line in lines:
        typer.echo(printable(line))


def say(as_json: bool, text: str) -> None:
    """A line on the way to the result: on standard error when the result is JSON."""
    typer.echo(printable(text), err=as_json)


def finish(good: bool) -> NoReturn:
    """Ends the command: exit code 0 or 1."""
    raise typer.Exit(0 if good else 1)


def show_unreadable(unreadable: Iterable[object]) -> None:
    """A line on standard error for each object that could not be read, when all else was shown; exit code 1 then."""
    lines = list(dict.fromkeys(printable(f"error: {error}") for error in unreadable))
    for line in lines:
        typer.echo(line, err=True)
    if lines:
        finish(False)


def show_error(error: BaseException, as_json: bool) -> None:
    """One line on standard error; with JSON a document on standard output."""
    if as_json:
        known = error if isinstance(error, PipelineError) else None
        data = {
            "error": type(error).__name__,
            "message": known.message if known else str(error),
            "source": known.source if known else "",
            "partition": known.partition if known else "",
            "next": known.hint if known else "",
        }
        show(data, (), as_json=True)
    else:
        typer.echo(printable(f"error: {error}"), err=True)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Rows as aligned text, the header first; nothing for no rows."""
    if not rows:
        return []
    # A line break out of an answer would begin a row of its own.
    told = [[" ".join(str(_plain(row.get(name))).splitlines()) for name in columns] for row in rows]
    cells = [
        [text if row.get(name) is not None else "-" for name, text in zip(columns, line, strict=True)]
        for row, line in zip(rows, told, strict=True)
    ]
    cells = [[*columns], *cells]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def check_range(start: dt.date | None, end: dt.date | None) -> None:
    """Raises ``WrongUsage`` for a range that ends before it begins."""
    if start and end and start > end:
        raise WrongUsage(f"START {start} is after END {end}. Nothing was done", stage="plan", hint="swap them")


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="seconds")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return value
