"""What a run has used, as facts for its mail."""

from __future__ import annotations

from typing import Any

from alerting.errors import PipelineError
from alerting.wording import current
from flows.log import partition_logger
from flows.run.run import Run
from scrapers.pace.quota import SharedQuota, account_period, used_by_source


def spent_facts(run: Run) -> dict[str, Any]:
    """Everything at the end of a run, its windows' last words included. Gives unused calls back. Blocking.

    The mail must leave also when shared counts or reports cannot be read.
    """
    if run.windows is not None:
        try:
            run.windows.look()
        except PipelineError as error:
            partition_logger().warning("the windows' last reports were not read: %s", error)
    return {**used_facts(run), **run.money_facts(), **_quota_facts(run)}


def give_back_calls(run: Run) -> None:
    """Gives unused calls back; where that fails it is tried again at the end. Blocking."""
    try:
        run.kit.give_back()
    except PipelineError as error:
        partition_logger().warning("unused calls were not given back yet: %s", error)


def used_facts(run: Run) -> dict[str, Any]:
    """Calls, waits, bytes and jobs so far, those of windows elsewhere as they last reported them."""
    elsewhere = run.tally.elsewhere
    return {
        "calls": run.tally.calls,
        "calls_failed": run.tally.failed_calls + int(elsewhere("failed_calls")),
        **run.units_facts(),
        "waited_for_limits_s": run.kit.budget.waited_s + elsewhere("waited_s"),
        "bytes_landed": (run.client.received_bytes if run.client else 0) + int(elsewhere("bytes_landed")),
        "bigquery_jobs": sum(receipt.job_count for receipt in run.tally.receipts),
        "bigquery_bytes": run.usage.billed_bytes,
    }


def _quota_facts(run: Run) -> dict[str, Any]:
    kit = run.kit
    rate, account = kit.quota.rate, kit.scraper.account
    unit, limit = account_period(rate)
    try:
        kit.give_back()
        left = kit.quota.left() if limit is not None else None
        accounts = {account: kit.quota, **kit.quotas_of_hosts} if account else {}
        told = "; ".join(_used_of(name, quota) for name, quota in accounts.items())
    except PipelineError as error:
        partition_logger().warning("quota not settled: %s", error)
        return {}
    if limit is None:
        return {"account": told}
    return {"account": told, "calls_left": left, "calls_budget": limit, "budget_resets_at": kit.budget.next_reset(unit)}


def _used_of(account: str, quota: SharedQuota) -> str:
    unit, _ = account_period(quota.rate)
    return f"{account}: {used_by_source(quota.counts().by_source[unit])} {current(unit)}"
