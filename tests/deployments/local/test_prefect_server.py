"""The embedded server: its SQLite takes two writers at once, and its own automations pass the guard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deployments.local.prefect_children import FIRST_START_TIMEOUT_S, start_server
from deployments.local.processes import free_port, wait_ready

READ_THEN_WRITE_TWICE = """
import asyncio, sys
from sqlalchemy import text
from prefect.server.database.configurations import AioSqliteConfiguration
if sys.argv[2] == "gapless":
    from deployments.local.prefect_server import take_write_lock_at_begin
    take_write_lock_at_begin()

async def main():
    database = AioSqliteConfiguration(f"sqlite+aiosqlite:///{sys.argv[1]}")
    engine = await database.engine()
    async with await database.session(engine) as session, database.begin_transaction(session):
        await session.execute(text("CREATE TABLE runs (name TEXT)"))
    has_read = [asyncio.Event(), asyncio.Event()]

    async def request(mine, other):
        async with await database.session(engine) as session, database.begin_transaction(session):
            await session.execute(text("SELECT count(*) FROM runs"))
            has_read[mine].set()
            try:
                await asyncio.wait_for(has_read[other].wait(), 1)
            except TimeoutError:
                pass
            await session.execute(text("INSERT INTO runs VALUES ('x')"))

    ended = await asyncio.gather(request(0, 1), request(1, 0), return_exceptions=True)
    async with await database.session(engine) as session:
        rows = (await session.execute(text("SELECT count(*) FROM runs"))).scalar_one()
    print(rows, *(type(error).__name__ for error in ended if error))

asyncio.run(main())
"""


@pytest.mark.parametrize(("who", "said"), [("gapless", "2"), ("prefect", "1 OperationalError")])
def test_two_requests_that_read_and_then_write_both_end_well_only_with_the_lock_taken_first(
    tmp_path: Path, who: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_THEN_WRITE_TWICE, str(tmp_path / "prefect.db"), who],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == said, done.stderr[-2000:]


ASKED_FROM_BOTH_SIDES = """
import asyncio, httpx
from deployments.local.prefect_server import guard
guard(())
from prefect.server.api import server
from prefect.server.api.clients import OrchestrationClient
served = server.create_app(final=True)

async def main():
    transport = httpx.ASGITransport(app=served)
    for host in ("127.0.0.1:4200", "rebound.test"):
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            print((await client.get("/api/health")).status_code)
    # What an automation does that runs a deployment, once the server has answered its first request.
    async with OrchestrationClient() as itself:
        print((await itself._http_client.get("/health")).status_code)

asyncio.run(main())
"""


def test_the_server_refuses_a_foreign_host_and_its_own_automations_still_reach_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKED_FROM_BOTH_SIDES],
        env={**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_API_AUTH_STRING": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    served, refused, itself = done.stdout.split()
    assert (served, refused[0], itself) == ("200", "4", "200"), done.stderr[-2000:]


def test_a_paused_work_queue_keeps_no_writer_of_the_server_waiting(tmp_path: Path) -> None:
    port = free_port()
    server = start_server(tmp_path, tmp_path / "log", port=port, auth="a:b", environment={})
    try:
        wait_ready([server], FIRST_START_TIMEOUT_S)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api", auth=("a", "b"), timeout=120) as client:
            client.post("/work_pools/", json={"name": "pool", "type": "process"}).raise_for_status()
            client.post("/work_pools/pool/queues", json={"name": "queue"}).raise_for_status()
            client.patch("/work_pools/pool/queues/queue", json={"is_paused": True}).raise_for_status()
            assert client.get("/work_pools/pool/queues/queue").json()["status"] == "PAUSED"
    finally:
        server.stop()


WRITES_UNTIL_FULL = """
import asyncio, sys, httpx, sqlalchemy
from deployments.local.prefect_server import answer_later_while_full
from prefect.server.api import server
from prefect.server.database import provide_database_interface
if sys.argv[1] == "gapless":
    answer_later_while_full()

async def main():
    database = provide_database_interface()
    await database.create_db()
    await (await database.engine()).dispose()
    # No connection lets the file grow beyond what it has.
    sqlalchemy.event.listen(
        sqlalchemy.pool.Pool, "connect", lambda opened, _: opened.cursor().execute("PRAGMA max_page_count = 1")
    )
    transport = httpx.ASGITransport(app=server.create_app(final=True), raise_app_exceptions=False)
    here = "http://127.0.0.1:4200/api"
    async with httpx.AsyncClient(transport=transport, base_url=here, auth=("a", "b")) as client:
        for number in range(1000):
            answer = await client.post("/flows/", json={"name": str(number), "tags": ["x" * 1000]})
            if answer.status_code != 201:
                print(answer.status_code)
                return

asyncio.run(main())
"""


@pytest.mark.parametrize(("who", "said"), [("gapless", "503"), ("prefect", "500")])
def test_what_is_written_while_the_disk_is_full_is_to_be_sent_again(tmp_path: Path, who: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES_UNTIL_FULL, who],
        env={
            **os.environ,
            "PREFECT_HOME": str(tmp_path),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}",
            "PREFECT_SERVER_API_AUTH_STRING": "a:b",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == said, done.stderr[-2000:]
