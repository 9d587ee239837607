"""Views that several tables fill: race cards and results in one row a race, horses as they were last seen. Pure.

Each table has one writer, and the view is derived when it is read. So nothing has to be merged when a load ends,
nothing can be half merged when one is killed, and a date that is loaded late changes what it should and no more.
"""

# Names in the SQL are table and column names of our own row models.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from alerting.errors import ConfigurationError
from processors.base import Fill, Table
from processors.schema import Column, check_table
from processors.state_views import StateView, state_sql, state_views_of

_UNORDERED = ("RECORD", "JSON")
_PRECEDENCES = 16


@dataclass(frozen=True, slots=True)
class View:
    """A view and the tables that fill it, in the order in which they were declared; at least one."""

    name: str
    fills: tuple[tuple[Table, Fill], ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """What it reads."""
        return tuple(dict.fromkeys(table for table, _ in self.fills))

    @property
    def key(self) -> tuple[str, ...]:
        """Its columns that together are unique."""
        return tuple(named(self.fills[0][1].key))

    @property
    def description(self) -> str:
        """For the catalogue of the dataset."""
        tables = ", ".join(dict.fromkeys(table.name for table, _ in self.fills))
        newest = ", as it was last seen" if self.has_entities else ""
        return f"One row per {', '.join(self.key)}{newest}. A view over {tables}."

    @property
    def has_entities(self) -> bool:
        """Whether a row is as it was last seen."""
        return bool(self.fills[0][1].seen_on)

    def columns(self) -> dict[str, Column]:
        """What its tables know beside the key, by name; a column of several tables once."""
        found: dict[str, Column] = {}
        for table, fill in self.fills:
            known = {column.name: column for column in check_table(table)}
            for name, column in told_by(table, fill).items():
                found.setdefault(name, known[column])
        return found


def named(listed: str) -> dict[str, str]:
    """Column of the view -> column of the table.

    >>> named("id=horse_id region")
    {'id': 'horse_id', 'region': 'region'}
    """
    pairs = (name.partition("=") for name in listed.split())
    return {name: column or name for name, _, column in pairs}


def told_by(table: Table, fill: Fill) -> dict[str, str]:
    """Which columns of the view the table fills, and by which of its own."""
    if fill.columns is not None:
        return named(fill.columns)
    key = set(named(fill.key).values())
    return {name: name for name in table.model.model_fields if name not in key and name != table.deleted_field}


def views_of(tables: Iterable[Table]) -> tuple[View | StateView, ...]:
    """The views over ``tables``, by name. Raises ``ConfigurationError`` for declarations that contradict."""
    tables = tuple(tables)
    found: list[View | StateView] = [*_filled_by(tables), *state_views_of(tables)]
    names = [view.name for view in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"view {name} is declared twice; nothing was done", stage="plan")
    return tuple(sorted(found, key=lambda view: view.name))


def _filled_by(tables: Sequence[Table]) -> tuple[View, ...]:
    fills: dict[str, list[tuple[Table, Fill]]] = {}
    for table in tables:
        for fill in table.fills:
            fills.setdefault(fill.view, []).append((table, fill))
    found = tuple(View(name, tuple(fills[name])) for name in sorted(fills))
    for view in found:
        problems = _problems(view)
        problems += ["a table has the same name"] if view.name in {table.name for table in tables} else []
        if problems:
            raise ConfigurationError(f"view {view.name}: {'; '.join(problems)}; nothing was done", stage="plan")
    return found


def _problems(view: View) -> list[str]:
    problems: list[str] = []
    kinds: dict[str, tuple[str, str]] = {}
    ranks: dict[tuple[int, str], str] = {}
    for table, fill in view.fills:
        known = {column.name: column for column in check_table(table)}
        key, told = named(fill.key), told_by(table, fill)
        problems += [] if tuple(key) == view.key else [f"{table.name} has the key {'+'.join(key)}"]
        problems += [] if bool(fill.seen_on) == view.has_entities else [f"{table.name}: seen_on here and not there"]
        if fill.seen_on and (fill.seen_on not in known or known[fill.seen_on].kind != "DATE"):
            problems.append(f"{table.name}.{fill.seen_on} is no DATE column")
        if not view.has_entities and set(key.values()) != set(table.key):
            problems.append(f"{table.name} is unique by {'+'.join(table.key)}")
        if not 0 <= fill.precedence < _PRECEDENCES:
            problems.append(f"{table.name}: precedence is 0 to {_PRECEDENCES - 1}")
        for name, column in {**key, **told}.items():
            if column not in known:
                problems.append(f"no column {table.name}.{column}")
                continue
            one = known[column]
            if one.kind in _UNORDERED or one.mode == "REPEATED":
                problems.append(f"{table.name}.{column} is {one.kind} {one.mode}: which one is newer cannot be told")
            kind, where = kinds.setdefault(name, (one.kind, table.name))
            if kind != one.kind:
                problems.append(f"{name} is {kind} in {where} and {one.kind} in {table.name}")
            other = ranks.setdefault((fill.precedence, name), table.name)
            if name in told and other != table.name and not view.has_entities:
                problems.append(f"{name}: neither of {other} and {table.name} comes first")
        taken = {*key, fill.marker, "told", *(("seen_on", "first_seen", "last_seen") if fill.seen_on else ())}
        problems += [f"{table.name}: a column cannot be called {name}" for name in sorted(set(told) & taken)]
    return problems


def view_sql(view: View | StateView, name_of: Callable[[str], str]) -> str:
    """The SELECT of the view; ``name_of`` gives the full name of a table.

    A filter on a column of the key, such as the date, holds for each table before anything is put together.
    """
    if isinstance(view, StateView):
        return state_sql(view, name_of)
    key, columns = ", ".join(f"`{name}`" for name in view.key), view.columns()
    markers = list(dict.fromkeys(fill.marker for _, fill in view.fills if fill.marker))
    parts = [
        _part(table, fill, columns, markers, name_of(table.name), is_first=number == 0)
        for number, (table, fill) in enumerate(view.fills)
    ]
    chosen = [key, *(f"{_believed(view, name)} AS `{name}`" for name in columns)]
    chosen += [f"LOGICAL_OR(`{marker}`) AS `{marker}`" for marker in markers]
    if view.has_entities:
        chosen += ["MIN(seen_on) AS first_seen", "MAX(seen_on) AS last_seen"]
    return f"SELECT {', '.join(chosen)} FROM ({' UNION ALL '.join(parts)}) GROUP BY {key}"


def _believed(view: View, name: str) -> str:
    """The value of one column in all rows of a key."""
    if view.has_entities:
        # Rows with a value first, then the newest; the value itself decides between two of one rank.
        return (
            f"ARRAY_AGG(`{name}` ORDER BY IF(`{name}` IS NULL, 0, 1) DESC, told DESC, `{name}` LIMIT 1)[SAFE_OFFSET(0)]"
        )
    ranks = sorted({fill.precedence for table, fill in view.fills if name in told_by(table, fill)}, reverse=True)
    if len(ranks) == 1:
        return f"MAX(`{name}`)"  # of one row; an aggregate has to be named
    return f"COALESCE({', '.join(f'MAX(IF(told = {rank}, `{name}`, NULL))' for rank in ranks)})"


def _part(
    table: Table, fill: Fill, columns: dict[str, Column], markers: Sequence[str], name: str, *, is_first: bool
) -> str:
    key, told = named(fill.key), told_by(table, fill)
    chosen = {one: f"`{column}`" for one, column in key.items()}
    chosen |= {one: f"`{told[one]}`" if one in told else "NULL" for one in columns}
    chosen |= {marker: "TRUE" if marker == fill.marker else "FALSE" for marker in markers}
    chosen["told"] = str(fill.precedence)
    if fill.seen_on:
        chosen["seen_on"] = f"`{fill.seen_on}`"
        chosen["told"] = f"UNIX_DATE(`{fill.seen_on}`) * {_PRECEDENCES} + {fill.precedence}"
    limits = [f"`{column}` IS NOT NULL" for column in key.values() if column not in table.key]
    limits += [f"`{table.deleted_field}` IS NULL"] if table.deleted_field else []
    where = f" WHERE {' AND '.join(limits)}" if limits else ""
    # The first part names the columns of all, and gives those their type that it does not know itself.
    listed = [
        f"{_typed(value, columns[one]) if one in columns else value} AS `{one}`" if is_first else value
        for one, value in chosen.items()
    ]
    return f"SELECT {', '.join(listed)} FROM {name}{where}"


def _typed(value: str, column: Column) -> str:
    return f"CAST(NULL AS {column.sql_type})" if value == "NULL" else value
