"""The embedded stack as its users meet it: real children, real signals.

One folder for all tests, so that Prefect's database is made once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from alerting.errors import ConfigurationError, StateUnreadable
from deployments.local.gcs_emulator.server import start_gcs
from deployments.local.process_id import TOKEN_VARIABLE, ProcessId
from deployments.local.processes import Child, ChildFailed, Inherited, free_port, wait_ready
from deployments.local.stack import Stack
from deployments.local.stack_shutdown import stop_children
from deployments.local.stack_state import StackState, save_state, state_file

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.xdist_group("stack")

FOREGROUND = """
import os, subprocess, sys
from pathlib import Path
from deployments.local.process_id import TOKEN_VARIABLE
from deployments.local.stack import Stack
from deployments.local.stack_state import load_state
folder = Path(sys.argv[1])
stack = Stack(folder)
try:
    stack.up()
    token = load_state(folder / "stack.json").token
    # Stands for a flow run: a grandchild in a session of its own.
    run = subprocess.Popen(["sleep", "600"], env={**os.environ, TOKEN_VARIABLE: token}, start_new_session=True)
    print(run.pid, flush=True)
    run.wait()
except KeyboardInterrupt:
    sys.exit(130)
finally:
    stack.down()
"""


RUN = """
import signal, sys, time, urllib.request

def last_words(*_):
    time.sleep(6)
    print(urllib.request.urlopen(sys.argv[1], timeout=5).status, flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, last_words)
print("at work", flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / ".gapless"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@pytest.fixture
def stack(folder: Path) -> Iterator[Stack]:
    made = Stack(folder)
    yield made
    made.down()


def _identities(stack: Stack) -> dict[str, ProcessId]:
    return {child.name: child.identity for child in stack.children()}


def _foreground(folder: Path) -> tuple[subprocess.Popen[bytes], ProcessId]:
    """A process that owns a stack, and the flow run of that stack."""
    owner = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, folder], stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    assert owner.stdout is not None
    run = ProcessId.of(int(owner.stdout.readline()))
    assert run is not None
    return owner, run


def _wait_until_gone(processes: list[ProcessId], timeout_s: int = 30) -> list[ProcessId]:
    """Those still alive when every one is gone, or the time is over."""
    for _ in range(timeout_s * 20):
        alive = [one for one in processes if one.alive()]
        if not alive:
            return []
        signal.sigtimedwait([], 0.05)
    return alive


@pytest.mark.faults
def test_two_ups_at_once_start_one_stack_that_answers_everywhere(stack: Stack, folder: Path) -> None:
    command = [sys.executable, "-m", "deployments.local.stack", "up", "--state-dir", str(folder)]
    ups = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    outputs = [up.communicate(timeout=180)[0] for up in ups]

    environment = stack.environment()

    assert [up.returncode for up in ups] == [0, 0]
    assert outputs[0] == outputs[1]
    assert stack.is_up()
    assert {"prefect", "gcs", "bigquery", "inbox"} <= set(stack.urls())
    for url in (f"{environment['PREFECT_API_URL']}/health", f"{environment['STORAGE_EMULATOR_HOST']}/storage/v1/b"):
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
    assert all(url.startswith("http://127.0.0.1:") for url in stack.urls().values())
    assert f"export PREFECT_API_URL={environment['PREFECT_API_URL']}\n" in (folder / "env").read_text()
    assert f'export PATH={Path(sys.executable).parent}:"$PATH"\n' in (folder / "env").read_text()

    stack.down()
    assert not stack.is_up()
    assert stack.children() == []


@pytest.mark.faults
def test_what_is_done_meanwhile_finds_storage_and_its_failure_stops_everything(tmp_path: Path) -> None:
    stack, answered = Stack(tmp_path / "s", upstream=()), []

    def make_tables() -> None:
        environment = stack.environment()
        for url in (
            f"{environment['STORAGE_EMULATOR_HOST']}/storage/v1/b",
            f"{environment['BIGQUERY_EMULATOR_HOST']}/gapless/ready",
        ):
            with urllib.request.urlopen(url, timeout=10) as answer:
                answered.append(answer.status)
        raise ConfigurationError("no tables")

    with pytest.raises(ConfigurationError, match="no tables"):
        stack.up(meanwhile=make_tables)

    assert answered == [200, 200]
    assert stack.children() == []


@pytest.mark.faults
def test_a_half_dead_stack_is_replaced_on_the_same_ports(stack: Stack) -> None:
    stack.up(detached=True)
    before, urls = _identities(stack), stack.urls()
    os.kill(before["gcs"].pid, signal.SIGKILL)
    assert _wait_until_gone([before["gcs"]]) == []
    assert not stack.is_up()

    stack.up(detached=True)

    assert stack.urls() == urls
    assert not [name for name, one in before.items() if one.alive()]
    assert stack.is_up()


def test_down_leaves_a_stranger_with_a_recorded_pid_alone(stack: Stack, folder: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        entry = {"name": "gcs", "pid": stranger.pid, "started": "1", "endpoint": "", "ready_url": "", "log": "x"}
        state = {"token": "t", "owner": None, "children": [{**entry, "ports": {}}], "ports": {}}
        folder.mkdir(exist_ok=True)
        (folder / "stack.json").write_text(json.dumps(state))

        stack.down()

        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.faults
def test_kill_9_of_the_owner_leaves_no_process(stack: Stack, folder: Path) -> None:
    owner, run = _foreground(folder)
    everything = [*_identities(stack).values(), run]
    assert all(one.alive() for one in everything)

    owner.kill()
    owner.communicate(timeout=10)

    assert _wait_until_gone(everything) == []


@pytest.mark.faults
def test_ctrl_c_ends_the_owner_with_130_and_leaves_no_process(stack: Stack, folder: Path) -> None:
    owner, run = _foreground(folder)
    everything = [*_identities(stack).values(), run]

    os.killpg(owner.pid, signal.SIGINT)
    owner.communicate(timeout=60)

    assert owner.returncode == 130
    assert _wait_until_gone(everything, timeout_s=5) == []


def test_a_run_that_is_told_to_end_by_down_still_finds_its_storage(tmp_path: Path) -> None:
    token = {TOKEN_VARIABLE: uuid4().hex}
    storage = start_gcs(
        tmp_path / "gcs", tmp_path / "log", port=free_port(), inherited=Inherited(token, die_with_parent=False)
    )
    wait_ready([storage])
    command = [sys.executable, "-c", RUN, f"{storage.endpoint}/storage/v1/b"]
    environment = {**os.environ, **token}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "at work\n"
        stop_children(StackState(token=token[TOKEN_VARIABLE], children=[storage]))
        assert run.communicate(timeout=10) == ("200\n", None)
    assert not storage.alive()


@pytest.mark.parametrize("detached", [True, False])
def test_a_stack_that_another_process_will_stop_is_not_taken_for_a_second_run(tmp_path: Path, detached: bool) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        owner = ProcessId.of(other.pid)
        assert owner is not None
        children = [
            Child(name, owner, "", tmp_path / "log", "", {}) for name in ("prefect", "gcs", "bigquery", "inbox")
        ]
        save_state(state_file(tmp_path), StackState(token="t", owner=owner, children=children))
        before = (tmp_path / "stack.json").read_text()
        with pytest.raises(ConfigurationError, match=f"process {other.pid} .* stops it when it ends"):
            Stack(tmp_path).up(detached=detached)
        assert (tmp_path / "stack.json").read_text() == before
    finally:
        other.kill()
        other.wait()


def test_real_credentials_stop_everything_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")

    with pytest.raises(ConfigurationError, match="Nothing was started"):
        Stack(tmp_path / "s").up()

    assert not (tmp_path / "s").exists()


def test_a_socks_proxy_that_no_client_can_use_stops_everything_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(
        ConfigurationError, match=r"names a SOCKS proxy.*Nothing was started.*unset ALL_PROXY all_proxy;"
    ):
        Stack(tmp_path / "state").up()
    assert not (tmp_path / "state").exists()


def test_a_child_that_does_not_start_takes_the_others_down_again(tmp_path: Path) -> None:
    broken = Stack(tmp_path / "s", upstream=[sys.executable, "-c", "raise SystemExit('no season')"])

    with pytest.raises(ChildFailed, match=r"upstream ended with code 1[\s\S]*no season"):
        broken.up()

    assert broken.children() == []


_CHILD = '{"name": "gcs", "pid": "?", "started": "1", "endpoint": "", "ready_url": "", "ports": {}, "log": "x"}'


@pytest.mark.parametrize(
    "text",
    [
        '{"children": [',
        "[]",
        '{"token": "t", "owner": null, "children": [], "ports": []}',
        '{"token": "t", "owner": null, "children": [], "ports": {"gcs": {"http": "?"}}}',
        f'{{"token": "t", "owner": null, "children": [{_CHILD}], "ports": {{}}}}',
    ],
)
def test_an_unreadable_state_stops_nothing_and_is_not_read_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)

    with pytest.raises(StateUnreadable, match="Nothing was stopped"):
        Stack(tmp_path).down()


def test_without_a_stack_there_is_no_environment_and_down_does_nothing(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "s")

    stack.down()

    assert not stack.is_up()
    with pytest.raises(ChildFailed, match="make up"):
        stack.environment()
