"""The rate that windows share by Prefect's server: its global limit, on the virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from prefect.exceptions import PrefectHTTPStatusError

from alerting.errors import SourceUnavailable
from flows.child_runs.shared_rate import PrefectLimit, bucket, calls_per_second
from flows.child_runs.window import WorkerKit
from flows.simulate.faults import OF_CHANNEL, OF_READ, Process
from scrapers.rate import Rate

if TYPE_CHECKING:
    from flows.simulate.virtual_time import VirtualClock

_REFUSED_FOR_NOW = 423


@dataclass
class ServerLimits:
    """The global limits of one simulated server, by name, each as it was provisioned for its rate."""

    clock: VirtualClock
    taken: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Slots that are not free, and since when that is so."""

    def active(self, name: str, decay: float) -> int:
        """Slots that are not free now. What has become free is counted in whole slots, as on a server."""
        slots, at_s = self.taken.get(name, (0, self.clock.now_s))
        return max(0, slots - int(decay * (self.clock.now_s - at_s)))


class _Client:
    """What `PrefectLimit` asks of a client, as one process has it."""

    def __init__(self, limits: ServerLimits, rate: Rate, process: Process) -> None:
        self._limits, self._process = limits, process
        self._limit, self._decay = bucket(rate) or (0, 0.0)

    def read_global_concurrency_limit_by_name(self, name: str) -> Any:
        with self._process.doing("server", f"look at limit {name}", OF_READ, _no_server):
            active = self._limits.active(name, self._decay)
            return SimpleNamespace(limit=self._limit, slot_decay_per_second=self._decay, active_slots=active)

    def increment_concurrency_slots(self, names: list[str], slots: int, mode: str) -> None:
        (name,) = names
        with self._process.doing("server", f"take of limit {name}", OF_CHANNEL, _no_server):
            active = self._limits.active(name, self._decay)
            if active + slots > self._limit:
                refused = SimpleNamespace(status_code=_REFUSED_FOR_NOW)
                raise PrefectHTTPStatusError("locked", request=cast("Any", None), response=cast("Any", refused))
            self._limits.taken[name] = active + slots, self._limits.clock.now_s

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


class SimulatedLimit(PrefectLimit):
    """Its own code, with the simulated server."""

    def __init__(self, source: str, rate: Rate, limits: ServerLimits, process: Process) -> None:
        super().__init__(source, calls_per_second(rate) or 0.0)
        self._asked = _Client(limits, rate, process)

    def _connected(self) -> Any:
        return self._asked


class SimulatedWorkerKit(WorkerKit):
    """See `flows.child_runs.window.WorkerKit`; its services are simulated ones."""

    @cached_property
    def limit(self) -> PrefectLimit | None:
        """Of the simulated server."""
        services: Any = self.services
        return SimulatedLimit(self.source, self.access.rate, services.world.limits, services.process)


def _no_server() -> Exception:
    return SourceUnavailable("Prefect's server does not answer (simulated)", stage="scrape")
