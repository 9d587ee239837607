"""One deadline for a whole answer, the status line and every header included.

The client's time-out is one per read: a source that sends one byte of a header a second never meets it. Here each read
waits no longer than what is left until the deadline of the call that the thread is making.
"""

from __future__ import annotations

import contextlib
import math
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore


class Deadline:
    """The instant (monotonic) at which the call of the current thread has to be over; each thread has its own."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextlib.contextmanager
    def at(self, ends_s: float) -> Iterator[None]:
        """Everything that this thread sends and receives inside is over at ``ends_s``."""
        self._local.ends_s = ends_s
        try:
            yield
        finally:
            self._local.ends_s = math.inf

    def left(self, timeout_s: float | None, kind: type[Exception]) -> float | None:
        """The shorter of ``timeout_s`` and what is left; raises ``kind`` when nothing is."""
        left_s = getattr(self._local, "ends_s", math.inf) - time.monotonic()
        if left_s <= 0:
            raise kind("the deadline of the whole answer is over")
        if math.isinf(left_s):
            return timeout_s
        return left_s if timeout_s is None else min(timeout_s, left_s)

    def rule(self, pool: httpcore.ConnectionPool) -> None:
        """Holds for every connection that ``pool`` opens from here on."""
        # A pool takes its network backend when it is made, and httpx 0.28 makes it and passes none on.
        pool._network_backend = _Backend(pool._network_backend, self)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left_s, local_address, socket_options), self._deadline)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_unix_socket(path, left_s, socket_options), self._deadline)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
