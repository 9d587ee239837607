"""All patches of bqemulator, installed in one place; README.md lists them with the faults they mend."""

from __future__ import annotations

from deployments.local.bigquery_emulator import (
    answering,
    contracts,
    engine,
    jobs,
    parsing,
    partitions,
    queries,
    records,
    shapes,
    statements,
    views,
)
from deployments.local.bigquery_emulator.googlesql import GoogleSql
from deployments.local.bigquery_emulator.quota import Quota


def install(quota: Quota, analyzer: GoogleSql) -> None:
    """Patches bqemulator in this process, for good.

    Args:
        quota: Limits of the emulator that this process starts next.
        analyzer: Reads every statement before it runs.
    """
    answering.install()
    engine.install()
    records.install()
    parsing.install()
    shapes.install()
    contracts.install()
    views.install()
    statements.install(statements.Statements(analyzer))
    partitions.install()
    all_jobs = jobs.Jobs(quota)
    jobs.install(all_jobs)
    queries.install(all_jobs)
