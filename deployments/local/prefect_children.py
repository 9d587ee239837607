"""The Prefect server and its worker as child processes, and the settings they and their clients run with.

Inherited ``PREFECT_*`` variables are removed first: a forgotten ``PREFECT_API_URL`` gives an empty UI, and a key of
Prefect Cloud has no business in a local stack.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from deployments.local.processes import Child, Inherited, Serving, free_port, start_child

_PROJECT_DIR = Path(__file__).resolve().parents[2]
FIRST_START_TIMEOUT_S = 300.0


def client_settings(home: Path, port: int, auth: str) -> dict[str, str]:
    """Prefect settings of everything that talks to the local server.

    Args:
        home: Folder of Prefect's files.
        port: Of the server.
        auth: Name and password that the server asks for, ``name:password``.
    """
    return {
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_UI_URL": f"http://127.0.0.1:{port}",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        # The shortest allowed: a run whose process died is noticed after three missed beats.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # Five tries, the default, are over in a minute: a SQLite server that answered 503 to POST /task_runs for longer
        # ended whole runs. Waits double, so twelve are two hours.
        "PREFECT_CLIENT_MAX_RETRIES": "12",
    }


def _clean(settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: "" for name in os.environ if name.startswith("PREFECT_")}
    return {**inherited, **settings}


def start_server(home: Path, log_path: Path, *, port: int, auth: str, environment: Mapping[str, str]) -> Child:
    """Starts ``prefect server start`` on SQLite under ``home``, through `deployments.local.prefect_server`.

    It serves who knows ``auth``, on 127.0.0.1, and its own pages: flow runs execute commands, so whoever may create
    one owns this account. The first start creates the database and takes 9 to 13 s on two cores, later ones 4 s.
    """
    home.mkdir(parents=True, exist_ok=True)
    root = f"http://127.0.0.1:{port}"
    bind = ["--host", "127.0.0.1", "--port", str(port)]
    settings = {
        **client_settings(home, port, auth),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": root,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home.resolve() / 'prefect.db'}",
        "PREFECT_SERVER_UI_API_URL": f"{root}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # One transaction per event, the default for task runs, makes SQLite refuse other writers: each refused subflow
        # waits 2 s and more in its client. 372 tasks in 12 subflows took 94 s so, and 33 s in batches (two cores).
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
        # In memory, a restart of the server would leave concurrency slots taken for ever (Prefect pull request 20090).
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    return start_child(
        "prefect",
        [*(sys.executable, "-m", "deployments.local.prefect_server", "server", "start"), *bind],
        log_path=log_path,
        serving=Serving(root, f"{root}/api/health", {"http": port}),
        inherited=Inherited({**_clean(settings), **environment}, _PROJECT_DIR, die_with_parent=False),
    )


def start_worker(
    pool: str, log_path: Path, *, port: int | None, environment: Mapping[str, str], name: str = "local"
) -> Child:
    """Starts a warm worker that looks for work every two seconds; ready when its own health page says so.

    Args:
        pool: Work pool.
        log_path: Takes its output and that of its flow runs.
        port: Preferred port of its health page.
        environment: Must hold `client_settings` of the server.
        name: Of the worker; two of one pool need different ones.
    """
    health = free_port(port)
    settings = {
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # Flow runs inherit it. glibc gives every thread a heap of its own: a backfill of 3,653 dates grew by 106 MiB
        # like that, by 56 to 61 MiB with two heaps for all, and by 52 MiB with one, at the same CPU.
        "MALLOC_ARENA_MAX": "1",
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(health),
    }
    return start_child(
        "worker",
        [*(sys.executable, "-m", "deployments.warm_worker", "--pool", pool, "--name", name), "--with-healthcheck"],
        log_path=log_path,
        serving=Serving(f"http://127.0.0.1:{health}", f"http://127.0.0.1:{health}/health", {"http": health}),
        inherited=Inherited({**_clean(environment), **settings}, _PROJECT_DIR, die_with_parent=False),
    )
