from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployments.local.process_id import TOKEN_VARIABLE, ProcessId, family, stop_processes
from deployments.local.processes import Child, ChildFailed, Inherited, Serving, free_port, start_child, wait_ready
from deployments.local.stack_state import locked, replace_file

Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Child] = []

    def run(code: str, **options: object) -> Child:
        child = start_child("child", [sys.executable, "-c", code], log_path=tmp_path / "log", **options)  # type: ignore[arg-type]
        started.append(child)
        return child

    yield run
    for child in started:
        child.stop(grace_s=0.2)


def _announcing(code: str) -> str:
    return f"import os, signal, subprocess, sys, time; {code}; open('up', 'w').write('x'); time.sleep(60)"


def _wait_for(path: Path, child: Child) -> None:
    while not path.exists():
        assert child.alive(), child.log_tail()


def test_a_pid_with_another_start_time_is_a_stranger_and_is_left_alone(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    stranger = ProcessId(child.identity.pid, "1")

    stop_processes([stranger])

    assert not stranger.alive()
    assert child.alive()


def test_a_child_of_the_stack_reads_paths_as_utf_8_in_every_locale(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUTF8", "0")
    child = start("import os, sys; print(sys.flags.utf8_mode, os.fsencode('Müller'), end='')")
    wait_ready([child])
    while child.alive():
        pass
    assert child.log_tail() == "1 b'M\\xc3\\xbcller'"


def test_what_a_child_of_the_stack_writes_is_this_users_alone(start: Start, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        code = "from pathlib import Path; Path('made').mkdir(); Path('made/database').write_text('x')"
        child = start(_announcing(code), inherited=Inherited(cwd=tmp_path))
        _wait_for(tmp_path / "up", child)
        private, logs = tmp_path / "made", tmp_path / "logs" / "deep"
        start_child("other", [sys.executable, "-c", ""], log_path=logs / "log").stop()
        with locked(tmp_path / "new"):
            replace_file(tmp_path / "new" / "env", "export X=1")
        (tmp_path / "wide").mkdir(mode=0o777)
        with locked(tmp_path / "wide"):
            pass
    finally:
        os.umask(before)
    folders = (private, logs, tmp_path / "new", tmp_path / "wide")
    files = (private / "database", tmp_path / "log", logs / "log", tmp_path / "new" / "env", tmp_path / "new" / "lock")
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}


def test_a_stop_ends_the_whole_group(start: Start, tmp_path: Path) -> None:
    code = "p = subprocess.Popen(['sleep', '60']); open('pid.tmp', 'w').write(str(p.pid)); os.rename('pid.tmp', 'pid')"
    child = start(_announcing(code), inherited=Inherited(cwd=tmp_path))
    _wait_for(tmp_path / "up", child)
    inner = ProcessId.of(int((tmp_path / "pid").read_text()))
    assert inner is not None

    child.stop()

    assert not child.alive()
    assert not inner.alive()


def test_who_ignores_sigterm_is_killed(start: Start, tmp_path: Path) -> None:
    child = start(_announcing("signal.signal(signal.SIGTERM, signal.SIG_IGN)"), inherited=Inherited(cwd=tmp_path))
    _wait_for(tmp_path / "up", child)

    child.stop(grace_s=0.2)

    assert not child.alive()
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def test_a_stop_may_be_repeated(start: Start) -> None:
    child = start("pass")

    child.stop()
    child.stop()

    assert not child.alive()


def test_a_child_that_ends_at_start_is_reported_with_the_tail_of_its_log(start: Start) -> None:
    child = start("import sys; print('port is taken'); sys.exit(3)", serving=Serving(ready_url="http://127.0.0.1:1/"))

    with pytest.raises(ChildFailed, match=r"child ended with code 3 at start\.[\s\S]*port is taken"):
        wait_ready([child])


def test_a_child_that_never_answers_is_reported_with_its_url(start: Start) -> None:
    child = start(
        "print('still busy', flush=True); import time; time.sleep(60)",
        serving=Serving(ready_url="http://127.0.0.1:1/ready"),
    )

    with pytest.raises(ChildFailed, match=r"did not answer http://127\.0\.0\.1:1/ready in 0\.2 s"):
        wait_ready([child], timeout_s=0.2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nobody can be asked who listens")
def test_a_child_whose_port_somebody_else_took_is_not_ready_by_the_answers_of_that_one(start: Start) -> None:
    """It could else be the stack of another checkout: its storage would be written to."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        port = stranger.server_address[1]
        binds = f"import time; time.sleep(0.3); import socket; socket.create_server(('127.0.0.1', {port}))"
        serving = Serving(ready_url=f"http://127.0.0.1:{port}/", ports={"http": port})
        with pytest.raises(ChildFailed, match="Address already in use"):
            wait_ready([start(binds, serving=serving)])
        stranger.shutdown()


def test_a_talkative_child_does_not_block(start: Start) -> None:
    child = start("print('x' * 4_000_000)")

    assert child.process is not None
    assert child.process.wait(timeout=20) == 0
    assert child.log_path.stat().st_size > 4_000_000


def test_a_log_tail_starts_at_the_latest_start(start: Start) -> None:
    for word in ("first", "second"):
        child = start(f"print({word!r})")
        assert child.process is not None
        child.process.wait(timeout=20)

    assert child.log_tail() == "second"


def test_an_empty_value_removes_a_variable(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    child = start("import os; print(os.environ.get('PREFECT_API_KEY'))", inherited=Inherited({"PREFECT_API_KEY": ""}))

    assert child.process is not None
    child.process.wait(timeout=20)
    assert child.log_tail() == "None"


def test_a_preferred_port_is_taken_only_if_it_is_free() -> None:
    port = free_port()
    assert free_port(port) == port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert free_port(port) != port


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_a_child_dies_with_its_parent_even_under_kill_9(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from deployments.local.processes import start_child\n"
        "child = start_child('child', ['sleep', '60'], log_path=pathlib.Path(sys.argv[1]))\n"
        "print(child.identity.pid, child.identity.started, flush=True)\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "log"], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        pid, started = parent.stdout.readline().split()
        child = ProcessId(int(pid), started.decode())
        was_alive = child.alive()
        parent.kill()
        parent.wait(timeout=10)

    assert was_alive
    assert _gone(child)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_family_of_a_token_is_found_across_sessions(start: Start, tmp_path: Path) -> None:
    token = uuid.uuid4().hex
    child = start(
        _announcing("subprocess.Popen(['sleep', '60'], start_new_session=True)"),
        inherited=Inherited({TOKEN_VARIABLE: token}, cwd=tmp_path),
    )
    _wait_for(tmp_path / "up", child)

    found = family(token)
    stop_processes(found)

    assert len(found) == 2
    assert family(token) == []
    assert family(uuid.uuid4().hex) == []


def _gone(process: ProcessId) -> bool:
    """Whether it ends within ten seconds."""
    for _ in range(2000):
        if not process.alive():
            return True
        signal.sigtimedwait([], 0.005)
    return False
