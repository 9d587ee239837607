"""docs/downstream.md as printed: a backfill ends, and dbt is started for exactly the dates whose rows it changed."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
PROJECT_DIR = Path(__file__).parents[2]
RANGE = ("2024-01-02", "2024-01-05")
PATIENCE_S = 120


def block(language: str, page: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0]


@pytest.fixture
def deployed(bench: Bench, tmp_path: Path) -> Path:
    """The page's flow and automation, with a ``dbt`` that writes down what it was asked; the file that it writes."""
    page = (PROJECT_DIR / "docs/downstream.md").read_text()
    (tmp_path / "dbt_build.py").write_text(block("python", page))
    (tmp_path / "after.yaml").write_text(block("yaml", page))
    asked, program = tmp_path / "asked.txt", tmp_path / "bin" / "dbt"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {shlex.quote(str(asked))}\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), bench.env["PATH"]])
    (command,) = [line for line in block("sh", page).splitlines() if line.startswith("prefect deploy ")]
    words = [*shlex.split(command)[1:], "--job-variable", json.dumps({"env": {"PATH": path}})]
    for arguments, folder in (
        (["prefect", "--no-prompt", *words], tmp_path),
        (["deployments.provision", "--automations", str(tmp_path / "after.yaml")], PROJECT_DIR),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=bench.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return asked


def builds(bench: Bench) -> list[dict[str, Any]]:
    name = {"deployments": {"name": {"any_": ["after-gapless"]}}, "sort": "EXPECTED_START_TIME_ASC"}
    return list(bench.api("/flow_runs/filter", name))


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes metrics as they are exported by OTLP."""

    taken: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.taken.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    """Address of a collector on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_dbt_builds_exactly_the_dates_that_a_backfill_changed(bench: Bench, deployed: Path, collector: str) -> None:
    bench.forget(*RANGE)
    bench.trouble({"kind": "500", "dates": [RANGE[1]]})
    bench.run(*RANGE, env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector})
    assert b"gapless.calls" in b"".join(Collector.taken)
    deadline = time.monotonic() + PATIENCE_S
    while not (found := builds(bench)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert [one["parameters"] for one in found] == [
        {"source": "bdl_box_scores", "dates": "2024-01-02..2024-01-04"},
    ]
    assert bench.wait(found[0]["id"]).state_type == "COMPLETED"
    (line,) = deployed.read_text().splitlines()
    assert line == 'build --select source:bdl_box_scores+ --vars {"gapless_dates": "2024-01-02..2024-01-04"}'
