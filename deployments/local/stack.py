"""The embedded stack: everything Gapless talks to, as child processes of one folder.

    python -m deployments.local.stack up|down|status [--state-dir .gapless]

Prefect server, Cloud Storage, BigQuery, mail inbox, sample upstreams and worker. All bind 127.0.0.1, on ports that are
free at the first start and kept for the next ones. A foreground stack ends with the process that started it, even after
``kill -9``: a guard (`deployments.local.guard`) waits for that. A detached one runs until ``down``.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import shlex
import sys
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alerting.errors import ConfigurationError, PipelineError
from deployments.local import prefect_children
from deployments.local.bigquery_emulator.server import start_bigquery
from deployments.local.gcs_emulator.server import start_gcs
from deployments.local.guard import start_guard
from deployments.local.inbox.server import start_inbox
from deployments.local.prefect_sign_in import SIGN_IN_PATH
from deployments.local.process_id import TOKEN_VARIABLE, ProcessId
from deployments.local.processes import Child, Inherited, Serving, free_port, refuse_ended, start_child, wait_ready
from deployments.local.stack_environment import (
    calendar_environment,
    client_environment,
    exports_of_sources,
    refuse_real_credentials,
    refuse_socks_proxy,
)
from deployments.local.stack_shutdown import shut_down, stop_children
from deployments.local.stack_state import StackState, load_state, locked, replace_file, save_state, state_file, writable
from deployments.local.upstreams.worlds import available_worlds
from deployments.local.weather import start_weather

_PROJECT_DIR = Path(__file__).resolve().parents[2]
_UPSTREAMS = "deployments.local.upstreams"
_STORAGE = ("gcs", "bigquery", "weather")


class Stack:
    """The stack of one folder.

    Args:
        state_dir: Takes state, data and logs.
        upstream: Command of a sample of box scores with ``{port}`` in it; it must answer ``/healthz``. None takes our
            samples of all sources, an empty one none.
        weather: Key of `weather.WEATHERS`, between clients and servers from the start of a stack on; "" for none.
    """

    def __init__(
        self, state_dir: Path = Path(".gapless"), upstream: Sequence[str] | None = None, weather: str = ""
    ) -> None:
        self.state_dir = state_dir
        self._file = state_file(state_dir)
        self._logs = state_dir.resolve() / "logs"
        self._upstream = upstream
        self._weather = weather

    @property
    def sign_in_page(self) -> Path:
        """File of this user alone; opened in a browser, it signs that browser in at the Prefect UI."""
        return self.state_dir.resolve() / "sign-in.html"

    def is_up(self) -> bool:
        """Whether a complete stack of this folder runs."""
        return load_state(self._file).alive()

    def up(self, *, detached: bool = False, meanwhile: Callable[[], None] | None = None) -> None:
        """Starts the stack, or takes the one that runs; what is left of a killed one is stopped first.

        Args:
            detached: It outlives this process. Without effect on a stack that runs already.
            meanwhile: Called in a thread once storage and BigQuery answer, while the Prefect server, which takes three
                times as long, is still starting. Not called for a stack that runs already.

        Raises:
            ConfigurationError: Real Google credentials or a SOCKS proxy that cannot be used are in the environment, or
                something about sources that is no JSON, or that the running stack was not started with; or another
                process will stop the running stack. Nothing was started.
            ChildFailed: A child did not start; all of them are stopped again.
        """
        refuse_real_credentials()
        refuse_socks_proxy()
        exports = exports_of_sources(os.environ)
        with locked(self.state_dir):
            state = load_state(self._file)
            if state.owner is not None and state.owner.pid != os.getpid() and state.owner.alive():
                raise ConfigurationError(
                    f"process {state.owner.pid} (make run?) started the stack in {self.state_dir}, and stops it when "
                    "it ends. Nothing was changed",
                    hint="wait for it; with make up first, the stack outlives each make run",
                )
            if not state.alive():
                stop_children(state)
                state.exports = exports
                self._start(state, detached, meanwhile)
            elif exports and exports != state.exports:
                raise ConfigurationError(
                    f"{', '.join(sorted(exports))} of this shell differ from those that the running stack in "
                    f"{self.state_dir} was started with; its worker would not hear of them. Nothing was changed",
                    hint=f"make down, then make up; or unset {' '.join(sorted(exports))}",
                )
            elif self._weather and state.child("weather") is None:
                raise ConfigurationError(
                    f"the running stack in {self.state_dir} was started without weather; its worker would not meet "
                    "any. Nothing was changed",
                    hint=f"make down, then make up WEATHER={self._weather}",
                )
            wait_ready(state.children, timeout_s=30)
            replace_file(self.state_dir / "env", self._shell_lines())
            replace_file(self.sign_in_page, self._sign_in_html(load_state(self._file)))

    def start_worker(self, pool: str) -> None:
        """Starts the worker of a work pool that exists, unless it runs already.

        Raises:
            ChildFailed: No stack is up, or the worker did not start.
        """
        with locked(self.state_dir):
            state = load_state(self._file)
            old = state.child("worker")
            if old and old.alive():
                return
            environment = {**client_environment(self.state_dir, state), TOKEN_VARIABLE: state.token}
            worker = prefect_children.start_worker(
                pool, self._logs / "worker.log", port=state.port("worker"), environment=environment
            )
            state.remember(worker)
            save_state(self._file, state)
            wait_ready([worker], timeout_s=60)

    def down(self) -> None:
        """Stops the stack; see `stack_shutdown`. Data and ports are kept."""
        shut_down(self.state_dir)

    def urls(self) -> dict[str, str]:
        """Base URL by child: ``prefect``, ``gcs``, ``bigquery``, ``inbox``, ``upstream``, ``worker``; and by world."""
        children = load_state(self._file).children
        worlds = next((child.ports for child in children if child.name == "upstream"), {})
        return {
            **{world: f"http://127.0.0.1:{port}" for world, port in worlds.items()},
            **{child.name: child.endpoint for child in children if child.endpoint},
        }

    def children(self) -> list[Child]:
        """What is recorded, running or not."""
        return load_state(self._file).children

    def refuse_ended(self) -> None:
        """Raises ``ChildFailed`` when one of them runs no more: nothing goes on without it."""
        refuse_ended(self.children())

    def environment(self) -> dict[str, str]:
        """What the environment of a client needs to work with this stack and with nothing else.

        Raises:
            ChildFailed: No stack is recorded.
        """
        return client_environment(self.state_dir, load_state(self._file))

    def _shell_lines(self) -> str:
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in sorted(self.environment().items()))
        # `python`, `prefect` and `gapless` of this environment, whether or not it is activated.
        path = f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n'
        return "# source this file to work with the local stack\n" + "".join(lines) + path

    def _sign_in_html(self, state: StackState) -> str:
        """A file and no printed link: what is printed ends in logs, and a command line is seen by other users."""
        # After the #, it is sent to no server and stands in no log.
        target = f"{self.urls()['prefect']}{SIGN_IN_PATH}#{base64.b64encode(state.auth.encode()).decode()}"
        return (
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<title>Gapless</title><meta http-equiv="refresh" content="0;url={target}">'
            f'<a href="{target}">Open the Prefect UI</a>\n'
        )

    def _start(self, state: StackState, detached: bool, meanwhile: Callable[[], None] | None) -> None:
        state.token = uuid.uuid4().hex
        state.auth = state.auth or f"gapless:{secrets.token_urlsafe(32)}"
        state.owner = None if detached else ProcessId.of(os.getpid())
        token = {TOKEN_VARIABLE: state.token}
        save_state(self._file, state)
        try:
            if not detached:
                self._record(state, start_guard(self.state_dir, self._logs / "guard.log", state.token))
            self._start_services(state, token)
            timeout_s = prefect_children.FIRST_START_TIMEOUT_S
            with ThreadPoolExecutor(1) as pool:
                if meanwhile:
                    wait_ready([one for one in state.children if one.name in _STORAGE], timeout_s)
                    work = pool.submit(meanwhile)
                wait_ready(state.children, timeout_s)
                if meanwhile:
                    work.result()
        except BaseException:
            stop_children(state)
            save_state(self._file, state)
            raise

    def _start_services(self, state: StackState, token: dict[str, str]) -> None:
        folder, logs, taken = self.state_dir.resolve(), self._logs, set[int]()

        def port(name: str, use: str = "http") -> int:
            while (chosen := free_port(state.port(name, use))) in taken:
                state.ports.get(name, {}).pop(use, None)
            taken.add(chosen)
            return chosen

        home, objects = folder / "prefect", folder / "gcs"
        server = prefect_children.start_server(
            home, logs / "prefect.log", port=port("prefect"), auth=state.auth, environment=token
        )
        self._record(state, server)
        objects_server = start_gcs(
            objects, logs / "gcs.log", port=port("gcs"), inherited=Inherited(token, die_with_parent=False)
        )
        self._record(state, objects_server)
        bigquery = start_bigquery(
            folder / "bigquery",
            objects,
            logs / "bigquery.log",
            rest_port=port("bigquery"),
            grpc_port=port("bigquery", "grpc"),
            inherited=Inherited(token, die_with_parent=False),
        )
        self._record(state, bigquery)
        inbox = start_inbox(
            folder / "mails",
            logs / "inbox.log",
            smtp_port=port("inbox", "smtp"),
            http_port=port("inbox"),
            inherited=Inherited({**token, **calendar_environment(state)}, die_with_parent=False),
        )
        self._record(state, inbox)
        worlds = available_worlds() if self._upstream is None else ("box_scores",) if self._upstream else ()
        if worlds:
            self._record(state, self._start_upstreams({world: port("upstream", world) for world in worlds}, token))
        if self._weather:
            targets = {
                "storage": objects_server.ports["http"],
                "bigquery": bigquery.ports["http"],
                "prefect": server.ports["http"],
            }
            ports = {route: port("weather", route) for route in targets}
            self._record(
                state, start_weather(self._weather, targets, logs / "weather.log", ports=ports, environment=token)
            )

    def _start_upstreams(self, ports: dict[str, int], token: dict[str, str]) -> Child:
        endpoint = f"http://127.0.0.1:{ports['box_scores']}"
        if self._upstream is None:
            command = [sys.executable, "-m", _UPSTREAMS, "--data-dir", str(self.state_dir.resolve() / "upstream")]
            command += [f"--port={world}={port}" for world, port in ports.items()]
        else:
            command = [part.format(port=ports["box_scores"]) for part in self._upstream]
        return start_child(
            "upstream",
            command,
            log_path=self._logs / "upstream.log",
            serving=Serving(endpoint, f"{endpoint}/healthz", ports),
            inherited=Inherited(token, _PROJECT_DIR, die_with_parent=False),
        )

    def _record(self, state: StackState, child: Child) -> None:
        state.remember(child)
        save_state(self._file, state)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. ``status`` exits 1 if the stack is not complete."""
    parser = argparse.ArgumentParser(prog="python -m deployments.local.stack", description="The embedded stack.")
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("--state-dir", type=Path, default=Path(".gapless"))
    given = parser.parse_args(arguments)
    try:
        with writable(given.state_dir):
            return _done(given.command, Stack(given.state_dir))
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _done(command: str, stack: Stack) -> int:
    if command == "up":
        stack.up(detached=True)
    elif command == "down":
        stack.down()
        sys.stdout.write("stopped; data, mails and ports are kept\n")
        return 0
    for child in stack.children():
        word = "running" if child.alive() else "gone"
        sys.stdout.write(
            f"{child.name:<10} {word:<8} {child.endpoint:<28} pid {child.identity.pid}, log {child.log_path}\n"
        )
    if not stack.children():
        sys.stdout.write("not running\n")
    return 0 if stack.is_up() else 1


if __name__ == "__main__":
    sys.exit(main())
