"""Finds the sources: one module in ``scrapers/sources`` each, and the module's name is the source's name."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import logging
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from alerting.errors import ConfigurationError, WrongUsage
from alerting.redaction import redact
from scrapers import sources as _package
from scrapers.base import Scraper

_log = logging.getLogger("gapless.scrapers")

# A part of object, table and job names, the longest of which may have 1,024 characters.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_Kind = TypeVar("_Kind")
_FACTS = ("zone", "base_url", "tables")


def names_in(package: ModuleType) -> list[str]:
    """Names of the modules of a package, sorted, without private ones. Imports none of them."""
    return list(_names_in(*((folder, _changed_at(folder)) for folder in package.__path__)))


@functools.lru_cache
def _names_in(*folders: tuple[str, int]) -> tuple[str, ...]:
    """Of folders as they were last changed: listing them takes longer than most of what is asked of a source."""
    names = (module.name for module in pkgutil.iter_modules([folder for folder, _ in folders]))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def _changed_at(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:  # in an archive, which does not change
        return 0


def only_subclass(module: ModuleType, base: type[_Kind]) -> type[_Kind]:
    """The one subclass of ``base`` that the module defines. Raises ``ConfigurationError`` for none or several."""
    found = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, base) and kind.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ConfigurationError(
            f"module {module.__name__} defines {len(found)} {base.__name__.lower()}s, expected exactly 1",
            source=module.__name__.rpartition(".")[2],
            stage="plan",
            hint=f"keep one subclass of {base.__module__}.{base.__name__} per file",
        )
    return found[0]


def sources() -> list[str]:
    """Names of all sources, sorted. Imports none of them."""
    return names_in(_package)


@functools.cache
def scraper(name: str) -> Scraper:
    """The scraper of source ``name``, with its ``source`` set. Raises ``ConfigurationError``."""
    if name not in sources():
        known = sources()
        close = [repr(one) for one in difflib.get_close_matches(name, known)]
        hint = f"write {' or '.join(close)}" if close else f"choose one of {', '.join(known)}"
        raise WrongUsage(f"there is no source {name!r}", stage="plan", hint=hint)
    return from_module(imported(_package, name))


def imported(package: ModuleType, name: str) -> ModuleType:
    """The file of a source. Raises ``ConfigurationError``, whatever stands in it."""
    try:
        return importlib.import_module(f"{package.__name__}.{name}")
    except ConfigurationError:
        raise
    except Exception as error:
        place = f"{package.__name__.replace('.', '/')}/{name}.py"
        raise ConfigurationError(
            f"{place} cannot be imported: {type(error).__name__}: {redact(str(error))[:200]}",
            source=name,
            stage="plan",
            hint="mend that file; the other sources do not mind it",
        ) from error


def _readable() -> Iterator[Scraper]:
    """All sources whose file can be read; what is wrong with another is told by its own run."""
    for name in sources():
        try:
            yield scraper(name)
        except ConfigurationError as error:
            _tell_once(str(error))


@functools.cache
def _tell_once(told: str) -> None:
    _log.warning("%s", told)


def account_of(source: str) -> str:
    """The account whose rate, quota and cooldown ``source`` shares; its own name where it has them alone."""
    try:
        return scraper(source).account_name
    except WrongUsage:
        return source


def sources_of(account: str) -> list[str]:
    """Names of the sources that share ``account``, sorted. Imports all sources."""
    return [one.source for one in _readable() if one.account_name == account]


def families() -> list[str]:
    """Names of all families, sorted. Imports all sources."""
    return sorted({one.family for one in _readable() if one.family})


def sources_of_family(family: str) -> list[str]:
    """Names of the sources of ``family``, sorted. Imports all sources."""
    return [one.source for one in _readable() if one.family == family]


def from_module(module: ModuleType) -> Scraper:
    """The one scraper that a module defines. Raises ``ConfigurationError`` for none, several or an unfinished one."""
    name = module.__name__.rpartition(".")[2]
    kind = only_subclass(module, Scraper)  # type: ignore[type-abstract]
    missing = [fact for fact in _FACTS if not getattr(kind, fact, None)]
    missing += sorted(kind.__abstractmethods__)
    if missing or not _NAME.fullmatch(name):
        problem = f"lacks {', '.join(missing)}" if missing else "has a name that object paths cannot hold"
        raise ConfigurationError(f"scraper {kind.__name__} in {module.__name__} {problem}", source=name, stage="plan")
    try:
        ZoneInfo(kind.zone)
    except (ZoneInfoNotFoundError, ValueError):
        # A slim image has no zone files. A wrong guess here would move games to the wrong day.
        raise ConfigurationError(
            f"this machine does not know the zone {kind.zone!r}. Nothing was done",
            source=name,
            stage="plan",
            hint="pip install tzdata, or fix the scraper's zone",
        ) from None
    kind.source = name
    return kind()
