"""Finds the processors: one module in ``processors/sources`` per source, and its name is the source's name."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from types import ModuleType

from alerting.errors import ConfigurationError
from processors import sources as _package
from processors.base import Processor, Table
from processors.schema import check_table
from processors.state_views import StateView
from processors.views import View, views_of
from scrapers.registry import imported, names_in, only_subclass

LOG = logging.getLogger("gapless.processors")


def sources() -> list[str]:
    """Names of all sources that have a processor, sorted. Imports none of them."""
    return names_in(_package)


@functools.cache
def processor(name: str) -> Processor:
    """The processor of source ``name``, with its ``source`` set. Raises ``ConfigurationError``."""
    if name not in sources():
        raise ConfigurationError(f"source {name!r} has no processor", stage="plan", hint=f"choose one of {sources()}")
    found = from_module(imported(_package, name))
    _refuse_shared_tables(found)
    views_filled_by(found.tables)
    return found


def views() -> tuple[View | StateView, ...]:
    """The views that tables of any source fill. Raises ``ConfigurationError`` for fills that contradict each other."""
    return views_of(table for _, one in _readable() for table in one.tables)


def views_filled_by(tables: Iterable[Table]) -> tuple[View | StateView, ...]:
    """Those of `views` that read one of these tables."""
    tables = tuple(tables)
    wanted = {fill.view for table in tables for fill in table.fills}
    wanted |= {states.view for table in tables for states in table.states}
    return tuple(view for view in views() if view.name in wanted) if wanted else ()


def _readable() -> Iterator[tuple[str, Processor]]:
    """All processors whose file can be read; what is wrong with another is told by its own run."""
    for name in sources():
        try:
            found = from_module(imported(_package, name))
        except ConfigurationError as error:
            LOG.warning("processor %s cannot be read: %s", name, error)
            continue
        yield name, found


def _refuse_shared_tables(ours: Processor) -> None:
    """A load replaces what is there, so that two sources of one table would delete each other's rows in turn."""
    names = {table.name for table in ours.tables}
    for other, theirs in _readable():
        if other == ours.source:
            continue
        if shared := sorted(names & {table.name for table in theirs.tables}):
            raise ConfigurationError(
                f"table {', '.join(shared)} is declared by the processors of {ours.source} and {other}: each would "
                "delete the other's rows. Nothing was done",
                source=ours.source,
                stage="plan",
                hint="give one of them another table, and let both fill one view (Table.fills)",
            )


def from_module(module: ModuleType) -> Processor:
    """The one processor that a module defines, its tables checked. Raises ``ConfigurationError`` otherwise."""
    name = module.__name__.rpartition(".")[2]
    kind = only_subclass(module, Processor)  # type: ignore[type-abstract]
    missing = [] if getattr(kind, "tables", None) else ["tables"]
    missing += sorted(kind.__abstractmethods__)
    if missing:
        raise ConfigurationError(
            f"processor {kind.__name__} in {module.__name__} lacks {', '.join(missing)}", source=name, stage="plan"
        )
    _check_tables(kind.tables, name)
    kind.source = name
    return kind()


def _check_tables(tables: tuple[Table, ...], source: str) -> None:
    """Parents come first, because a batch loads the tables in this order."""
    seen: set[str] = set()
    for table in tables:
        check_table(table)
        if table.name in seen or (table.parent and table.parent[0] not in seen):
            raise ConfigurationError(
                f"table {table.name} stands twice, or before its parent", source=source, stage="plan"
            )
        seen.add(table.name)
