"""The partitions of a run, and how far those are that this process has under way."""

from __future__ import annotations

from collections.abc import Iterable

from flows.planning.plan import Plan
from scrapers.manifest import Manifest
from scrapers.partition import Partition


class WorkSet:
    """What a run is about. Each key belongs to one thread at a time, so that its dictionaries need no lock."""

    def __init__(self) -> None:
        self.partitions: dict[str, Partition] = {}
        # Every key of the plan, and whether this run is to do something about it.
        self.planned: dict[str, bool] = {}
        # Landed, to be loaded.
        self.manifests: dict[str, Manifest] = {}
        # A full run recounts good partitions that came again as they were, and loads only those that are not right.
        self.to_recount: dict[str, Manifest] = {}
        # Came again as they were, and need nothing more.
        self.unchanged: set[str] = set()
        # What a live run did while this one had paused for it.
        self.done_elsewhere: set[str] = set()

    def take_up(self, plan: Plan) -> None:
        """The partitions of ``plan``."""
        self.partitions = {item.partition.key: item.partition for item in plan.items}
        self.planned = {item.partition.key: item.path.is_work for item in plan.items}

    def is_done(self, key: str) -> bool:
        """Whether nothing more has to be asked for: landed, unchanged, or done by a live run."""
        return any(key in done for done in (self.manifests, self.to_recount, self.unchanged, self.done_elsewhere))

    def leave_to_others(self, keys: Iterable[str]) -> None:
        """Drops what a live run has done meanwhile."""
        for key in keys:
            self.done_elsewhere.add(key)
            self.manifests.pop(key, None)
            self.to_recount.pop(key, None)
