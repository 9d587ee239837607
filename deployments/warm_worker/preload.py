"""What the fork server has loaded: Prefect and the libraries of a run, nothing of ours; and how it ends.

So a flow run begins with our code as it is on disk, as in a process of its own. Nothing here may start a thread, which
a fork would not take along: a test counts them.

Who stops a worker with all that belongs to it sends SIGTERM to each process at once. The server leaves behind its last
flow run, as it alone hears how they end.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
from importlib.util import find_spec

MODULES = [
    "prefect.engine",
    "prefect.flow_engine",
    "prefect._internal.metrics",
    "prefect.runner._hook_runner",
    "pydantic_settings",
    "httpx",
    "requests",
    "jinja2",
    "google.auth.transport.requests",
    "google.cloud.storage",
]
if find_spec("pyarrow") is None:
    # With pyarrow beside it, BigQuery's client loads that, and it starts two threads.
    MODULES.append("google.cloud.bigquery")

_SERVER = os.getpid()
_LOOKS_EVERY_S = 0.3
_looks_without_any = list[int]()


def _leave_behind_the_last(number: int, _frame: object) -> None:
    if os.getpid() != _SERVER:
        # A flow run that has not begun yet.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        # At the second look without one, so that the word on the last one is out.
        if number == signal.SIGALRM:
            if _looks_without_any:
                os._exit(0)
            _looks_without_any.append(number)
    signal.setitimer(signal.ITIMER_REAL, _LOOKS_EVERY_S)


signal.signal(signal.SIGTERM, _leave_behind_the_last)
signal.signal(signal.SIGALRM, _leave_behind_the_last)
for module in MODULES:
    importlib.import_module(module)
# Pages of objects that no collection touches stay shared with the flow runs.
gc.collect()
gc.freeze()
