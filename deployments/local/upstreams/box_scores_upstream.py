"""The sample upstream: speaks the box score contract, generates a season, and misbehaves on request.

    python -m deployments.local.upstreams.box_scores_upstream --port 8080 --latency-ms 50 --api-key sample-key

``GET /v1/box_scores?date=YYYY-MM-DD`` wants the key in ``Authorization``. Everything under ``/gapless/`` needs none:
``POST trouble`` (a list of `box_scores_trouble.Rule`), ``DELETE trouble``, ``GET`` and
``DELETE calls``, ``POST latency`` (``{"latency_ms": 50}``); ``GET /healthz`` tells that it is up.
"""

from __future__ import annotations

import argparse
import threading
from types import TracebackType
from typing import Any, Self

from deployments.local.upstreams.box_scores_answers import Handler, Server
from deployments.local.upstreams.box_scores_trouble import Calls, Rule, Troubles


class Upstream:
    """The server in a thread of this process, or in its own through ``main``. Use as a context manager.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        latency_ms: Added to every data answer; can be changed while it runs.
        api_key: The only key it accepts.
    """

    def __init__(self, port: int = 0, *, latency_ms: float = 0.0, api_key: str = "sample-key") -> None:
        self.latency_ms = latency_ms
        self.api_key = api_key
        self.troubles = Troubles()
        self.calls = Calls()
        self.stopping = threading.Event()
        handler = type("Handler", (Handler,), {"upstream": self})
        self._server = Server(("127.0.0.1", port), handler)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def trouble(self, *rules: Rule | dict[str, Any]) -> None:
        """Replaces the rules in force; none = all is well."""
        self.troubles.set(rule if isinstance(rule, Rule) else Rule.model_validate(rule) for rule in rules)

    def serve(self) -> None:
        """Serves until ``stop``."""
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Ends hanging answers, the server and its thread."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, name="upstream", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main() -> None:
    """Serves until it is killed."""
    options = argparse.ArgumentParser(description="Sample upstream of Gapless, on 127.0.0.1 only.")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--latency-ms", type=float, default=0.0)
    options.add_argument("--api-key", default="sample-key")
    chosen = options.parse_args()
    upstream = Upstream(chosen.port, latency_ms=chosen.latency_ms, api_key=chosen.api_key)
    try:
        upstream.serve()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
