"""An orchestrator without a server: what Prefect does for a run, done by plain calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from alerting.errors import TransientError
from flows.run.orchestrator import Child, Decision, Part

R = TypeVar("R")


class PlainOrchestrator:
    """Every part and every step runs once, in this process; with ``tries_again`` a step as often as the settings say.

    Nothing is waited for between two tries. What a part raises is in ``raised``.
    """

    def __init__(self, *, tries_again: bool = False) -> None:
        self._tries_again = tries_again
        self.raised: list[Exception] = []

    async def subflow(self, flow: Any, parameters: Mapping[str, Any], part: Part) -> None:
        try:
            await part()
        except Exception as error:
            self.raised.append(error)

    async def step(
        self, name: str, label: str, work: Callable[[], Awaitable[R]], retry_delays_s: Sequence[float]
    ) -> R | BaseException:
        tries_left = len(retry_delays_s) if self._tries_again else 0
        while True:
            try:
                return await work()
            except Exception as error:
                if not tries_left or not isinstance(error, TransientError):
                    return error
                tries_left -= 1

    async def decision(self, round_: int, told: Sequence[str], timeout_s: float) -> Decision | None:
        return None

    async def workers(self, deployment: str) -> int | None:
        return 0

    async def child(
        self,
        deployment: str,
        parameters: Mapping[str, Any],
        label: str,
        idempotency_key: str,
        given_up: Callable[[str], str],
    ) -> Child:
        raise ValueError(f"there is no {deployment} without a server")
