"""All sample upstreams in one process, as the stack starts them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.local.upstreams.odds_upstream import ODDS_KEY
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER
from deployments.local.upstreams.worlds import WORLDS, available_worlds

LOGIN = base64.b64encode(f"{RACING_USER}:{RACING_PASSWORD}".encode()).decode()


@contextlib.contextmanager
def _reserved_ports(worlds: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Bound, and listened to by nobody: no other server is given one, and who asks for it by its number may have it."""
    with contextlib.ExitStack() as held:
        bound = {world: held.enter_context(socket.socket()) for world in worlds}
        for one in bound.values():
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        yield {world: one.getsockname()[1] for world, one in bound.items()}


@contextlib.contextmanager
def _started(ports: dict[str, int], data_dir: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "deployments.local.upstreams", "--data-dir", str(data_dir)]
    command += [f"--port={world}={port}" for world, port in ports.items()]
    with log.open("wb") as file:
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        child.kill()
        child.wait(10)


def _ask(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("nothing listens")


def test_one_process_serves_all_worlds_and_builds_each_when_it_is_first_asked(tmp_path):
    worlds, data_dir = available_worlds(), tmp_path / "data"
    with _reserved_ports(worlds) as ports, _started(ports, data_dir, tmp_path / "log") as child:
        for world in ("box_scores", "racing", "odds"):
            assert _ask(ports[world], "/healthz")[0] == 200
        box_scores = _ask(ports["box_scores"], "/v1/box_scores?date=2025-07-04", Authorization="sample-key")
        assert box_scores == (200, b'{"data":[]}')
        regions = _ask(ports["racing"], "/v1/courses/regions", Authorization=f"Basic {LOGIN}")
        assert {"region": "Ireland", "region_code": "ire"} in json.loads(regions[1])
        assert json.loads(_ask(ports["odds"], f"/v4/sports?apiKey={ODDS_KEY}")[1])[0]["key"] == "basketball_nba"
        assert not data_dir.exists()
        if "civic" in worlds:
            assert _ask(ports["civic"], "/healthz")[0] == 200
            assert (data_dir / "civic" / "alameda.ca" / "meetings.db").exists()
        assert child.poll() is None


def test_a_world_that_cannot_be_built_ends_the_process_with_the_reason(tmp_path):
    if "civic" not in available_worlds():
        pytest.skip("Datasette is not installed")
    (tmp_path / "data").write_text("no folder")
    with _reserved_ports(("civic",)) as ports, _started(ports, tmp_path / "data", tmp_path / "log") as child:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            _ask(ports["civic"], "/healthz")
        assert child.wait(30) == 1
    assert "NotADirectoryError" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("given", ["weather=1", "racing", "racing=x"])
def test_an_unknown_world_is_refused(given):
    command = [sys.executable, "-m", "deployments.local.upstreams", "--port", given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert all(world in done.stderr for world in WORLDS)
