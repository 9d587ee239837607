"""A server on a socket that sends exactly the bytes it is told, piece by piece, and says how far it came."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

Pieces = Iterable[bytes]


class RawServer:
    """Answers request after request with what ``answer(number, asked)`` gives, and closes the connection each time.

    ``asked`` is the request as received, ``sent`` the bytes that went out per answer before the client hung up.
    """

    def __init__(self, answer: Callable[[int, bytes], Pieces]) -> None:
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.asked: list[bytes] = []
        self.sent: list[int] = []
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        # A blocked accept() does not notice that its socket is closed.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._one, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            asked = connection.recv(65536)
            if not asked:
                return
            number = len(self.asked)
            self.asked.append(asked)
            self.sent.append(0)
            for piece in self._answer(number, asked):
                connection.sendall(piece)
                self.sent[number] += len(piece)
            connection.shutdown(socket.SHUT_WR)
            # A client that still has to read must not be met by a reset.
            connection.settimeout(2)
            connection.recv(1)


def dripping(data: bytes, server: Callable[[], RawServer], pause_s: float = 0.02) -> Iterator[bytes]:
    """One byte at a time, until the server is stopped."""
    for byte in data:
        if server().stopping.wait(pause_s):
            return
        yield bytes([byte])


def http(status: str, body: bytes = b"", *headers: str, length: bool = True) -> bytes:
    """The bytes of an answer; ``status`` is ``206 Partial Content``."""
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else []), "Connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
