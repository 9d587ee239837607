"""What the forms of the deployments offer to choose from: an Enum is what the UI draws as a dropdown."""

from __future__ import annotations

import enum
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from scrapers.registry import scraper, sources

Asking = Literal["date", "entity", "series"]

LOG = logging.getLogger("gapless.dropdowns")


def sources_by(asked: Asking) -> list[str]:
    """Names of the sources that are asked by date, by entity, or by both (a series of dates for each entity), sorted.

    A source whose module cannot be imported counts as asked by date: it must not take the forms of the others away.
    """
    return [name for name in sources() if _asked_by(name) == asked]


def _asked_by(name: str) -> Asking:
    try:
        found = scraper(name)
    except Exception as error:  # whatever stands in that file; its own run says so
        LOG.warning("source %s cannot be used: %s", name, error)
        return "date"
    return "entity" if found.step == "whole" else "series" if found.has_series else "date"


def sources_of_families() -> list[str]:
    """Names of the sources that belong to a family, sorted; one that cannot be imported belongs to none."""
    return [name for name in sources() if _family_of(name)]


def families() -> list[str]:
    """Names of all families, sorted."""
    return sorted({family for name in sources() if (family := _family_of(name))})


def _family_of(name: str) -> str:
    try:
        return scraper(name).family
    except Exception as error:  # whatever stands in that file; its own run says so
        LOG.warning("source %s cannot be used: %s", name, error)
        return ""


def _choices(title: str, names: Sequence[str]) -> Any:
    return enum.Enum(title, {name: name for name in names}, type=str)


if TYPE_CHECKING:
    DateSource = str
    EntitySource = str
    SeriesSource = str
    AnySource = str
    Family = str
    FamilySource = str
else:
    DateSource = _choices("DateSource", sources_by("date"))
    EntitySource = _choices("EntitySource", sources_by("entity"))
    SeriesSource = _choices("SeriesSource", sources_by("series"))
    AnySource = _choices("AnySource", sources())
    Family = _choices("Family", families())
    FamilySource = _choices("FamilySource", sources_of_families())
