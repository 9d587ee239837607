"""What a run needs of whatever runs it: parts that are shown as runs of their own, and steps that are tried again.

The window, the batch and the canary know this protocol and no server. `flows.run.prefect_orchestrator` is Prefect's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from prefect import Flow
from prefect.client.schemas.objects import State

R = TypeVar("R")


class Decided(StrEnum):
    """What becomes of rows that wait for approval."""

    PUBLISH = "publish"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision about a review, and who it was."""

    choice: Decided
    by: str
    reason: str = ""


Part = Callable[[], Awaitable[State[Any]]]
"""What a subflow does, with everything that no parameter of a flow could carry."""


@dataclass(frozen=True, slots=True)
class Child:
    """How a run of a deployment ended, in whatever process: ``state`` in one word, and what it said."""

    id: str
    state: str
    message: str = ""
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class ChildRequest:
    """A deployment to run with ``parameters``, seen as ``label``. The same key gives the same child again.

    ``given_up`` says why the child of an id is not waited for any more, "" while it is.
    """

    deployment: str
    parameters: Mapping[str, Any]
    label: str
    idempotency_key: str
    given_up: Callable[[str], str]


class Orchestrator(Protocol):
    """One per process. What a part or a step raises is its result, and stops nobody beside it."""

    async def subflow(self, flow: Flow[..., Any], parameters: Mapping[str, Any], part: Part) -> None:
        """Does ``part`` in this process, seen as a run of ``flow`` with ``parameters``."""

    async def step(
        self, name: str, label: str, work: Callable[[], Awaitable[R]], retry_delays_s: Sequence[float]
    ) -> R | BaseException:
        """Does ``work``, and again after each delay while it fails for a passing reason; ``label`` is for people."""

    async def decision(self, round_: int, told: Sequence[str], timeout_s: float) -> Decision | None:
        """Suspends this run until a person, who is ``told`` what it is about, has decided.

        Asked again for the same round, it gives what was decided. None where runs cannot be suspended: the decision
        comes from elsewhere then.
        """

    async def workers(self, deployment: str) -> int | None:
        """How many workers could run it now; None where a machine is begun for each run."""

    async def child(self, request: ChildRequest) -> Child:
        """Runs a deployment, whose worker may be elsewhere, until it has ended, was deleted, or is given up.

        ``given_up`` is asked again and again; such a child is ended. Raises ``ValueError`` when there is no such
        deployment.
        """
