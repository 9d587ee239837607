"""An orchestrator without a server: what Prefect does for a run, done by plain calls in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from prefect.client.schemas.objects import State

from alerting.errors import TransientError
from flows.run.orchestrator import Child, ChildRequest, Decision, Part

R = TypeVar("R")


async def _no_wait(_: float) -> None:
    """Tests have no time."""


class PlainOrchestrator:
    """See `flows.run.orchestrator.Orchestrator`: parts and steps as plain calls, and no run has children.

    Args:
        tries_again: A step that fails for a passing reason is tried as often as the settings say; else once.
        wait: Takes the seconds between two tries; by default there are none.

    Attributes:
        states: What parts came to, in the order of their ends.
        raised: What parts raised, in its order: it stops nobody beside them.
    """

    def __init__(self, *, tries_again: bool = False, wait: Callable[[float], Awaitable[object]] = _no_wait) -> None:
        self._tries_again, self._wait = tries_again, wait
        self.states: list[State[Any]] = []
        self.raised: list[Exception] = []

    async def subflow(self, flow: Any, parameters: Mapping[str, Any], part: Part) -> None:
        """See the protocol."""
        try:
            self.states.append(await part())
        except Exception as error:
            self.raised.append(error)

    async def step(
        self,
        name: str,
        label: str,
        work: Callable[[], Awaitable[R]],
        retry_delays_s: Sequence[float],
    ) -> R | BaseException:
        """See the protocol."""
        delays_s = list(retry_delays_s) if self._tries_again else []
        while True:
            try:
                return await work()
            except Exception as error:
                if not delays_s or not isinstance(error, TransientError):
                    return error
                await self._wait(delays_s.pop(0))

    async def decision(self, round_: int, told: Sequence[str], timeout_s: float) -> Decision | None:
        """Nobody decides."""
        return None

    async def workers(self, deployment: str) -> int | None:
        """There are no other processes."""
        return 0

    async def child(self, request: ChildRequest) -> Child:
        """There are no other processes."""
        raise ValueError(f"there is no {request.deployment} without a server")
