"""The warm worker: what its fork server has loaded, and what becomes of processes that it forks."""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Crashed
from prefect.workers.process import ProcessJobConfiguration

from deployments.warm_worker.flow_run import run_engine
from deployments.warm_worker.worker import (
    Forked,
    ForkServer,
    WarmWorker,
    _is_forkable,
    end_unbegun,
    keep_looking_for_cancels,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    yield ForkServer()
    pid = vars(forkserver._forkserver)["_forkserver_pid"]
    os.kill(pid, signal.SIGKILL)


class Server:
    """Prefect's server as far as one flow run goes."""

    def __init__(self, run: FlowRun) -> None:
        self.run = run

    async def read_flow_run(self, _run_id: UUID) -> FlowRun:
        return self.run

    async def set_flow_run_state(self, _run_id: UUID, state: State[None], *, force: bool) -> None:
        assert force
        self.run.state = state


def test_a_worker_begins_where_another_user_has_the_folder_that_prefect_shares_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def is_there(_: object, *__: object) -> None:
        """Nothing is asked of a server."""

    monkeypatch.setattr("prefect.workers.base.BaseWorker.__aenter__", is_there)
    monkeypatch.setattr("prefect.workers.base.BaseWorker.__aexit__", is_there)
    monkeypatch.setattr("deployments.warm_worker.worker.ForkServer.warm_up", is_there)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others = tmp_path / "runner_storage"
    others.touch()

    async def story() -> list[Path]:
        async with WarmWorker("pool"):
            return list(tmp_path.glob("*/runner_storage/*"))

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert len(asyncio.run(story())) == 1
    assert list(tmp_path.iterdir()) == [others]


@pytest.mark.parametrize(
    ("state", "run_count", "ends"),
    [(Cancelling(), 0, "Cancelled"), (Cancelling(), 1, "Cancelling"), (Crashed(), 0, "Crashed")],
)
def test_a_run_that_was_cancelled_while_its_process_began_does_not_stay_cancelling(
    state: State[None], run_count: int, ends: str
) -> None:
    run = FlowRun(flow_id=uuid4(), state=state, run_count=run_count)
    asyncio.run(end_unbegun(Server(run), run.id))  # type: ignore[arg-type]
    assert run.state is not None
    assert run.state.name == ends


class Away:
    """A server that is away for so many questions; then it names a run that is to be cancelled."""

    def __init__(self, times: int, run: FlowRun) -> None:
        self.left, self.run = times, run

    async def read_flow_runs(self, **_: Any) -> list[FlowRun]:
        self.left -= 1
        if self.left >= 0:
            raise httpx.ConnectError("All connection attempts failed")
        return [self.run]


def test_a_run_can_be_cancelled_also_when_the_server_was_away_for_longer_than_prefect_looks() -> None:
    run, cancelled = FlowRun(flow_id=uuid4(), state=Cancelling()), list[UUID]()

    async def look() -> None:
        told = asyncio.Event()

        def cancel(run_id: UUID) -> None:
            cancelled.append(run_id)
            told.set()

        observer = FlowRunCancellingObserver(on_cancelling=cancel, polling_interval=0.01)
        keep_looking_for_cancels(observer)
        observer._client = Away(10, run)  # type: ignore[assignment]

        async def closed() -> None:
            raise ConnectionError("the websocket is closed")

        socket = asyncio.create_task(closed())
        socket.add_done_callback(observer._start_polling_task)
        try:
            async with asyncio.timeout(30):
                await told.wait()
        finally:
            assert observer._polling_task is not None
            observer._polling_task.cancel()

    asyncio.run(look())
    assert cancelled[0] == run.id


def ended(server: ForkServer, target: Callable[..., Any], *args: Any, started: Callable[[Forked], Any] = str) -> Forked:
    async def run() -> Forked:
        async with asyncio.timeout(60):
            return await server.run(target, *args, started=started)

    return asyncio.run(run())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_fork_server_has_loaded_the_libraries_in_one_thread_and_nothing_of_ours() -> None:
    asked = (
        "import os, sys; import deployments.warm_worker.preload; "
        "ours = {'alerting', 'scrapers', 'processors', 'flows', 'deployments'}; "
        "print(len(os.listdir('/proc/self/task')), sorted(n for n in sys.modules if n.partition('.')[0] in ours))"
    )
    told = subprocess.check_output([sys.executable, "-c", asked], text=True)
    assert told == "1 ['deployments', 'deployments.warm_worker', 'deployments.warm_worker.preload']\n"


def test_a_forked_process_has_the_environment_the_folder_and_the_exit_code_of_a_started_one(
    server: ForkServer, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from deployments.warm_worker.flow_run import _becoming\n"
        "given = {'ONLY': 'this', 'TZ': 'Asia/Tokyo', 'PREFECT_API_URL': 'http://there/api'}\n"
        f"with _becoming(given, {str(tmp_path)!r}):\n"
        "    import atexit, time\n"
        "    from prefect.settings import PREFECT_API_URL\n"
        f"    told = open({str(told)!r}, 'w')\n"
        "    atexit.register(lambda: told.write('at the end'))\n"
        "    print(sorted(os.environ), os.getcwd(), time.tzname[0], PREFECT_API_URL.value(), file=told)\n"
        "    print(os.getsid(0) == os.getpid(), sys.argv == [sys.executable], file=told)\n"
        "    sys.exit(3)\n"
    )
    assert ended(server, runpy.run_path, str(script)).returncode == 3
    assert told.read_text().splitlines() == [
        f"['ONLY', 'PREFECT_API_URL', 'TZ'] {tmp_path} JST http://there/api",
        "True True",
        "at the end",
    ]


def test_the_engine_of_prefect_runs_in_a_forked_process(server: ForkServer, tmp_path: Path) -> None:
    # It refuses what is no flow run before it asks any server.
    assert ended(server, run_engine, {"PREFECT__FLOW_RUN_ID": "none"}, str(tmp_path)).returncode == 1


def test_a_forked_process_that_is_killed_has_the_exit_code_of_one(server: ForkServer) -> None:
    forked = ended(server, time.sleep, 60, started=lambda one: os.kill(one.pid, signal.SIGKILL))
    assert forked.returncode == -signal.SIGKILL


def test_when_the_fork_server_is_killed_its_flow_runs_have_crashed_and_ended_and_the_next_one_begins(
    server: ForkServer,
) -> None:
    def kill_server(_: Forked) -> None:
        os.kill(vars(forkserver._forkserver)["_forkserver_pid"], signal.SIGKILL)

    forked = ended(server, time.sleep, 60, started=kill_server)
    assert forked.returncode == 255
    deadline = time.monotonic() + 30
    while is_alive(forked.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ended(server, time.sleep, 0).returncode == 0


def test_a_fork_server_that_is_told_to_end_leaves_behind_its_last_flow_run(server: ForkServer) -> None:
    told = list[int]()

    def stop_server(_: Forked) -> None:
        told.append(vars(forkserver._forkserver)["_forkserver_pid"])
        os.kill(told[0], signal.SIGTERM)

    assert ended(server, time.sleep, 1.5, started=stop_server).returncode == 0
    deadline = time.monotonic() + 30
    # Its parent takes the exit status with the next start.
    while Path(f"/proc/{told[0]}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_many_forked_processes_end_each_with_its_own_exit_code(server: ForkServer) -> None:
    async def run_all() -> list[int | None]:
        async with asyncio.timeout(120):
            return [one.returncode for one in await asyncio.gather(*(server.run(sys.exit, code) for code in range(12)))]

    assert asyncio.run(run_all()) == list(range(12))


@pytest.mark.parametrize(
    ("job", "is_forkable"),
    [
        ({}, True),
        ({"env": {"GAPLESS_BREAKER_PROBES": "3"}}, True),
        ({"env": {"PYTHONPATH": "/elsewhere"}}, False),
        ({"env": {"PYTHONMALLOC": "debug"}}, False),
    ],
)
def test_what_needs_an_interpreter_of_its_own_is_not_forked(job: dict[str, Any], is_forkable: bool) -> None:
    assert _is_forkable(ProcessJobConfiguration(**job)) == is_forkable


def test_what_has_a_command_of_its_own_is_not_forked() -> None:
    configuration = ProcessJobConfiguration(command="nice python -m prefect.engine")
    configuration._command_configured = True
    assert not _is_forkable(configuration)
