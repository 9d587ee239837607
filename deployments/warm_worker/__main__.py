"""``python -m deployments.warm_worker --pool gapless --limit 4``: takes every option of ``prefect worker start``.

It serves the same pools as a process worker, which starts Python and loads Prefect twice for every flow run, once to
prepare a workspace and once to run: docs/scale.md. Only Linux forks safely enough to spare that; elsewhere this is the
process worker.
"""

from __future__ import annotations

import signal
import sys

from prefect.cli import app


def main() -> None:
    """Runs ``prefect worker start`` with our worker in the place of the process worker."""
    kind = "process"
    if sys.platform == "linux":
        from deployments.warm_worker.worker import WARM

        kind = WARM
    # By it Prefect ends a worker that got SIGTERM, and what a script starts in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["prefect", "worker", "start", "--type", kind, "--install-policy", "never", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
