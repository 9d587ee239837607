"""``make run``, ``make season`` and ``make up``: the embedded stack, provisioned, and a job done on it as by a user."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alerting.errors import PipelineError
from deployments.local.stack import Stack
from deployments.local.stack_state import writable
from deployments.local.weather import WEATHERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, 1 (the backfill did not end well), 2 (usage) or 130 (Ctrl+C)."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.local.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--up", action="store_true", help="start the stack, provision it, and leave it running")
    parser.add_argument("--state-dir", type=Path, default=Path(".gapless"))
    parser.add_argument("--weather", choices=sorted(WEATHERS), default="", help="what lies between it and its servers")
    parser.add_argument("--start-date", default="2025-01-01")
    parser.add_argument("--end-date", default="2025-01-31")
    parser.add_argument("--season", default="", metavar="2024-25", help="all NBA sources instead, with troubles")
    parser.add_argument("--dates", nargs=2, metavar=("FIRST", "LAST"), help="only these dates of all NBA sources")
    parser.add_argument("--kills", type=int, default=3, help="of the season's run, each begun again")
    given = parser.parse_args(arguments)
    try:
        with writable(given.state_dir):
            return _main(given)
    except KeyboardInterrupt:
        print("\ninterrupted; everything this command started is stopped", file=sys.stderr)
        return 130
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _main(given: argparse.Namespace) -> int:
    began = time.monotonic()
    stack = Stack(given.state_dir, weather=given.weather)
    was_up = stack.is_up()
    print(f"{'using' if was_up else 'starting'} the embedded stack in {given.state_dir}/ ...", flush=True)
    is_season = bool(given.season or given.dates)
    stack.up(detached=given.up or was_up, meanwhile=lambda: make_tables(stack, is_season=is_season))
    try:
        provisioning_s = start_work(stack, is_season=is_season)
        print(
            f"stack ready after {time.monotonic() - began:.0f} s, {provisioning_s:.0f} s of it provisioning", flush=True
        )
        if given.up:
            _say_where(stack)
            return 0
        if is_season:
            season_job = importlib.import_module("deployments.local.season_job")
            code: int = season_job.run_season_of(stack, given.season, given.dates, given.kills)
        else:
            main_job = importlib.import_module("deployments.local.main_job")
            code = main_job.run_main_job(stack, given.start_date, given.end_date)
        _say_where(stack)
        if not was_up:
            print("The stack stops now and keeps its state and ports; `make up` opens the links above again.")
        return code
    finally:
        if not was_up and not given.up:
            stack.down()


def start_work(stack: Stack, *, is_season: bool = False) -> float:
    """Provisions a running stack and starts its worker; returns the seconds that provisioning took.

    From here on this process talks to that stack.
    """
    provisioning = _provisioning_of(stack, is_season)
    began = time.monotonic()
    provisioning.provision()
    took_s = time.monotonic() - began
    stack.start_worker(provisioning.WORK_POOL)
    return took_s


def make_tables(stack: Stack, *, is_season: bool = False) -> None:
    """Bucket, dataset and tables, of which `start_work` then finds that they are there; they need no Prefect server."""
    provisioning = _provisioning_of(stack, is_season)
    provisioning.provision_storage(provisioning.build_services())


def _provisioning_of(stack: Stack, is_season: bool) -> Any:
    """Everything that imports Prefect is imported here, after the environment names the stack's server, because Prefect
    reads its settings at import. Those of another server and profile have no business here."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(stack.environment())
    if is_season:
        os.environ.update(importlib.import_module("deployments.local.season_job").ENVIRONMENT)
    return importlib.import_module("deployments.provision")


def _say_where(stack: Stack) -> None:
    urls = stack.urls()
    print(f"Prefect   {urls['prefect']}; open this once to sign your browser in: {stack.sign_in_page.as_uri()}")
    print(f"Inbox     {urls['inbox']}")
    print(f"Shell     source {shlex.quote(str(stack.state_dir / 'env'))}   # then: gapless run ... as in the README")


if __name__ == "__main__":
    sys.exit(main())
