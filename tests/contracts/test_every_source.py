"""What every source must keep to. A new source needs no test code: it is found here by its file."""

from __future__ import annotations

import datetime as dt
import re
import urllib.parse
from copy import copy
from zoneinfo import ZoneInfo

import pytest
from judging import partition_of, with_entities

from alerting.errors import ConfigurationError, PipelineError
from processors.items import expected_sql
from processors.registry import processor, views_filled_by
from scrapers.auth import SecretParam
from scrapers.base import Page, Request, Scraper
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.registry import scraper, sources, sources_of

RECENT = dt.date(2026, 1, 9)


@pytest.fixture(params=sources())
def source(request: pytest.FixtureRequest) -> Scraper:
    return with_entities(scraper(request.param))


def _partition(source: Scraper, date: dt.date = RECENT) -> Partition:
    if source.has_series:
        key = f"{date:%Y-%m}" if source.step == "month" else str(date)
        return partition_of(source, f"{source.names_of_entities[0]}@{key}")
    if source.step == "whole":
        name = source.entities[0 if date == RECENT else -1]
        return Partition.whole("~".join([name, *source.variants[:1]]), source.zone)
    if source.step == "month":
        return Partition.month(date.year, date.month, source.zone)
    return Partition.day(date, source.zone)


def _page(source: Scraper, body: bytes) -> Page:
    request = source.first_request(_partition(source))
    return Page(request, 1, 200, {}, body, dt.datetime(2026, 2, 1, tzinfo=dt.UTC), 0.1)


def test_its_facts_are_declared(source):
    assert source.title
    ZoneInfo(source.zone)
    address = urllib.parse.urlsplit(source.base_url)
    assert address.scheme == "https"
    assert not address.query
    assert source.tables
    assert len(set(source.tables)) == len(source.tables)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", table) for table in source.tables)
    assert dt.timedelta(0) < source.settles_after < dt.timedelta(days=30)
    assert 0 < source.timeout_s <= 600
    assert source.floor < RECENT
    assert bool(source.entities) == source.takes_entities
    assert not source.variants or source.takes_entities
    assert not (source.has_series and source.step == "whole")
    assert not source.has_series or not (source.oracles or source.requires or source.days_per_call > 1)
    assert source.page_size or not source.is_paginated, "declare page_size, the rows of a full page"
    Budget(source.rate)
    assert source.horizon is None or (source.horizon > source.settles_after and source.step != "whole")
    assert source.keeps_history or (source.horizon is None and source.step != "whole")


def test_sources_of_one_account_declare_its_facts_alike(source):
    for other in map(scraper, sources_of(source.account_name)):
        assert (other.rate, other.auth, other.quota_headers) == (source.rate, source.auth, source.quota_headers)
        assert (other.base_url, other.tiers) == (source.base_url, source.tiers)
    names = [tier.name for tier in source.tiers]
    assert len(set(names)) == len(names)
    assert {source.needs_tier, *source.entity_tiers.values()} <= {"", *names}
    assert set(source.entity_tiers) <= set(source.entities)
    taken = [tier.name for tier in source.tiers if tier.rate == source.rate]
    assert bool(taken) == bool(names), "without a setting the tier with the declared rate is taken for granted"
    assert all(sources_of(account) for account in source.hosts.values())
    assert not source.hosts or "{site}" in source.base_url
    assert source.account not in sources(), "an account that is called like another source takes its quota"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", source.account_name)


def test_its_first_request_is_pure_relative_and_without_secrets(source):
    partition = _partition(source)
    request = source.first_request(partition)
    assert request == source.first_request(partition)
    assert request.path.startswith("/")
    assert not request.path.startswith("//")
    if isinstance(source.auth, SecretParam):
        assert source.auth.param not in dict(request.params)
    if source.keeps_history and len(source.entities) != 1 and not source.sweeps:
        assert request != source.first_request(_partition(source, RECENT - dt.timedelta(days=40)))


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b"42", b'"text"', b"\x00\xff", b"<html></html>", b'{"error":"no"}']
)
def test_a_foreign_body_is_an_error_of_the_taxonomy_and_never_an_empty_partition(source, body):
    with pytest.raises(PipelineError):
        source.inspect(_partition(source), _page(source, body))


def test_it_is_asked_only_after_its_day_is_over_in_its_own_zone_or_while_it_lasts_where_nothing_is_kept(source):
    partition = _partition(source)
    if partition.is_whole:
        assert source.settled_at(partition) < dt.datetime.now(dt.UTC)
        return
    if source.keeps_history:
        assert source.settled_at(partition) > partition.ends_at
    else:
        assert source.settled_at(partition) == partition.begins_at
    assert source.settled_at(partition).utcoffset() == dt.timedelta(0)


def test_a_request_object_stays_hashable(source):
    assert hash(source.first_request(_partition(source))) == hash(source.first_request(_partition(source)))
    assert isinstance(source.first_request(_partition(source)), Request)


def test_what_settings_have_to_say_of_an_entity_is_checked_before_it_is_asked(source):
    if source.entity_facts is None:
        return
    (entity,) = source.entities
    needed = [name for name, field in source.entity_facts.model_fields.items() if field.is_required()]
    assert needed, "a source that needs no fact takes a list of names"
    for name in needed:
        told = {key: value for key, value in source.told_facts[entity].items() if key != name}
        poorer = copy(source)
        poorer.told_facts = {entity: told}
        with pytest.raises(ConfigurationError, match=rf"{source.source}, {entity}: {name}: .*Nothing was done"):
            poorer.facts_of(entity)
    with pytest.raises(ConfigurationError, match="nothing is said of it"):
        source.facts_of("unknown.example")


def test_the_tables_of_a_source_by_entity_and_date_are_told_apart_by_both(source):
    if source.has_series:
        for table in processor(source.source).tables:
            assert table.entity_field, table.name
            assert not table.whole_entity, table.name


def test_what_comes_before_it_exists_and_never_comes_after_it(source):
    before, seen = [*source.requires], set()
    while before:
        name = before.pop()
        assert name in sources()
        assert name != source.source, "a source that waits for itself is never begun"
        before += [] if name in seen else scraper(name).requires
        seen.add(name)
    assert source.step != "whole" or all(scraper(name).step == "whole" for name in source.requires)


def test_what_it_feeds_on_lists_its_items_by_the_same_dates_and_comes_first(source):
    if not source.feeds_on:
        return
    lister = scraper(source.feeds_on)
    assert source.feeds_on in source.requires
    assert (lister.step, lister.zone) == (source.step, source.zone)
    assert not source.sweeps
    assert source.item_request(_partition(source), "an-item") == source.item_request(_partition(source), "an-item")


def test_its_oracles_name_tables_and_columns_that_are_there(source):
    assert not (source.oracles or source.compared) or source.step != "whole", "an entity has no dates"
    for oracle in (*source.oracles, *source.compared):
        other = processor(oracle.source)
        columns = {table.name: set(table.model.model_fields) for table in other.tables}
        columns |= {view.name: {*view.key, *view.columns()} for view in views_filled_by(other.tables)}
        assert {*oracle.key.split(), *oracle.label.split(), oracle.date} <= columns[oracle.table]
        ours = {table.name: table for table in processor(source.source).tables}
        found = ours[oracle.found_in or source.tables[0]]
        wanted = (oracle.found_key or oracle.key).split()
        assert set(wanted) <= set(found.model.model_fields)
        assert len(wanted) == len(oracle.key.split())
        assert oracle.entity is None or oracle.entity(RECENT)
        assert (oracle.entity is None) or scraper(oracle.source).step == "whole"
        assert re.fullmatch(r"[a-z]+", oracle.item)
        expected_sql(oracle, "", str)
