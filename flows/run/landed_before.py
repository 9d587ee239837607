"""Landed partitions of an earlier run or of another process, read again from their manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alerting.errors import LandingDamaged, PipelineError, Truncated
from flows.run.recording import record_failure
from flows.run.run import Run
from flows.run.work_set import Landed
from scrapers.partition import Partition


async def read_landed(
    run: Run, partitions: Sequence[Partition], refused: list[Partition] | None = None
) -> list[Landed]:
    """What the ledger calls landed; a manifest that is damaged or no evidence becomes an incident.

    Unless ``refused`` takes its partition.
    """
    same = run.windows.unchanged() if run.windows is not None else {}

    def read(partition: Partition) -> Landed | None:
        key = partition.key
        entry = run.ledger.get(key)
        if entry and key in same:
            entry = replace(entry, attempt=same[key])
        try:
            name = entry.manifest_name if entry else ""
            return Landed(run.services.landing.take_up(name, run.kit.scraper), is_unchanged=key in same)
        except PipelineError as error:
            if refused is not None and isinstance(error, LandingDamaged | Truncated):
                refused.append(partition)
            else:
                record_failure(run, key, error, "load", key)
            return None

    return [one for one in await run.in_thread_each(read, partitions) if one is not None]
