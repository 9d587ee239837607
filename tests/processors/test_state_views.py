"""Views over looks: a price lasts as long as one look after the other saw it, whatever came in between or late."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from alerting.errors import ConfigurationError
from processors.base import Row, States, Table
from processors.views import view_sql, views_of
from processors.warehouse import BigQueryWarehouse, Dataset


class Sighting(Row):
    shop: str
    seen: dt.date
    thing: str
    price: int | None
    note: str | None = None


class Look(Row):
    shop: str
    seen: dt.date


PRICES = States("went", "shop thing", "price", "looks")
NOW = States("now", "shop thing", "price note", "looks", latest=True)
SIGHTINGS = Table("sightings", Sighting, ("shop", "seen", "thing"), "seen", entity_field="shop", states=(PRICES, NOW))
LOOKS = Table("looks", Look, ("shop", "seen"), "seen", entity_field="shop")


@dataclass
class Bench:
    warehouse: BigQueryWarehouse

    def see(self, shop: str, day: int, **prices: int | None) -> None:
        """One look: the whole of what the shop had that day."""
        date = f"DATE '2026-06-{day:02d}'"
        name = self.warehouse.name_of
        self.warehouse.query(f"INSERT INTO {name('looks')} (shop, seen) VALUES ('{shop}', {date})")
        for thing, price in prices.items():
            shown = "NULL" if price is None else price
            columns = "(shop, seen, thing, price, note)"
            values = f"('{shop}', {date}, '{thing}', {shown}, 'n{day}')"
            self.warehouse.query(f"INSERT INTO {name('sightings')} {columns} VALUES {values}")

    def rows(self, view: str, order: str) -> list[tuple[Any, ...]]:
        found = self.warehouse.query(f"SELECT * FROM {self.warehouse.name_of(view)} ORDER BY {order}")
        return [tuple(one.day if isinstance(one, dt.date) else one for one in row.values()) for row in found]


@pytest.fixture
def bench(bigquery_endpoint: str) -> Bench:
    warehouse = BigQueryWarehouse(Dataset("p", f"d{uuid.uuid4().hex[:10]}", "US"), endpoint=bigquery_endpoint)
    warehouse.ensure_dataset()
    for view in views_of((SIGHTINGS, LOOKS)):
        warehouse.ensure_view(view)
    return Bench(warehouse)


def test_a_price_lasts_from_look_to_look_and_ends_at_the_first_one_that_saw_another_or_nothing(bench: Bench) -> None:
    bench.see("a", 1, x=10, y=None)
    # Nobody looked on the 2nd; the 4th is loaded before the 3rd.
    bench.see("a", 4, x=12, y=None, z=5)
    bench.see("a", 3, x=10)
    bench.see("a", 6, x=10, y=None, z=5)
    bench.see("b", 2, x=10)
    assert bench.rows("went", "shop, thing, valid_from") == [
        ("a", "x", 10, 1, 3, 4),
        ("a", "x", 12, 4, 4, 6),
        ("a", "x", 10, 6, 6, None),
        ("a", "y", None, 1, 1, 3),
        ("a", "y", None, 4, 6, None),
        ("a", "z", 5, 4, 6, None),
        ("b", "x", 10, 2, 2, None),
    ]


def test_a_thing_is_as_it_was_last_seen_and_gone_only_when_a_later_look_did_not_see_it(bench: Bench) -> None:
    bench.see("a", 1, x=10, y=7)
    bench.see("a", 3, x=11)
    bench.see("b", 2, y=1)
    assert bench.rows("now", "shop, thing") == [
        ("a", "x", 11, "n3", 1, 3, None),
        ("a", "y", 7, "n1", 1, 1, 3),
        ("b", "y", 1, "n2", 2, 2, None),
    ]
    some = bench.warehouse.query(f"SELECT thing, note, gone_on FROM {bench.warehouse.name_of('now')} WHERE shop = 'b'")
    assert some == [{"thing": "y", "note": "n2", "gone_on": None}]
    # Rows without their look, as between two steps of a load, are not there yet.
    bench.warehouse.query(
        f"INSERT INTO {bench.warehouse.name_of('sightings')} (shop, seen, thing, price) "
        "VALUES ('b', DATE '2026-06-05', 'w', 3)"
    )
    assert [row[1] for row in bench.rows("now", "shop, thing") if row[0] == "b"] == ["y"]


@pytest.mark.parametrize(
    ("states", "tables", "told"),
    [
        (replace(PRICES, columns="cost"), (LOOKS,), "no column sightings.cost"),
        (replace(PRICES, key="thing"), (LOOKS,), "the key does not begin with the entity of sightings"),
        (replace(PRICES, looks="nowhere"), (LOOKS,), "there is no table nowhere"),
        (replace(PRICES, view="looks"), (LOOKS,), "a table has the same name"),
        (PRICES, (replace(LOOKS, key=("shop", "seen", "page")),), "more than one row a look"),
    ],
)
def test_a_view_that_cannot_be_made_is_refused_before_anything_is_done(
    states: States, tables: Sequence[Table], told: str
) -> None:
    class Page(Look):
        page: int

    tables = tuple(replace(table, model=Page) if "page" in table.key else table for table in tables)
    with pytest.raises(ConfigurationError, match=rf"{told}.*nothing was done"):
        views_of((replace(SIGHTINGS, states=(states,)), *tables))


def test_looks_are_loaded_after_what_they_saw_and_no_two_views_share_a_name() -> None:
    with pytest.raises(ConfigurationError, match="is loaded before sightings"):
        views_of((LOOKS, SIGHTINGS))
    with pytest.raises(ConfigurationError, match="view went is declared twice"):
        views_of((replace(SIGHTINGS, states=(PRICES, PRICES)), LOOKS))
    assert [view.key for view in views_of((SIGHTINGS, LOOKS))] == [("shop", "thing"), ("shop", "thing", "valid_from")]
    assert all(
        view_sql(view, lambda name: f"`{name}`").startswith("SELECT `shop`") for view in views_of((SIGHTINGS, LOOKS))
    )
