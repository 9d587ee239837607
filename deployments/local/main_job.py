"""The main job as a user does it: run the deployment, watch it, see what came of it.

Imported once the environment names the stack: Prefect reads its settings at import.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from tqdm import tqdm

from alerting.errors import PipelineError
from alerting.instant import utc_now
from deployments.local.stack import Stack
from flows.pages import artifact_key, run_page
from flows.planning.plan import make_plan
from flows.planning.requested import Selection, requested_partitions
from flows.run_id import backfill_id_of
from flows.wiring import Services, build_services

SOURCE = "bdl_box_scores"
RUN_TIMEOUT_S = 900.0
POLL_S = 0.5


def run_main_job(stack: Stack, start_date: str, end_date: str) -> int:
    """Runs the deployment over the range, shows its progress, and ends with what came of it.

    Raises ``ChildFailed`` when a child of the stack ends meanwhile.
    """
    services, urls = build_services(), stack.urls()
    calls_before = _upstream_calls(urls)
    scraper = services.source_kit(SOURCE).scraper
    partitions = requested_partitions(scraper, Selection(_date(start_date), _date(end_date)), utc_now())
    plan = make_plan(scraper, partitions, services.source_kit(SOURCE).ledger.refresh())
    _say(plan.describe())
    run_id = start_deployment_run(
        f"backfill/{SOURCE}", {"start_date": start_date, "end_date": end_date, "reason": "test", "note": "make run"}
    )
    run = watch(stack, services, run_id, [partition.key for partition in partitions])
    _report(urls, services, run, [partition.key for partition in partitions], _upstream_calls(urls) - calls_before)
    return 0 if run.state is not None and run.state.is_completed() else 1


def start_deployment_run(deployment: str, parameters: Mapping[str, str]) -> UUID:
    """``prefect deployment run`` as a user types it; returns the flow run's id."""
    command = [sys.executable, "-m", "prefect", "deployment", "run", deployment]
    for name, value in parameters.items():
        command += ["-p", f"{name}={value}"]
    _say("$ prefect deployment run " + " ".join(_quoted(part) for part in command[5:]))
    # Its tables have characters that no terminal of another character set takes; it would fail with the run begun.
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", env=environment, timeout=120, check=False
    )
    found = re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", done.stdout)
    if done.returncode or not found:
        raise PipelineError(f"prefect deployment run failed: {(done.stdout + done.stderr)[-800:]}", stage="run")
    return UUID(found.group(0))


def watch(stack: Stack, services: Services, run_id: UUID, keys: Sequence[str]) -> FlowRun:
    """Follows a run until it has ended, with a bar on a terminal and plain lines elsewhere.

    Raises ``ChildFailed`` when a child of the stack ends before it.
    """
    ledger = services.source_kit(SOURCE).ledger
    began = time.monotonic()
    shown = -1
    with tqdm(total=len(keys), unit="date", disable=not sys.stderr.isatty(), leave=True) as bar:
        while True:
            run = asyncio.run(read_run(run_id))
            entries = ledger.refresh(keys[0], keys[-1])
            done = sum(1 for key in keys if key in entries and entries[key].verdict.is_good)
            landed = sum(1 for key in keys if key in entries and entries[key].landed)
            bar.update(done - bar.n)
            bar.set_postfix_str(f"{landed} landed, {run.state_name}")
            if bar.disable and done + landed != shown:
                shown = done + landed
                _say(f"{run.state_name}: {landed}/{len(keys)} landed, {done}/{len(keys)} verified")
            if run.state is not None and run.state.is_final():
                return run
            if time.monotonic() - began > RUN_TIMEOUT_S:
                raise PipelineError(f"run {run_id} has not ended after {RUN_TIMEOUT_S:.0f} s", stage="run")
            stack.refuse_ended()
            time.sleep(POLL_S)


async def read_run(run_id: UUID) -> FlowRun:
    """The flow run as the server has it."""
    async with get_client() as client:
        return await client.read_flow_run(run_id)


def _report(urls: Mapping[str, str], services: Services, run: FlowRun, keys: Sequence[str], calls: int) -> None:
    scraper = services.source_kit(SOURCE).scraper
    partitions = requested_partitions(scraper, Selection(_date(keys[0]), _date(keys[-1])), utc_now())
    entries = services.source_kit(SOURCE).ledger.refresh(keys[0], keys[-1])
    verdicts = Counter(entries[key].verdict.value if key in entries else "planned" for key in keys)
    print()
    print(f"Range     {make_plan(scraper, partitions, entries).date_echo()}")
    print(f"Verdict   {run.state.message if run.state else run.state_name}")
    print(f"Dates     {', '.join(f'{count} {verdict}' for verdict, count in sorted(verdicts.items()))}")
    for table in services.source_kit(SOURCE).processor.tables:
        print(f"Rows      {_count(services, table.name):>7,} in {services.settings.dataset}.{table.name}")
    print(f"Calls     {calls} to the upstream")
    mail = _newest_mail(urls, backfill_id_of(run.id, run.run_count or 1))
    print(f"Mail      {mail}")
    print(f"Run       {run_page(urls['prefect'], run.id)}")
    print(f"Coverage  {asyncio.run(_coverage_link(urls, run))}")
    print(f"Record    {services.store.root_uri}/runs/backfill={backfill_id_of(run.id, run.run_count or 1)}/")


async def _coverage_link(urls: Mapping[str, str], run: FlowRun) -> str:
    """Where the UI shows the calendar that the run left behind."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=[artifact_key("coverage", SOURCE)]),
                flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
            ),
            limit=1,
        )
    return f"{urls['prefect']}/v2/artifacts/artifact/{found[0].id}" if found else "none: the run did not get that far"


def _newest_mail(urls: Mapping[str, str], backfill_id: str) -> str:
    for message in _json(f"{urls['inbox']}/api/messages"):
        if message["headers"].get("X-Backfill-Id") == backfill_id:
            return f"{message['subject']}  {urls['inbox']}/messages/{message['id']}"
    return "none arrived"


def _upstream_calls(urls: Mapping[str, str]) -> int:
    return int(_json(f"{urls['upstream']}/gapless/calls")["total"])


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own children on 127.0.0.1
        return json.load(answer)


def _count(services: Services, table: str) -> int:
    found = services.warehouse.query(f"SELECT COUNT(*) AS n FROM {services.warehouse.name_of(table)}")  # noqa: S608
    return int(found[0]["n"])


def _date(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def _quoted(part: str) -> str:
    return f"'{part}'" if " " in part else part


def _say(text: str) -> None:
    print(text, flush=True)
