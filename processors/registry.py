"""Finds the processors: one module in ``processors/sources`` per source, and its name is the source's name."""

from __future__ import annotations

import functools
import importlib
import logging
from types import ModuleType

from alerting.errors import ConfigurationError
from processors import sources as _package
from processors.base import Processor, Table
from processors.schema import check_table
from scrapers.registry import names_in, only_subclass

LOG = logging.getLogger("gapless.processors")


def sources() -> list[str]:
    """Names of all sources that have a processor, sorted. Imports none of them."""
    return names_in(_package)


@functools.cache
def processor(name: str) -> Processor:
    """The processor of source ``name``, with its ``source`` set. Raises ``ConfigurationError``."""
    if name not in sources():
        raise ConfigurationError(f"source {name!r} has no processor", stage="plan", hint=f"choose one of {sources()}")
    found = from_module(importlib.import_module(f"{_package.__name__}.{name}"))
    _refuse_shared_tables(found)
    return found


def _refuse_shared_tables(ours: Processor) -> None:
    """A load replaces what is there, so that two sources of one table would delete each other's rows in turn."""
    names = {table.name for table in ours.tables}
    for other in sources():
        if other == ours.source:
            continue
        try:
            theirs = from_module(importlib.import_module(f"{_package.__name__}.{other}"))
        except Exception as error:  # whatever stands in that file; its own run says so
            LOG.warning("processor %s cannot be read: %s", other, error)
            continue
        if shared := sorted(names & {table.name for table in theirs.tables}):
            raise ConfigurationError(
                f"table {', '.join(shared)} is declared by the processors of {ours.source} and {other}: each would "
                "delete the other's rows. Nothing was done",
                source=ours.source,
                stage="plan",
                hint="give one of them another table, or make both one source",
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
