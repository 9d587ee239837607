"""What a review would change, and its way into the real tables.

The rows lie in a `processors.review_dataset.ReviewDataset`. Compared and published are those of the review's partitions
alone, a table after the other in the order of the processor, parents before children, and of each table up to 1,000
dates in one atomic statement. A mark over the rows of either side says whether they still are what a person looked at.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from alerting.errors import CriticalError
from alerting.wording import plural
from processors.base import Processor, Table
from processors.changes import RowChanges, changes_per_partition, same_rows_sql, twins_per_partition
from processors.load_plan import (
    TableBatch,
    Warehouse,
    pack,
    replace_scope,
    scope_parameters,
    table_digest,
    within_sql,
)
from processors.registry import views_filled_by
from processors.schema import check_table, schema_hash
from processors.shrinkage import losses
from scrapers.manifest import Manifest
from scrapers.scrape import nothing

SAMPLES = 3
"""Rows of each kind (added, changed, removed) that are shown of a table."""
_LONGEST_VALUE = 60


class Stale(CriticalError):
    """The rows are not those of the diff any more; fact ``lost``: comparing again does not help."""


class Sample(BaseModel):
    """One row as people see it: ``kind`` is added, changed or removed, ``text`` its key and what changes."""

    model_config = ConfigDict(frozen=True)

    kind: str
    text: str


class TableDiff(BaseModel):
    """What publishing would change in one table. ``months`` has the rows by month, or by entity where rows have none.

    ``marks`` are, for each statement of the publishing, the rows of its scope in the real table and in the review's.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    months: dict[str, RowChanges]
    samples: tuple[Sample, ...]
    marks: tuple[tuple[str, str], ...]

    @property
    def total(self) -> RowChanges:
        """Over all months."""
        return sum(self.months.values(), RowChanges())


class Diff(BaseModel):
    """What a review would change. ``losses`` are partitions that lose more rows than is usual, each with its words."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[TableDiff, ...]
    losses: dict[str, str] = {}


class Publishing(Warehouse, Protocol):
    """What publishing needs of the real dataset beside what loading does."""

    def changes(self, batch: TableBatch, staging: str) -> list[dict[str, Any]]:
        """Rows of `processors.changes.changes_sql` against ``staging``: a quoted name, or a SELECT in brackets."""

    def publish(self, batch: TableBatch, rows: str, may_write: Callable[[], None]) -> str:
        """Replaces the batch's scope by ``rows``, a SELECT in brackets, atomically; returns the id of the job.

        ``may_write`` as of `Warehouse.replace`.
        """


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one statement publishes: one table's rows of up to 1,000 dates."""

    table: Table
    manifests: tuple[Manifest, ...]
    batch: TableBatch

    def rows_in(self, warehouse: Warehouse, *, alive: bool = False) -> str:
        """Its rows as they are there, as a SELECT in brackets; ``alive`` leaves out those that are buried."""
        buried = self.table.deleted_field
        only = f" AND `{buried}` IS NULL" if alive and buried else ""
        return f"(SELECT * FROM {warehouse.name_of(self.table.name)} WHERE {within_sql(self.batch)}{only})"

    def mark(self, warehouse: Warehouse) -> str:
        """Number and fingerprint of its rows, in whatever order."""
        columns = ", ".join(f"`{column.name}`" for column in check_table(self.table))
        fingerprint = f"BIT_XOR(FARM_FINGERPRINT(TO_JSON_STRING(STRUCT({columns}))))"
        sql = f"SELECT COUNT(*) AS n, {fingerprint} AS mark FROM {self.rows_in(warehouse)} R"
        row = warehouse.query(sql, scope_parameters(self.batch))[0]
        return f"{row['n']}:{row['mark'] or 0}"


@dataclass(frozen=True, slots=True)
class Trial:
    """The partitions of one review, and the two datasets that they stand in.

    Attributes:
        review_id: Part of the job ids.
        manifests: Loaded into ``tried`` and recounted there.
        processor: Of their source.
        real: Where they would be published.
        tried: Where they are.
    """

    review_id: str
    manifests: Sequence[Manifest]
    processor: Processor
    real: Publishing
    tried: Warehouse

    def compare(self, verified: Mapping[str, Mapping[str, int]]) -> Diff:
        """What publishing would change. Reads both datasets; makes the real tables where there are none.

        ``verified`` is, per partition and table, the rows that were last verified.
        """
        tables, lost = [], dict[str, list[str]]()
        for table in self.processor.tables:
            self.real.ensure_table(table)
            months, marks = dict[str, RowChanges](), list[tuple[str, str]]()
            samples: list[Sample] = []
            for piece in self._pieces(table):
                changes = changes_per_partition(self._cells(piece), table, piece.manifests)
                for key, one in changes.items():
                    if one.created or one.updated or one.removed:
                        month = _month(key)
                        months[month] = months.get(month, RowChanges()) + one
                for key, loss in losses(table, changes, verified).items():
                    lost.setdefault(key, []).append(str(loss))
                marks.append((piece.mark(self.real), piece.mark(self.tried)))
                samples += _samples(piece, self.real, self.tried)
            tables.append(
                TableDiff(
                    table=table.name,
                    months=dict(sorted(months.items())),
                    samples=tuple(one for kind in ("removed", "changed", "added") for one in _few(samples, kind)),
                    marks=tuple(marks),
                )
            )
        return Diff(tables=tuple(tables), losses={key: "; ".join(texts) for key, texts in sorted(lost.items())})

    def check_as_compared(self, diff: Diff) -> None:
        """Raises ``Stale`` when either side is not what ``diff`` was made of, or a key would stand twice by now.

        What an earlier try has published already is as it should be, too.
        """
        for piece, (before, after) in self._marked(diff):
            name = piece.table.name
            self.real.ensure_table(piece.table)
            if piece.mark(self.tried) != after:
                what = "the rows that wait are not those that were compared"
                raise Stale(f"{name}: {what}", stage="review", lost=True)
            if piece.mark(self.real) not in (before, after):
                raise Stale(
                    f"{name}: the table has other rows of these dates than when they were compared", stage="review"
                )
            if shared := twins_per_partition(self._cells(piece), piece.table, piece.manifests):
                keys = ", ".join(sorted(shared)[:3])
                raise Stale(f"{name}: rows of {keys} stand in another partition, too, by now", stage="review")

    def publish(self, diff: Diff, may_write: Callable[[], None] = nothing) -> list[str]:
        """Puts the rows in place; returns the ids of the jobs. Repeatable after any crash: what is there stays.

        ``may_write`` is called right before each job is begun; raises where it must not be.
        Raises ``Stale`` as `check_as_compared` does, before anything is changed, and what the warehouse raises.
        """
        self.check_as_compared(diff)
        jobs = [
            self.real.publish(self._counted(piece), piece.rows_in(self.tried), may_write)
            for piece, (_, after) in self._marked(diff)
            if piece.mark(self.real) != after
        ]
        for view in views_filled_by(self.processor.tables):
            self.real.ensure_view(view)
        return jobs

    def _marked(self, diff: Diff) -> Iterator[tuple[_Piece, tuple[str, str]]]:
        marks = {one.table: one.marks for one in diff.tables}
        for table in self.processor.tables:
            yield from zip(self._pieces(table), marks[table.name], strict=True)

    def _pieces(self, table: Table) -> Iterator[_Piece]:
        for group in pack(self.manifests, max_bytes=2**63, max_rows=2**63):
            scope = replace_scope(table, group)
            digest = table_digest(table.name, schema_hash(check_table(table)), scope, "", self.review_id)
            newest = max(manifest.landed_at for manifest in group)
            yield _Piece(table, group, TableBatch(table, scope, digest, self.review_id, (), 0, newest))

    def _cells(self, piece: _Piece) -> list[dict[str, Any]]:
        return self.real.changes(self._counted(piece, alive=True), piece.rows_in(self.tried, alive=True))

    def _counted(self, piece: _Piece, *, alive: bool = False) -> TableBatch:
        """The batch with the number of its rows, which decides whether there is anything to put in place of the old."""
        sql = f"SELECT COUNT(*) AS n FROM {piece.rows_in(self.tried, alive=alive)} R"
        return replace(piece.batch, rows=int(self.tried.query(sql, scope_parameters(piece.batch))[0]["n"]))


def _month(key: str) -> str:
    """The month of a partition of dates, else its entity.

    >>> _month("2025-01-03"), _month("lakers@2025-01-03"), _month("alameda.ca~agendas")
    ('2025-01', '2025-01', 'alameda.ca~agendas')
    """
    last = key.rpartition("@")[2]
    return last[:7] if last[:4].isdecimal() and last[4:5] == "-" else key


def _few(samples: Sequence[Sample], kind: str) -> list[Sample]:
    return [one for one in samples if one.kind == kind][:SAMPLES]


def _samples(piece: _Piece, real: Warehouse, review: Warehouse) -> list[Sample]:
    """The first rows of each kind by key."""
    table = piece.table
    first, same_key, same = same_rows_sql(table)
    place = ", ".join(f"COALESCE(S.`{name}`, T.`{name}`)" for name in table.key)
    sql = (
        "SELECT kind, old_row, new_row FROM ("
        "SELECT kind, old_row, new_row, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY place) AS number FROM ("
        f"SELECT CASE WHEN T.`{first}` IS NULL THEN 'added' WHEN S.`{first}` IS NULL THEN 'removed' "
        "ELSE 'changed' END AS kind, TO_JSON_STRING(T) AS old_row, TO_JSON_STRING(S) AS new_row, "
        f"TO_JSON_STRING(STRUCT({place})) AS place "
        f"FROM {piece.rows_in(review, alive=True)} S FULL OUTER JOIN {piece.rows_in(real, alive=True)} T ON {same_key} "
        f"WHERE S.`{first}` IS NULL OR T.`{first}` IS NULL OR NOT ({same}))) "
        f"WHERE number <= {SAMPLES} ORDER BY kind, number"
    )
    return [_sample(table, row) for row in real.query(sql, scope_parameters(piece.batch))]


def _sample(table: Table, row: Mapping[str, Any]) -> Sample:
    old, new = (json.loads(row[name]) if row[name] else {} for name in ("old_row", "new_row"))
    some = new if row["kind"] != "removed" else old
    key = ", ".join(f"{name}={_short(some[name])}" for name in table.key)
    if row["kind"] == "changed":
        differing = [name for name in new if old.get(name) != new[name]]
        told = ", ".join(f"{name} {_short(old.get(name))} -> {_short(new[name])}" for name in differing[:4])
        more = f" and {plural(len(differing) - 4, 'more column')}" if len(differing) > 4 else ""
        return Sample(kind="changed", text=f"{key}: {told}{more}")
    rest = [name for name in some if name not in table.key and some[name] is not None]
    return Sample(kind=row["kind"], text=f"{key}: " + ", ".join(f"{name} {_short(some[name])}" for name in rest[:4]))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
