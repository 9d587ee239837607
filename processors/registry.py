"""Finds the processors: one module in ``processors/sources`` per source, and its name is the source's name."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from alerting.errors import ConfigurationError
from processors import sources as _package
from processors.base import Processor, Table
from processors.schema import check_table
from scrapers.registry import names_in, only_subclass


def sources() -> list[str]:
    """Names of all sources that have a processor, sorted. Imports none of them."""
    return names_in(_package)


@functools.cache
def processor(name: str) -> Processor:
    """The processor of source ``name``, with its ``source`` set. Raises ``ConfigurationError``."""
    if name not in sources():
        raise ConfigurationError(f"source {name!r} has no processor", stage="plan", hint=f"choose one of {sources()}")
    return from_module(importlib.import_module(f"{_package.__name__}.{name}"))


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
