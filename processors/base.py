"""What a source declares about its rows: tables, row models, keys, and how a page becomes rows."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema

from processors.column_values import BigNumericColumn, held_by_columns
from scrapers.partition import Partition

BigNumeric = Annotated[Decimal, BigNumericColumn()]
"""A BIGNUMERIC column: 38 digits before the point and 38 behind it. A plain ``Decimal`` is NUMERIC: 29 and 9."""


class Row(BaseModel):
    """Base of row models: the model is the table's schema and its documentation.

    Field name = column, annotation = type, ``| None`` = NULLABLE, ``Field(description=...)`` = description; an alias is
    the payload's own name. Payload fields that the model does not have are counted in the receipt and left out; a
    field without a default that the payload does not have makes the row a reject, and so does a value that the column
    would not hold, or hold changed (`processors.column_values`).
    """

    # A NaN would be written as null: a value lost without a word.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_by_name=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The model's schema with the limits of its columns."""
        held: CoreSchema = held_by_columns(handler(source))
        return held


def with_nullable(model: type[Row], columns: Mapping[type, str]) -> type[Row]:
    """``model`` with more columns, all of which may be null or absent: names separated by blanks, by type.

    >>> with_nullable(Row, {int: "pts reb"}).model_fields["reb"]
    FieldInfo(annotation=Union[int, NoneType], required=False, default=None)
    """
    fields: dict[str, Any] = {name: (kind | None, None) for kind, names in columns.items() for name in names.split()}
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)


@dataclass(frozen=True, slots=True)
class Fill:
    """What the rows of one table add to a view that several tables fill, of one source or of many.

    The table stays its source's alone: loaded, replaced, guarded and recounted as any other. The view puts the rows of
    all its tables together by key, column by column: NULL is no value and hides none, a row that goes takes only its
    own values with it, and neither the order of loads nor a killed one shows.

    Columns are written as names between blanks, ``name=column`` where the view names one differently.

    Attributes:
        view: Its name in the dataset.
        key: Columns that tell its rows apart. Rows of the table with a NULL there are none of the view.
        columns: What the table knows of a row, beside the key; None is all its other columns.
        marker: BOOL column of the view that says whether this table has the row; "" for none.
        precedence: Of two tables that both have a value, the higher one is believed.
        seen_on: DATE column of the table, for a view of entities (horses, players): the value of the newest date is
            believed, whenever that was loaded, and ``precedence`` decides within a date. Such a view has the dates
            ``first_seen`` and ``last_seen`` besides.
    """

    view: str
    key: str
    columns: str | None = None
    marker: str = ""
    precedence: int = 0
    seen_on: str = ""


@dataclass(frozen=True, slots=True)
class States:
    """A view of how the things of one table went: each of its dates is a complete look at everything of an entity.

    The table has a row for each thing that a look saw, and is written once a look, so that loads and reloads in any
    order give the same view. A look is a row of ``looks``, another table of the source that is loaded after it: what
    no look saw is not made up, and a date without a look says nothing.

    A row of the view is a state of a thing, for as long as one look after the other saw it: ``valid_from`` and
    ``last_seen`` are the first and last look with it, ``valid_to`` is the first one that saw another state, or the
    thing no more; NULL where there is none yet. With ``latest`` it is the thing as it was last seen, with
    ``first_seen``, ``last_seen``, and ``gone_on``, the first look without it; NULL while it is there.

    Columns are written as names between blanks.

    Attributes:
        view: Its name in the dataset.
        key: Columns that name a thing, the entity first.
        columns: What its state is.
        looks: Table with a row per look, its key are entity and date.
        latest: Only the last state, with all its columns.
    """

    view: str
    key: str
    columns: str
    looks: str
    latest: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One BigQuery table: partitioned by day or month on the DATE column ``partition_field``, clustered on ``key``.

    Attributes:
        name: Table id in the dataset.
        model: Its row model.
        key: Columns that together are unique over the whole table, none of them nullable.
        unique: Further columns, each alone or several together, whose values no two rows of the table share; NULL is no
            value. A row that shares one is refused, be the other in the same load or in the table.
        unique_within_days: Days before and after a load in which rows with its `unique` values are looked for:
            more than the source can move a row. 0 looks in the whole table, and each load reads these columns of it.
        partition_field: DATE column that decides which partition a row belongs to.
        parent: Table and columns (same names in both) of the row that each row here belongs to.
        parent_elsewhere: The parent may rightly be of another partition, so that rows without one are seen only by the
            recount, when they are loaded. Otherwise they keep their partition out, and its old rows stay.
        per_parent: Fewest and most rows that one parent row may have.
        per_partition: Fewest and most rows that a partition with rows may have.
        usual_removal: Share of its rows that a partition may lose by a later load. One that would lose more keeps its
            old rows, as ``shrunk``, until somebody accepts it.
        key_is_content: A row whose content changes comes under another key: a new row makes up for a removed one.
        critical: Nullable columns in which a NULL is a fault all the same.
        entity_field: Column that must equal the partition's entity, for sources partitioned by entity.
        whole_entity: A load replaces all rows of the entity, whatever their dates.
        deleted_field: With ``whole_entity``, a nullable TIMESTAMP column: rows that the new snapshot does not have stay
            as tombstones, with the instant of the snapshot that first missed them. Current rows have NULL there.
        granularity: ``MONTH`` for rows of whole entities, whose dates in one load can be more than BigQuery's 4,000
            partitions a job.
        ignored: Payload fields that are known and not wanted, so that they do not count as unknown.
        fills: Views that its rows are part of.
        states: Views of how its things went from look to look.
    """

    name: str
    model: type[Row]
    key: tuple[str, ...]
    partition_field: str
    unique: tuple[tuple[str, ...], ...] = ()
    unique_within_days: int = 0
    parent: tuple[str, tuple[str, ...]] | None = None
    parent_elsewhere: bool = False
    per_parent: tuple[int, int] | None = None
    per_partition: tuple[int, int] | None = None
    usual_removal: float = 0.1
    key_is_content: bool = False
    critical: tuple[str, ...] = ()
    entity_field: str = ""
    whole_entity: bool = False
    deleted_field: str = ""
    granularity: Literal["DAY", "MONTH"] = "DAY"
    ignored: frozenset[str] = frozenset()
    fills: tuple[Fill, ...] = ()
    states: tuple[States, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """A proof inside the payload: a number of one row is the sum of a number over the rows that belong to it.

    Where it does not hold, rows are missing or numbers are wrong although every count agrees.

    Attributes:
        total: Table and column of the number.
        parts: Table and column of what is summed; NULL adds nothing.
        match: Pairs of columns, of the total's row and of its parts, that are equal.
        is_strict: A partition in which it does not hold is not loaded; else it is loaded, and the mail warns.
    """

    total: tuple[str, str]
    parts: tuple[str, str]
    match: tuple[tuple[str, str], ...]
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that broke the contract, kept with its reason.

    It is the ``row``-th, from 1, that the processor reads of the page that lies at ``object_name``, for whatever table.
    """

    table: str
    reason: str
    raw: str
    object_name: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True)
class LandedPage:
    """One landed page: what was asked for, and what came back.

    Attributes:
        path, params, json_body: Of the request, without its secret. What the body does not say is read here: the
            format of prices, the instant that was asked for, which of several endpoints answered.
        status, headers: Of the answer; header names are lower case, and only those are there that were kept.
        fetched_at: Aware UTC. The page keeps it however often it is read, so a row may have it.
        body: Decompressed, otherwise as the source sent it.
        item: What the source calls it (the name of a file), as the request named it; "" where it did not.
        object_name: Where it lies in the bucket.
    """

    path: str
    params: tuple[tuple[str, str], ...]
    status: int
    headers: Mapping[str, str]
    fetched_at: dt.datetime
    body: bytes
    json_body: str = ""
    item: str = ""
    object_name: str = ""


class Processor(ABC):
    """Turns the pages of one source into rows. No I/O, no clock: the same page gives the same rows.

    Class attributes:
        version: Counts up when the same page gives other rows.
        tables: Parents before children.
        balances: What rows of one table say of those of another.
        tolerated_rejects: So many rows of a partition may break the contract and are left out, kept beside it with
            their reasons; with more of them none of its rows is loaded.
    """

    source: ClassVar[str] = ""
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]]
    balances: ClassVar[tuple[Balance, ...]] = ()
    tolerated_rejects: ClassVar[int] = 0

    @abstractmethod
    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields ``(table name, raw row)`` for one page; the row model validates it afterwards.

        Raises ``SourceContractError`` when the page as a whole cannot be read.
        """
