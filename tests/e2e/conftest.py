"""The whole embedded stack for end-to-end and fault tests: real server, worker, emulators, SMTP, sample upstream."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployments.local.stack import Stack
from flows.parameters import Advanced, AdvancedFamily, grouped
from scrapers.registry import families

# Tests are no package, so the file beside this one is loaded by its path.
_spec = importlib.util.spec_from_file_location("e2e_fleet", Path(__file__).with_name("fleet.py"))
assert _spec is not None
assert _spec.loader is not None
_fleet = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fleet)
postgres, fleet, far_fleet = _fleet.postgres, _fleet.fleet, _fleet.far_fleet

PROJECT_DIR = Path(__file__).parent.parent.parent
SOURCE = "bdl_box_scores"
RUN_TIMEOUT_S = 240.0
# Short waits, so that exhausted retries and dead leases take seconds.
TEST_SETTINGS = {
    "GAPLESS_RETRY_DELAYS_S": "[0.2, 0.4]",
    # A source that is down ends a run at once; the test of waiting for it asks for that.
    "GAPLESS_BREAKER_PROBES": "0",
    "GAPLESS_LEASE_TTL_S": "20",
    "GAPLESS_HEARTBEAT_S": "2",
    "GAPLESS_MAIL_FROM": "gapless@example.org",
    "GAPLESS_MAIL_TO": "you@example.org",
}


@dataclass
class Ended:
    """A flow run that has ended."""

    id: str
    state_type: str
    message: str
    run_count: int
    backfill_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.backfill_id = f"bf-{self.id.replace('-', '')[:12]}"


@dataclass
class Bench:
    """What a user of the stack can do, through the same doors."""

    stack: Stack
    env: dict[str, str]

    def cli(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """``prefect <arguments>``."""
        return subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def shell(self, command: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """A command in a shell, as a person pastes it: the installed ``gapless`` and ``prefect`` are on its path."""
        path = os.pathsep.join([str(Path(sys.executable).parent), self.env.get("PATH", "")])
        return subprocess.run(
            ["bash", "-c", command],
            env={**self.env, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(
        self,
        start_date: str,
        end_date: str,
        *,
        deployment: str = f"backfill/{SOURCE}",
        env: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> str:
        """Starts the deployment as a user does; returns the flow run id."""
        given = {"start_date": start_date, "end_date": end_date, "reason": "test", **parameters}
        return self.start_deployment(deployment, env=env, **given)

    def start_deployment(self, deployment: str, *, env: Mapping[str, str] | None = None, **parameters: Any) -> str:
        """``prefect deployment run``; returns the flow run id. Parameters of a backfill are put into its group."""
        kind, _, named = deployment.partition("/")
        if kind == "backfill":
            parameters = grouped(parameters, AdvancedFamily if named in families() else Advanced)
        arguments = ["deployment", "run", deployment]
        for name, value in parameters.items():
            arguments += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        if env:
            arguments += ["--job-variable", f"env={json.dumps(dict(env))}"]
        done = self.cli(*arguments)
        found = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout)
        assert found, done.stdout + done.stderr
        return found.group(0)

    def wait(self, run_id: str, timeout_s: float = RUN_TIMEOUT_S) -> Ended:
        """Waits for the end of a flow run."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            run = self.api(f"/flow_runs/{run_id}")
            if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return Ended(run_id, run["state_type"], run["state"]["message"] or "", run["run_count"])
            time.sleep(0.3)
        raise AssertionError(f"run {run_id} is {run['state_name']} after {timeout_s} s")

    def run(self, start_date: str, end_date: str, **rest: Any) -> Ended:
        """Starts and waits."""
        return self.wait(self.start(start_date, end_date, **rest))

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """The Prefect API."""
        token = base64.b64encode(self.env["PREFECT_API_AUTH_STRING"].encode()).decode()
        return _json(self.env["PREFECT_API_URL"] + path, body, method, authorization=f"Basic {token}")

    def task_runs_of_children(self, run_id: str, named: str, count: int) -> list[dict[str, Any]]:
        """The task runs of a run's subflows whose names begin so, when there are ``count`` that have ended, by name."""
        asked = {
            "flow_runs": {"parent_flow_run_id": {"any_": [run_id]}},
            "task_runs": {"name": {"like_": named}},
            "limit": 200,
        }
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = self.api("/task_runs/filter", asked)
            if sum(run["end_time"] is not None for run in found) >= count:
                break
            time.sleep(0.3)
        return sorted(found, key=lambda run: str(run["name"]))

    def upstream(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """The sample upstream's control API."""
        return _json(self.stack.urls()["upstream"] + path, body, method)

    def trouble(self, *rules: dict[str, Any]) -> None:
        """Replaces the upstream's trouble rules."""
        self.upstream("/gapless/trouble", method="DELETE")
        if rules:
            self.upstream("/gapless/trouble", list(rules))

    def calls(self) -> Any:
        """What the upstream was asked since ``forget_calls``."""
        return self.upstream("/gapless/calls")

    def forget_calls(self) -> None:
        """Starts counting again."""
        self.upstream("/gapless/calls", method="DELETE")

    def mails_of_a_dead_run(self, backfill_id: str, count: int) -> list[dict[str, Any]]:
        """Its mails, when there are ``count``: the watchdog that Prefect starts for a run that crashed may be at work
        on them while one that a test starts has nothing left to do."""
        deadline = time.monotonic() + 60
        while len(found := self.mails(backfill_id)) < count:
            assert time.monotonic() < deadline, [mail["subject"] for mail in found]
            time.sleep(0.2)
        return found

    def mails(self, backfill_id: str) -> list[dict[str, Any]]:
        """Mails of one backfill, oldest first."""
        inbox = self.stack.urls()["inbox"]
        found = [
            message
            for message in _json(f"{inbox}/api/messages")
            if message["headers"].get("X-Backfill-Id") == backfill_id
        ]
        return [_json(f"{inbox}/api/messages/{message['id']}") | message for message in reversed(found)]

    def provision(self) -> None:
        """Work pool, limits, bucket, dataset, tables and deployments, as ``make up`` makes them."""
        done = subprocess.run(
            [sys.executable, "-m", "deployments.provision"],
            cwd=PROJECT_DIR,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def inbox_trouble(self, mode: str, **rest: Any) -> None:
        """Orders trouble from the SMTP server."""
        _json(f"{self.stack.urls()['inbox']}/api/trouble", {"mode": mode, **rest})

    def table_hash(self, table: str, start_date: str, end_date: str) -> tuple[int, str]:
        """Row count and ordered content hash of the range in BigQuery."""
        from flows.wiring import build_services

        warehouse = build_services().warehouse
        rows = warehouse.query(
            f"SELECT TO_JSON_STRING(t) AS j FROM {warehouse.name_of(table)} t "
            f"WHERE game_date BETWEEN DATE '{start_date}' AND DATE '{end_date}' ORDER BY j"
        )
        return len(rows), hashlib.sha256("\n".join(row["j"] for row in rows).encode()).hexdigest()

    def forget(self, start_date: str, end_date: str) -> None:
        """Removes ledger and rows of the range, as if it had never been asked for; landed payloads stay."""
        from flows.wiring import build_services

        services = build_services()
        prefix = f"ledger/source={SOURCE}/"
        for found in services.store.list(
            prefix, start_offset=prefix + start_date, end_offset=f"{prefix}{end_date}.json~"
        ):
            services.store.delete(found.name)
        for table in services.source_kit(SOURCE).processor.tables:
            services.warehouse.query(
                f"DELETE FROM {services.warehouse.name_of(table.name)} "
                f"WHERE game_date BETWEEN DATE '{start_date}' AND DATE '{end_date}'"
            )

    def status(self) -> dict[str, Any]:
        """What ``gapless status`` says, read in this process."""
        from flows.views.status import source_status
        from flows.wiring import build_services

        return source_status(build_services(), SOURCE, dt.datetime.now(dt.UTC), newest=0)

    def verdicts(self, start_date: str, end_date: str) -> dict[str, str]:
        """Ledger verdict by date."""
        from flows.ledger.ledger import Ledger
        from flows.wiring import build_services

        entries = Ledger(build_services().store, SOURCE).refresh(start_date, end_date)
        return {key: entry.verdict.value for key, entry in entries.items()}


def _json(url: str, body: Any = None, method: str | None = None, authorization: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    request = urllib.request.Request(url, data, headers, method=method)
    # SQLite answers 503 to a writer that meets another one, and a busy machine answers late; Prefect's own clients try
    # again too.
    for wait_s in (0.5, 1, 2, 4, None):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
            return json.loads(text) if text else None
        except (urllib.error.URLError, TimeoutError) as error:
            if getattr(error, "code", 503) != 503 or wait_s is None:
                raise
            time.sleep(wait_s)
    return None


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One stack for the session."""
    stack = Stack(tmp_path_factory.mktemp("stack") / "state")
    before = dict(os.environ)
    os.environ.update(TEST_SETTINGS)
    stack.up()
    try:
        os.environ.update({**stack.environment(), **TEST_SETTINGS})
        env = dict(os.environ)
        bench = Bench(stack, env)
        bench.provision()
        stack.start_worker("gapless")
        yield bench
    finally:
        stack.down()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def bench(running: Bench) -> Bench:
    """The stack without trouble and without a call on record."""
    running.trouble()
    running.forget_calls()
    running.inbox_trouble("none")
    return running


def days(first: str, count: int) -> list[str]:
    """``count`` ISO dates from ``first`` on."""
    start = dt.date.fromisoformat(first)
    return [(start + dt.timedelta(days=offset)).isoformat() for offset in range(count)]
