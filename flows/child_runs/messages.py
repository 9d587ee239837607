"""How the parent of a distributed run and its windows, which run in other processes, talk: by objects in the bucket.

The parent writes one object of orders: why nothing may begin, or why all is over. Every window writes one report: what
it has used, what became of its partitions, and under which orders it stands still. Both are small and written only when
they change (a report also with every heartbeat), so that a year of dates costs no more than a month.

Neither side can miss the other: a window writes its first report before it reads the orders, and the parent lists
the reports after it wrote the orders. Whoever comes later sees the other.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting import errors
from alerting.errors import CriticalError
from alerting.object_store import ObjectMissing, ObjectStore
from alerting.versioned_record import VersionedRecord, unreadable
from flows.ledger.month_rows import MonthRows
from flows.planning.stored_plan import run_prefix


class Stop(BaseModel):
    """A critical error on its way to another process: class, message, and the facts that decide what follows."""

    model_config = ConfigDict(frozen=True)

    error_type: str
    message: str
    abort: str = ""
    resets_at: str = ""

    @classmethod
    def of(cls, error: CriticalError) -> Stop:
        """What the other side has to know of ``error``."""
        facts = {name: str(error.facts.get(name) or "") for name in ("abort", "resets_at")}
        return cls(error_type=type(error).__name__, message=error.message, **facts)

    def as_error(self, source: str) -> CriticalError:
        """The error again; an unknown class is ``CriticalError``."""
        found = getattr(errors, self.error_type, CriticalError)
        kind = found if isinstance(found, type) and issubclass(found, CriticalError) else CriticalError
        facts: dict[str, Any] = {name: value for name in ("abort", "resets_at") if (value := getattr(self, name))}
        error: CriticalError = kind(self.message, source=source, **facts)
        return error


class Orders(BaseModel):
    """What the parent says: reasons to begin nothing for now, or the reason to end.

    ``probe`` is the number of the one date that may be tried all the same, by the window whose report is ``prober``.
    Windows whose reports are ``given_up`` have to end, should they live after all: others do their dates. Of a window
    that waits to be ``judged``, the number of outcomes that were heard of it before this was written.
    """

    model_config = ConfigDict(frozen=True)

    closed_by: frozenset[str] = frozenset()
    stop: Stop | None = None
    probe: int = 0
    prober: str = ""
    given_up: frozenset[str] = frozenset()
    judged: dict[str, int] = {}


class Outcome(BaseModel):
    """What became of one partition in a window: ``cause`` "" is landed; ``answer_s`` is the source's own time.

    With ``probe`` it is how the probe of that number ended, and no partition's outcome.
    """

    model_config = ConfigDict(frozen=True)

    cause: str = ""
    rate_limited: bool = False
    transient: bool = False
    contract: bool = False
    answer_s: float | None = None
    probe: int = 0


class Report(BaseModel):
    """What a window says. Numbers are totals since it began; ``orders`` is the generation that it follows.

    ``unchanged`` is what a full run got again as it was, partition -> attempt: such have no new verdict in the ledger.
    A window that ``holds`` has failed some times in a row, and begins nothing until the parent has judged that.
    """

    model_config = ConfigDict(frozen=True)

    calls: int = 0
    failed_calls: int = 0
    units: int = 0
    bytes_landed: int = 0
    waited_s: float = 0.0
    landed_rows: int = 0
    landed_months: dict[int, MonthRows] = {}
    storage_writes: int = 0
    storage_reads: int = 0
    outcomes: tuple[Outcome, ...] = ()
    unchanged: dict[str, str] = {}
    orders: int = 0
    is_idle: bool = True
    stop: Stop | None = None
    holds: bool = False
    ended: bool = False


def orders_name(backfill_id: str) -> str:
    """Where the orders of a run lie."""
    return f"{run_prefix(backfill_id)}orders.json"


def reports_prefix(backfill_id: str) -> str:
    """Where the reports of a run's windows lie."""
    return f"{run_prefix(backfill_id)}windows/"


def report_name(backfill_id: str, window_id: str) -> str:
    """Where one window's report lies; ``window_id`` is its flow run's."""
    return f"{reports_prefix(backfill_id)}{window_id}.json"


_ORDERS, _REPORT = TypeAdapter(Orders), TypeAdapter(Report)


def _orders_of(store: ObjectStore, backfill_id: str) -> VersionedRecord[Orders]:
    return VersionedRecord(store, orders_name(backfill_id), _ORDERS, stage="window")


def _report_at(store: ObjectStore, name: str) -> VersionedRecord[Report]:
    return VersionedRecord(store, name, _REPORT, stage="window")


def write_orders(store: ObjectStore, backfill_id: str, orders: Orders) -> int:
    """Only the parent writes them; returns the generation that windows will name."""
    return _orders_of(store, backfill_id).put(orders).generation


def read_orders(store: ObjectStore, backfill_id: str) -> tuple[Orders, int]:
    """The orders and their generation; generation 0 is "none were given". Raises ``StateUnreadable``."""
    return _orders_of(store, backfill_id).version() or (Orders(), 0)


def write_report(store: ObjectStore, backfill_id: str, window_id: str, report: Report) -> None:
    """Only the window writes its own."""
    _report_at(store, report_name(backfill_id, window_id)).put(report)


def read_report(store: ObjectStore, name: str) -> Report:
    """Of a window that was listed. Raises ``StateUnreadable``, also when it is gone."""
    report = _report_at(store, name).read()
    if report is None:
        raise unreadable(store, name, ObjectMissing(name), stage="window")
    return report
