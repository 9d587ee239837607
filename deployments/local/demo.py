"""``make run`` and ``make up``: the main job on the embedded stack, done exactly as a user would do it."""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from tqdm import tqdm

from alerting.errors import PipelineError
from deployments.local.stack import Stack
from deployments.provision import WORK_POOL, provision
from flows.backfill import backfill_id_of
from flows.ledger import Ledger
from flows.plan import make_plan, requested_partitions
from flows.wiring import Services, build_services
from scrapers.scrape import utc_now

SOURCE = "bdl_box_scores"
PROJECT_DIR = Path(__file__).parent.parent.parent
RUN_TIMEOUT_S = 900.0
POLL_S = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 (the backfill did not end well), 2 (usage) or 130 (Ctrl+C)."""
    parser = argparse.ArgumentParser(prog="python -m deployments.local.demo", description=__doc__)
    parser.add_argument("--up", action="store_true", help="start the stack, provision it, and leave it running")
    parser.add_argument("--state-dir", type=Path, default=Path(".gapless"))
    parser.add_argument("--start-date", default="2025-01-01")
    parser.add_argument("--end-date", default="2025-01-31")
    given = parser.parse_args(arguments)
    try:
        return _main(given)
    except KeyboardInterrupt:
        print("\ninterrupted; everything this command started is stopped", file=sys.stderr)
        return 130
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _main(given: argparse.Namespace) -> int:
    began = time.monotonic()
    stack = Stack(given.state_dir)
    already_up = stack.is_up()
    _say(f"{'using' if already_up else 'starting'} the embedded stack in {given.state_dir}/ ...")
    stack.up(detached=given.up or already_up)
    try:
        os.environ.update(stack.environment())
        provision(PROJECT_DIR)
        stack.start_worker(WORK_POOL)
        _say(f"stack ready after {time.monotonic() - began:.0f} s")
        if given.up:
            _say_where(stack, build_services())
            return 0
        code = run_main_job(stack, given.start_date, given.end_date)
        if not already_up:
            _say("The stack stops now and keeps its state and ports; `make up` opens the links above again.")
        return code
    finally:
        if not already_up and not given.up:
            stack.down()


def run_main_job(stack: Stack, start_date: str, end_date: str) -> int:
    """Runs the deployment over the range, shows its progress, and ends with what came of it."""
    services = build_services()
    calls_before = _upstream_calls(stack)
    scraper = services.scraper(SOURCE)
    partitions = requested_partitions(scraper, _date(start_date), _date(end_date), "", utc_now())
    plan = make_plan(scraper, partitions, Ledger(services.store, SOURCE).refresh())
    _say(plan.describe())
    run_id = start_deployment_run(
        f"backfill/{SOURCE}", {"start_date": start_date, "end_date": end_date, "reason": "make run"}
    )
    run = watch(services, run_id, [partition.key for partition in partitions])
    _report(stack, services, run, [partition.key for partition in partitions], _upstream_calls(stack) - calls_before)
    return 0 if run.state is not None and run.state.is_completed() else 1


def start_deployment_run(deployment: str, parameters: Mapping[str, str]) -> UUID:
    """``prefect deployment run`` as a user types it; returns the flow run's id."""
    command = [sys.executable, "-m", "prefect", "deployment", "run", deployment]
    for name, value in parameters.items():
        command += ["-p", f"{name}={value}"]
    _say("$ prefect deployment run " + " ".join(_quoted(part) for part in command[5:]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", done.stdout)
    if done.returncode or not found:
        raise PipelineError(f"prefect deployment run failed: {(done.stdout + done.stderr)[-800:]}", stage="run")
    return UUID(found.group(0))


def watch(services: Services, run_id: UUID, keys: Sequence[str]) -> FlowRun:
    """Follows a run until it has ended, with a bar on a terminal and plain lines elsewhere."""
    ledger = Ledger(services.store, SOURCE)
    began = time.monotonic()
    shown = -1
    with tqdm(total=len(keys), unit="date", disable=not sys.stderr.isatty(), leave=True) as bar:
        while True:
            run = asyncio.run(_read_run(run_id))
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
            time.sleep(POLL_S)


async def _read_run(run_id: UUID) -> FlowRun:
    async with get_client() as client:
        return await client.read_flow_run(run_id)


def _report(stack: Stack, services: Services, run: FlowRun, keys: Sequence[str], calls: int) -> None:
    scraper = services.scraper(SOURCE)
    partitions = requested_partitions(scraper, _date(keys[0]), _date(keys[-1]), "", utc_now())
    entries = Ledger(services.store, SOURCE).refresh(keys[0], keys[-1])
    verdicts = Counter(entries[key].verdict.value if key in entries else "planned" for key in keys)
    print()
    print(f"Range     {make_plan(scraper, partitions, entries).date_echo()}")
    print(f"Verdict   {run.state.message if run.state else run.state_name}")
    print(f"Dates     {', '.join(f'{count} {verdict}' for verdict, count in sorted(verdicts.items()))}")
    for table in services.processor(SOURCE).tables:
        print(f"Rows      {_count(services, table.name):>7,} in {services.settings.dataset}.{table.name}")
    print(f"Calls     {calls} to the upstream")
    mail = _newest_mail(stack, backfill_id_of(run.id, run.run_count or 1))
    print(f"Mail      {mail}")
    _say_where(stack, services, run)


def _say_where(stack: Stack, services: Services, run: FlowRun | None = None) -> None:
    urls = stack.urls()
    path = f"/runs/flow-run/{run.id}" if run else "/deployments"
    print(f"Prefect   {urls['prefect']}{path}")
    print(f"Inbox     {urls['inbox']}")
    print(f"Shell     source {stack.state_dir}/env   # then: prefect deployment run 'backfill/{SOURCE}' ...")
    if run is not None:
        print(f"Record    {services.store.root_uri}/runs/backfill={backfill_id_of(run.id, run.run_count or 1)}/")


def _newest_mail(stack: Stack, backfill_id: str) -> str:
    for message in _json(f"{stack.urls()['inbox']}/api/messages"):
        if message["headers"].get("X-Backfill-Id") == backfill_id:
            return f"{message['subject']}  {stack.urls()['inbox']}/messages/{message['id']}"
    return "none arrived"


def _upstream_calls(stack: Stack) -> int:
    return int(_json(f"{stack.urls()['upstream']}/gapless/calls")["total"])


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


if __name__ == "__main__":
    sys.exit(main())
