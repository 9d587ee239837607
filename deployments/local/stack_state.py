"""What the local stack remembers between commands: ``stack.json``, and the lock beside it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alerting.errors import ConfigurationError, StateUnreadable
from deployments.local.process_id import ProcessId
from deployments.local.processes import Child, ChildFailed

_LOCK_TIMEOUT_S = 180.0
_UNWRITABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOENT),
)


@dataclass
class StackState:
    """The recorded stack.

    Attributes:
        token: Inherited by every process of it, see `deployments.local.process_id`.
        owner: The process whose end ends the stack; None for one that was left running on purpose.
        children: In the order of their start.
        auth: ``name:password`` of the Prefect server; kept after a stop, so that browsers stay signed in.
        ports: By child and use; kept after a stop, so that links in old mails work again.
        exports: What the environment that started it said of sources, by variable, see
            `deployments.local.stack_environment`.
    """

    token: str = ""
    owner: ProcessId | None = None
    children: list[Child] = field(default_factory=list)
    auth: str = field(default="", repr=False)
    ports: dict[str, dict[str, int]] = field(default_factory=dict)
    exports: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def alive(self) -> bool:
        """Whether the whole stack still runs, its owner included."""
        return (
            bool(self.children)
            and all(child.alive() for child in self.children)
            and (self.owner is None or self.owner.alive())
        )

    def child(self, name: str) -> Child | None:
        """A recorded child by name."""
        return next((child for child in self.children if child.name == name), None)

    def port(self, name: str, use: str = "http") -> int | None:
        """The port that a child had last time."""
        return self.ports.get(name, {}).get(use)

    def remember(self, child: Child) -> None:
        """Takes a started child in, in place of an older one of its name."""
        self.children = [*(one for one in self.children if one.name != child.name), child]
        self.ports[child.name] = child.ports


def state_file(state_dir: Path) -> Path:
    """Where the state of a folder's stack is kept."""
    return state_dir / "stack.json"


def load_state(path: Path) -> StackState:
    """Reads the state; an empty one if there is no file.

    Raises:
        StateUnreadable: The file is there and is not what `save_state` writes. Nothing is stopped on a guess.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return StackState(
            token=read["token"],
            owner=ProcessId(**read["owner"]) if read["owner"] else None,
            children=[_child(one) for one in read["children"]],
            auth=read.get("auth", ""),
            ports={name: _ports(uses) for name, uses in read["ports"].items()},
            exports=dict(read.get("exports", {})),
        )
    except FileNotFoundError:
        return StackState()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateUnreadable(
            f"expected the local stack's state in {path}, got {type(error).__name__}: {error}. Nothing was stopped",
            hint=f"stop what is left of it by hand, then delete {path}",
        ) from error


def save_state(path: Path, state: StackState) -> None:
    """Writes the state in one step: a reader sees the old or the new one."""
    content = {
        "token": state.token,
        "owner": asdict(state.owner) if state.owner else None,
        "children": [
            {
                "name": child.name,
                "pid": child.identity.pid,
                "started": child.identity.started,
                "endpoint": child.endpoint,
                "ready_url": child.ready_url,
                "ports": child.ports,
                "log": str(child.log_path),
            }
            for child in state.children
        ],
        "auth": state.auth,
        "ports": state.ports,
        "exports": state.exports,
    }
    replace_file(path, json.dumps(content, indent=2) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Puts a file of mode 600 in place in one step."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.touch(mode=0o600)
    # Whatever the locale: paths stand in it, and of one that is no text in the locale Python knows the bytes.
    unfinished.write_text(text, encoding="utf-8", errors="surrogateescape")
    unfinished.replace(path)


def _child(read: dict[str, Any]) -> Child:
    identity = ProcessId(int(read["pid"]), read["started"])
    return Child(read["name"], identity, read["endpoint"], Path(read["log"]), read["ready_url"], _ports(read["ports"]))


def _ports(read: dict[str, Any]) -> dict[str, int]:
    return {use: int(port) for use, port in read.items()}


@contextlib.contextmanager
def writable(state_dir: Path) -> Iterator[None]:
    """Raises ``ConfigurationError`` for a folder in which nothing can be written, or no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise ConfigurationError(
            f"the stack keeps its state in {state_dir.absolute()}, where nothing can be written: {error.strerror}",
            hint="free some space, or use a checkout that you may write to",
        ) from error


@contextlib.contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Keeps other commands of the same checkout out; waits for one that is busy.

    Raises:
        ChildFailed: The other command is still busy after three minutes.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state_dir.chmod(0o700)
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    (state_dir / "lock").touch(mode=0o600)
    with (state_dir / "lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ChildFailed(f"another command has held {state_dir}/lock for {_LOCK_TIMEOUT_S:g} s") from error
                time.sleep(0.1)
        yield
