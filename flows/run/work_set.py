"""The partitions of a run, and how far those are that this process has under way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flows.planning.plan import Plan
from scrapers.manifest import Manifest
from scrapers.partition import Partition


@dataclass(frozen=True, slots=True)
class Landed:
    """A landed partition on its way to the tables.

    ``is_unchanged``: it came again as it was, so its rows are recounted, and loaded only if they are not right.
    """

    manifest: Manifest
    is_unchanged: bool = False

    @property
    def key(self) -> str:
        """Its partition."""
        return self.manifest.partition


class WorkSet:
    """What a run is about. Each key belongs to one thread at a time, so that its dictionaries need no lock."""

    def __init__(self) -> None:
        self.partitions: dict[str, Partition] = {}
        # Every key of the plan, and whether this run is to do something about it.
        self.planned: dict[str, bool] = {}
        # Landed in this process, and not handed over to loading yet.
        self.landed: dict[str, Landed] = {}
        # Of these, those that came again as they were, with the attempt that shows it; kept when they are handed over.
        self.came_unchanged: dict[str, str] = {}
        # Came again as they were, and need nothing more.
        self.unchanged: set[str] = set()
        # What a live run did while this one had paused for it.
        self.done_elsewhere: set[str] = set()
        # Landed, and not believed.
        self.quarantined: set[str] = set()

    def take_up(self, plan: Plan) -> None:
        """The partitions of ``plan``."""
        self.partitions = {item.partition.key: item.partition for item in plan.items}
        self.planned = {item.partition.key: item.path.is_work for item in plan.items}

    def add(self, landed: Landed) -> None:
        """Landed by this process, just now."""
        self.quarantined.discard(landed.key)
        self.landed[landed.key] = landed
        if landed.is_unchanged:
            self.came_unchanged[landed.key] = landed.manifest.attempt

    def hand_over(self, keys: Iterable[str]) -> list[Landed]:
        """Gives those of ``keys`` that are landed, in their order, and keeps them no longer."""
        return [landed for key in keys if (landed := self.landed.pop(key, None)) is not None]

    def leave_to_others(self, keys: Iterable[str]) -> None:
        """A live run has done these meanwhile."""
        for key in keys:
            self.done_elsewhere.add(key)
            self.landed.pop(key, None)
            self.came_unchanged.pop(key, None)

    def quarantine(self, key: str) -> None:
        """This one is not loaded, wherever it waits."""
        self.quarantined.add(key)
        self.landed.pop(key, None)

    def is_done(self, key: str) -> bool:
        """Whether nothing more has to be asked for: landed, unchanged, or done by a live run."""
        return any(key in done for done in (self.landed, self.unchanged, self.done_elsewhere))

    def is_wanted(self, key: str) -> bool:
        """Whether a landed partition is still to be loaded."""
        return key not in self.done_elsewhere and key not in self.quarantined
