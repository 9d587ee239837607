"""What a source declares about its rows: tables, row models, keys, and how a page becomes rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from scrapers.partition import Partition


class Row(BaseModel):
    """Base of row models: the model is the table's schema and its documentation.

    Unknown fields are refused, so that a renamed field upstream is a reject and never a lost column.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Table:
    """One BigQuery table: partitioned by day on the DATE column ``partition_field``, clustered on ``key``.

    ``key`` is unique over the whole table.
    """

    name: str
    model: type[Row]
    key: tuple[str, ...]
    partition_field: str
    parent: tuple[str, tuple[str, ...]] | None = None
    critical: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that broke the contract, kept with its reason."""

    table: str
    reason: str
    raw: str


class Processor(ABC):
    """Turns the pages of one source into rows. No I/O, no clock: the same bytes give the same rows."""

    source: ClassVar[str] = ""
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]]

    @abstractmethod
    def rows(self, partition: Partition, body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields ``(table name, raw row)`` for one page; the row model validates it afterwards.

        Raises ``SourceContractError`` when the page as a whole cannot be read.
        """
