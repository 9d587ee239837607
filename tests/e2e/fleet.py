"""A Prefect server on Postgres with three process workers, beside the session's storage, warehouse and upstream."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deployments.local.prefect_children import client_settings, start_server, start_worker
from deployments.local.processes import Child, Inherited, free_port, start_child, wait_ready
from deployments.local.weather import start_weather

if TYPE_CHECKING:
    from .conftest import Bench

WINDOW = 14
WORKERS = 3
AUTH = "fleet:a-password-of-tests"


def postgres_folder() -> Path | None:
    """Folder of initdb and postgres: on PATH, or where the Debian package puts them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def unprivileged() -> list[str]:
    """Postgres refuses to run as root; the Debian package brings a user for it."""
    if os.getuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("running as root without a user postgres: apt-get install -y postgresql")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a fresh Postgres cluster that nobody else uses."""
    programs = postgres_folder()
    if programs is None:
        pytest.skip("no Postgres: apt-get install -y postgresql")
    as_user, port = unprivileged(), free_port()
    # Beside the folders of pytest, because those are closed to other users.
    make_folder = [*as_user, "mktemp", "-d", "--tmpdir", "gapless-pg-XXXXXX"]
    folder = Path(subprocess.check_output(make_folder, text=True).strip())
    child = None
    try:
        subprocess.run(
            [*as_user, programs / "initdb", "-D", folder / "data", "-U", "gapless", "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            timeout=120,
            cwd="/",
        )
        command = [*as_user, programs / "postgres", "-D", folder / "data", "-p", str(port), "-c", "fsync=off"]
        log = tmp_path_factory.mktemp("postgres") / "postgres.log"
        child = start_child(
            "postgres",
            [*command, "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"],
            log_path=log,
            inherited=Inherited(cwd=Path("/")),
        )
        database = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "gapless", "-d", "postgres", "-c"]
        deadline = time.monotonic() + 60
        while subprocess.run([*database, "CREATE DATABASE prefect"], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, child.log_tail()
            time.sleep(0.2)
        yield f"postgresql+asyncpg://gapless@127.0.0.1:{port}/prefect"
    finally:
        if child is not None:
            child.stop()
        subprocess.run([*as_user, "rm", "-rf", str(folder)], check=False)


@pytest.fixture(scope="module")
def fleet(running: Bench, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The session's storage, warehouse, inbox and upstream, behind a server of its own on Postgres with 3 workers."""
    with started_fleet(running, postgres, tmp_path_factory.mktemp("fleet")) as bench:
        yield bench


@pytest.fixture(scope="module")
def far_fleet(running: Bench, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The same in cloud weather: all that runs and workers ask of Prefect, storage and BigQuery is far away."""
    with started_fleet(running, postgres, tmp_path_factory.mktemp("far"), weather="cloud") as bench:
        yield bench


@contextmanager
def started_fleet(running: Bench, postgres: str, folder: Path, *, weather: str = "") -> Iterator[Bench]:
    """A server on ``postgres`` and its workers, for as long as the context is open."""
    port = free_port()
    children: list[Child] = []
    before = dict(os.environ)
    try:
        # One line of log per API call, which benchmarks count.
        server_env = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres, "PREFECT_SERVER_LOGGING_LEVEL": "INFO"}
        children.append(
            start_server(folder / "prefect", folder / "server.log", port=port, auth=AUTH, environment=server_env)
        )
        wait_ready(children, timeout_s=180)
        os.environ.update(client_settings(folder / "prefect", port, AUTH))
        env = {
            **running.env,
            **client_settings(folder / "prefect", port, AUTH),
            "GAPLESS_UI_URL": children[0].endpoint,
            "GAPLESS_SOURCE_RATE_PER_MINUTE": '{"balldontlie": 600}',
            "GAPLESS_DISTRIBUTED_WINDOW_PARTITIONS": str(WINDOW),
            "FLEET_SERVER_LOG": str(folder / "server.log"),
        }
        bench = type(running)(running.stack, env)
        bench.provision()
        if weather:
            env |= _behind(weather, running, port, folder, children)
        children += [
            start_worker("gapless", folder / f"worker-{number}.log", port=None, environment=env, name=f"local-{number}")
            for number in range(WORKERS)
        ]
        wait_ready(children, timeout_s=180)
        yield bench
    finally:
        for child in reversed(children):
            child.stop()
        os.environ.clear()
        os.environ.update(before)


def _behind(weather: str, running: Bench, server_port: int, folder: Path, children: list[Child]) -> dict[str, str]:
    """Variables of a client that meets this weather; its proxy is one of ``children`` from then on."""
    stack = {child.name: child.ports["http"] for child in running.stack.children() if "http" in child.ports}
    targets = {"storage": stack["gcs"], "bigquery": stack["bigquery"], "prefect": server_port}
    ports = {route: free_port() for route in targets}
    log = folder / "weather.log"
    children.append(start_weather(weather, targets, log, ports=ports, environment=dict(os.environ)))
    wait_ready(children[-1:], timeout_s=30)
    url = {route: f"http://127.0.0.1:{port}" for route, port in ports.items()}
    return {
        "STORAGE_EMULATOR_HOST": url["storage"],
        "BIGQUERY_EMULATOR_HOST": url["bigquery"],
        "PREFECT_API_URL": f"{url['prefect']}/api",
    }
