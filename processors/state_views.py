"""Views of how things went from look to look: prices with the time for which they were valid, products that are gone.

Nothing is kept but what each look saw. A view reads it in the order of the looks, so a look that is loaded late, or
read again by a mended processor, changes what it should and no more.
"""

# Names in the SQL are table and column names of our own row models.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alerting.errors import ConfigurationError
from processors.base import States, Table
from processors.schema import Column, check_table

_ADDED = {
    False: ("valid_from", "last_seen", "valid_to"),
    True: ("first_seen", "last_seen", "gone_on"),
}
_WITHIN = ("seen_on", "next_on", "begins", "spell")
"""Columns of the view's subqueries."""


@dataclass(frozen=True, slots=True)
class StateView:
    """A view over a table of sightings and the table of its looks."""

    states: States
    table: Table
    looks: Table

    @property
    def name(self) -> str:
        """In the dataset."""
        return self.states.view

    @property
    def tables(self) -> tuple[Table, ...]:
        """What it reads."""
        return self.table, self.looks

    @property
    def key(self) -> tuple[str, ...]:
        """Its columns that together are unique."""
        return (*self.states.key.split(), *(() if self.states.latest else ("valid_from",)))

    @property
    def description(self) -> str:
        """For the catalogue of the dataset."""
        thing = ", ".join(self.states.key.split())
        if self.states.latest:
            return f"One row per {thing}, as it was last seen; gone_on is NULL while it is there. A view of looks."
        return f"One row per {thing} and state, from valid_from to last_seen. A view of looks."

    def columns(self) -> dict[str, Column]:
        """Its columns beside the key, by name; those that the view adds are of the type of the date."""
        known = {column.name: column for column in check_table(self.table)}
        found = {name: known[name] for name in self.states.columns.split()}
        day = known[self.table.partition_field]
        return found | {name: day for name in _ADDED[self.states.latest] if name not in self.key}


def state_views_of(tables: Sequence[Table]) -> tuple[StateView, ...]:
    """The views of states over ``tables``. Raises ``ConfigurationError`` for one that cannot be made."""
    by_name = {table.name: table for table in tables}
    found = []
    for table in tables:
        for states in table.states:
            problems = _problems(table, states, by_name)
            if problems:
                raise ConfigurationError(f"view {states.view}: {'; '.join(problems)}; nothing was done", stage="plan")
            found.append(StateView(states, table, by_name[states.looks]))
    return tuple(found)


def _problems(table: Table, states: States, by_name: dict[str, Table]) -> list[str]:
    known = {column.name: column for column in check_table(table)}
    key, columns = states.key.split(), states.columns.split()
    if missing := [name for name in (*key, *columns) if name not in known]:
        return [f"no column {table.name}.{missing[0]}"]
    problems = [] if states.view not in by_name else ["a table has the same name"]
    if states.looks not in by_name:
        return [*problems, f"there is no table {states.looks}"]
    looks = by_name[states.looks]
    if not table.entity_field or key[:1] != [table.entity_field]:
        problems.append(f"the key does not begin with the entity of {table.name}")
    if {table.entity_field, table.partition_field, *key} != set(table.key):
        problems.append(f"{table.name} is unique by {'+'.join(table.key)}")
    if set(looks.key) != {table.entity_field, table.partition_field}:
        problems.append(f"{looks.name} has more than one row a look")
    if list(by_name).index(looks.name) < list(by_name).index(table.name):
        problems.append(f"{looks.name} is loaded before {table.name}: a look would count before its rows are there")
    unordered = [name for name in columns if known[name].kind in ("RECORD", "JSON") or known[name].mode == "REPEATED"]
    problems += [f"{name} cannot be compared" for name in unordered]
    taken = {*_ADDED[states.latest], *_WITHIN} & {*key, *columns}
    return problems + [f"a column cannot be called {name}" for name in sorted(taken)]


def state_sql(view: StateView, name_of: Callable[[str], str]) -> str:
    """The SELECT of the view; ``name_of`` gives the full name of a table."""
    states, entity, day = view.states, view.table.entity_field, view.table.partition_field
    key, columns = states.key.split(), states.columns.split()
    of_key, all_of = ", ".join(f"`{name}`" for name in key), ", ".join(f"`{name}`" for name in (*key, *columns))
    looks = (
        f"SELECT `{entity}`, `{day}`, LEAD(`{day}`) OVER (PARTITION BY `{entity}` ORDER BY `{day}`) AS next_on "
        f"FROM {name_of(view.looks.name)}"
    )
    chosen = ", ".join(f"T.`{name}`" for name in (*key, *columns))
    seen = (
        f"SELECT {chosen}, T.`{day}` AS seen_on, L.next_on FROM {name_of(view.table.name)} T "
        f"JOIN ({looks}) L ON T.`{entity}` = L.`{entity}` AND T.`{day}` = L.`{day}`"
    )
    if states.latest:
        return (
            f"SELECT {all_of}, first_seen, last_seen, next_on AS gone_on FROM ("
            f"SELECT {all_of}, seen_on, next_on, MIN(seen_on) OVER (PARTITION BY {of_key}) AS first_seen, "
            f"MAX(seen_on) OVER (PARTITION BY {of_key}) AS last_seen FROM ({seen})) WHERE seen_on = last_seen"
        )
    order = f"OVER (PARTITION BY {of_key} ORDER BY seen_on)"
    same = " AND ".join(
        [
            f"LAG(next_on) {order} = seen_on",
            *(f"LAG(`{name}`) {order} IS NOT DISTINCT FROM `{name}`" for name in columns),
        ]
    )
    return (
        f"SELECT {all_of}, MIN(seen_on) AS valid_from, MAX(seen_on) AS last_seen, "
        "IF(LOGICAL_OR(next_on IS NULL), NULL, MAX(next_on)) AS valid_to FROM ("
        f"SELECT {all_of}, seen_on, next_on, SUM(begins) {order} AS spell FROM ("
        f"SELECT {all_of}, seen_on, next_on, IF({same}, 0, 1) AS begins FROM ({seen}))) GROUP BY {all_of}, spell"
    )
