"""One processor per module, named by the module."""

from __future__ import annotations

import datetime as dt
from types import ModuleType

import pytest

import scrapers.registry
from alerting.errors import ConfigurationError
from processors import registry
from processors.base import Processor, Row, Table


class Fact(Row):
    key: str
    day: dt.date


CHILD = Table("children", Fact, ("key",), "day", parent=("facts", ("key",)))
FACTS = Table("facts", Fact, ("key",), "day")


def module(**members):
    made = ModuleType("processors.sources.made_up")
    for name, tables in members.items():
        kind = type(name, (Processor,), {"tables": tables, "rows": lambda self, partition, page: iter(())})
        kind.__module__ = made.__name__
        setattr(made, name, kind)
    return made


@pytest.mark.parametrize("source", registry.sources())
def test_every_source_has_a_processor_for_the_tables_its_scraper_counts(source):
    names = {table.name for table in registry.processor(source).tables}
    assert registry.processor(source).source == source
    assert set(scrapers.registry.scraper(source).tables) == names


def test_every_scraper_has_a_processor_and_the_reverse():
    assert registry.sources() == scrapers.registry.sources()


def test_an_unknown_source_names_the_known_ones():
    with pytest.raises(ConfigurationError, match="bdl_box_scores"):
        registry.processor("nope")


def test_the_module_name_is_the_source_name():
    assert registry.from_module(module(Made=(FACTS, CHILD))).source == "made_up"


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({}, "defines 0 processors"),
        ({"One": (FACTS,), "Two": (FACTS,)}, "defines 2 processors"),
        ({"One": ()}, "lacks tables"),
        ({"One": (CHILD, FACTS)}, "before its parent"),
        ({"One": (FACTS, FACTS)}, "stands twice"),
    ],
)
def test_a_module_that_breaks_the_rule_is_refused(members, problem):
    with pytest.raises(ConfigurationError, match=problem):
        registry.from_module(module(**members))
