"""Which raw rows of one partition enter the warehouse, and why the others do not. Pure; rows stream through."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Self

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from processors.base import Balance, Reject, Row, Table
from processors.column_values import EXACT, READ, unencodable
from processors.expectations import Expectations
from processors.row_lines import row_lines, values_getter
from scrapers.partition import Partition

KEPT_REJECTS = 1_000
"""Rejects kept with their raw row per partition; all are counted."""

_RAW_LIMIT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class _TableRules:
    """One table, with all that is asked of each of its rows looked up once.

    ``seen`` is key -> hash of its row; ``is_expected`` says whether `Expectations` look at its rows; ``date`` reads
    what alone decides whether a row belongs to a partition, None where something else does too.
    """

    table: Table
    columns: frozenset[str]
    validated: Callable[[dict[str, Any]], Row]
    line: Callable[[Row], bytes]
    key: Callable[[Row], tuple[Any, ...]]
    sink: Callable[[bytes], None]
    seen: dict[tuple[Any, ...], int]
    is_expected: bool
    date: Callable[[Row], Any] | None

    @classmethod
    def of(cls, table: Table, sink: Callable[[bytes], None], *, is_expected: bool) -> Self:
        model = table.model
        return cls(
            table=table,
            columns=frozenset(model.model_fields),
            validated=model.__pydantic_validator__.validate_python,
            line=row_lines(model).line,
            key=values_getter(table.key),
            sink=sink,
            seen={},
            is_expected=is_expected,
            date=None if table.entity_field or table.whole_entity else attrgetter(table.partition_field),
        )


class Admission:
    """Judges the rows of one partition.

    A row is admitted when its model takes it, its columns hold its values unchanged, its own date (and entity) belongs
    to the partition, and its key was not seen before. An identical repeat is dropped and counted, because sources send
    rows twice; a different row under a known key is a reject, because nobody can say which one is right.

    Args:
        partition: Whose rows they are.
        tables: Of the processor.
        sink: By the name of a table, what takes the lines of its rows.
        balances: Of the processor.

    Attributes:
        rows, duplicates: Per table.
        rejects: The first `KEPT_REJECTS`; ``reject_counts`` holds all, per table.
        unknown_fields: Payload fields that no column takes, as ``table.field``: left out, but told.
        absent_fields: Nullable columns that the payload did not even name, as ``table.column``.
        expectations: What the admitted rows must be like as a whole.
        covers: First date, and the one after the last, of a page that neighbouring dates share: their rows are none of
            this partition's, and no rejects.
        superseded: Keys, as text, of rows that another page has in a later form: here they are no rows.
        object_name, row: The page being read, and how many rows of it were judged before this one.
    """

    def __init__(
        self,
        partition: Partition,
        tables: Sequence[Table],
        sink: Callable[[str], Callable[[bytes], None]],
        balances: Sequence[Balance] = (),
    ) -> None:
        self.partition = partition
        self._start, self._end = partition.start, partition.end
        self.rows: Counter[str] = Counter({table.name: 0 for table in tables})
        self.duplicates: Counter[str] = Counter()
        self.rejects: list[Reject] = []
        self.reject_counts: Counter[str] = Counter()
        self.unknown_fields: Counter[str] = Counter()
        self._absent: Counter[tuple[str, frozenset[str]]] = Counter()
        self._taken: dict[tuple[str, tuple[str, ...]], set[tuple[Any, ...]]] = {}
        self.expectations = Expectations(tables, balances)
        self._tables = {
            table.name: _TableRules.of(table, sink(table.name), is_expected=self.expectations.concerns(table))
            for table in tables
        }
        self.covers: tuple[dt.date, dt.date] | None = None
        self.superseded: frozenset[str] = frozenset()
        self.object_name = ""
        self.row = 0

    def take(self, table_name: str, raw: dict[str, Any]) -> None:
        """Judges one row; an admitted one goes to its table's sink as a line of NDJSON with its newline."""
        rules = self._tables.get(table_name)
        if rules is None:
            self._reject(table_name, f"the processor has no table {table_name}", raw)
            return
        table = rules.table
        if self.covers and self._is_beside(_date_in(raw, table)):
            return
        wanted = {name: value for name, value in raw.items() if name not in table.ignored} if table.ignored else raw
        try:
            row = rules.validated(wanted)
        except ValidationError as error:
            read = self._read_again(table, wanted, error.errors(include_url=False, include_context=False))
            if isinstance(read, str):
                self._reject(table_name, read, raw)
                return
            row = read
        if self.covers and self._is_beside(getattr(row, table.partition_field, None)):
            return
        if self.superseded and self._is_superseded(table, row):
            return
        date = rules.date and rules.date(row)
        is_inside = type(date) is dt.date and self._start <= date < self._end
        if not is_inside and not self._is_placed(table, row):
            self._reject(table_name, self._misplaced(table, row), raw)
            return
        try:
            line = rules.line(row)
        except PydanticSerializationError as error:
            self._reject(table_name, unencodable(row.model_dump(), "") or f"no JSON can be made of it: {error}", raw)
            return
        content = hash(line)
        key = rules.key(row)
        first = rules.seen.setdefault(key, content)
        if first is not content:
            if first == content:
                self.duplicates[table_name] += 1
            else:
                self._reject(table_name, f"another row has the same key {_shown(key)}", raw)
            return
        if table.unique and (shared := self._shared(table, row)):
            self._reject(table_name, f"another row has the same {shared}", raw)
            return
        named = row.__pydantic_fields_set__
        if len(named) < len(rules.columns):
            # Rows of one answer lack the same columns.
            self._absent[table_name, rules.columns - named] += 1
        self.rows[table_name] += 1
        if rules.is_expected:
            self.expectations.take(table, row)
        rules.sink(line)

    @property
    def absent_fields(self) -> Counter[str]:
        """See the class."""
        found: Counter[str] = Counter()
        for (table, names), rows in self._absent.items():
            found.update({f"{table}.{name}": rows for name in names})
        return found

    def identities(self, table: str) -> dict[str, set[Any]]:
        """Values of the rows seen, until it is closed: of the first column of the key and of each of `Table.unique`.

        NULL is no value, nor is one of several columns with a NULL in it.
        """
        rules = self._tables[table]
        found: dict[str, set[Any]] = {rules.table.key[0]: {key[0] for key in rules.seen}}
        for columns in rules.table.unique:
            values = {value[0] for value in self._taken.get((table, columns), ()) if None not in value}
            found[columns[0]] = found.get(columns[0], set()) | values
        return found

    def close(self) -> None:
        """Forgets the keys seen: counts and rejects stay."""
        for rules in self._tables.values():
            rules.seen.clear()
        self._taken.clear()
        self.expectations.close()

    def _shared(self, table: Table, row: Row) -> str:
        """The unique columns of which an earlier row has this row's values, and the values; "" for none."""
        for columns in table.unique:
            value = tuple(getattr(row, name) for name in columns)
            taken = self._taken.setdefault((table.name, columns), set())
            if None not in value and value in taken:
                return f"{'+'.join(columns)} {_shown(value)}"
            taken.add(value)
        return ""

    def _read_again(self, table: Table, wanted: dict[str, Any], problems: Sequence[Any]) -> Row | str:
        """The row without the fields that no column takes, if they were all its ``problems``; or why it is none."""
        unknown = [problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"]
        if len(unknown) < len(problems):
            return _reason(problems)
        for path in unknown:
            wanted = _without(wanted, path)
            names = ".".join(str(part) for part in path if isinstance(part, str))
            self.unknown_fields[f"{table.name}.{names}"] += 1
        try:
            return table.model.model_validate(wanted)
        except ValidationError as error:
            return _reason(error.errors(include_url=False, include_context=False))

    def _is_placed(self, table: Table, row: Row) -> bool:
        """Whether the row belongs to the partition."""
        partition = self.partition
        if table.entity_field and getattr(row, table.entity_field) != partition.entity:
            return False
        if table.whole_entity:
            return True
        date = getattr(row, table.partition_field)
        return isinstance(date, dt.date) and partition.start <= date < partition.end

    def _misplaced(self, table: Table, row: Row) -> str:
        """Why the row does not belong to the partition."""
        if table.entity_field and getattr(row, table.entity_field) != self.partition.entity:
            return f"{table.entity_field} {_shown(getattr(row, table.entity_field))} is not {self.partition.entity!r}"
        date = getattr(row, table.partition_field)
        return f"{table.partition_field} {date} lies outside {self.partition.start} to {self.partition.end} (exclusive)"

    def _is_beside(self, date: object) -> bool:
        """Whether a row of that date is one of the neighbours with which the page is shared."""
        if self.covers is None or not isinstance(date, dt.date) or self.partition.contains(date):
            return False
        return self.covers[0] <= date < self.covers[1]

    def _is_superseded(self, table: Table, row: Row) -> bool:
        return "|".join(str(getattr(row, name)) for name in table.key) in self.superseded

    def _reject(self, table: str, reason: str, raw: dict[str, Any]) -> None:
        self.reject_counts[table] += 1
        if len(self.rejects) < KEPT_REJECTS:
            kept = _kept(raw)[:_RAW_LIMIT_CHARS]
            self.rejects.append(Reject(table, reason, kept, self.object_name, self.row + 1))


def _kept(raw: dict[str, Any]) -> str:
    try:
        return json.dumps(raw, default=str)
    except (ValueError, RecursionError):
        return _shown(raw)


def _date_in(raw: dict[str, Any], table: Table) -> dt.date | None:
    """The date of a raw row, where it can be told without its model: a neighbour's row need not be a good one."""
    field = table.model.model_fields.get(table.partition_field)
    value = raw.get(table.partition_field, raw.get((field.alias if field else None) or ""))
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if not isinstance(value, str) or len(value) != len("2025-01-03"):
        return None
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        return None


def _reason(problems: Sequence[Any]) -> str:
    """The first three problems, without the rest of the row.

    >>> _reason([{"loc": ("pts",), "msg": "Input should be a valid integer", "input": "x", "type": "int_parsing"}])
    "pts: Input should be a valid integer, got 'x'"
    """
    shown = []
    problems = [problem for problem in problems if EXACT not in problem["loc"]]
    for problem in problems[:3]:
        path = ".".join(str(part) for part in problem["loc"] if part != READ)
        got = "" if problem["type"] == "missing" else f", got {_shown(problem['input'])}"
        shown.append(f"{path}: {problem['msg']}{got}")
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no integer of more than 4,300 digits
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _without(raw: Any, path: tuple[Any, ...]) -> Any:
    """A copy of ``raw`` without the value at ``path``; the original is left as it is.

    >>> _without({"a": [{"b": 1, "c": 2}]}, ("a", 0, "b"))
    {'a': [{'c': 2}]}
    """
    head, *rest = path
    if isinstance(raw, list):
        return [_without(value, tuple(rest)) if number == head else value for number, value in enumerate(raw)]
    if not rest:
        return {name: value for name, value in raw.items() if name != head}
    return {name: _without(value, tuple(rest)) if name == head else value for name, value in raw.items()}
