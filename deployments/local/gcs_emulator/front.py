"""The door of the local Cloud Storage: fake-gcs-server behind `browser_guard`.

    python -m deployments.local.gcs_emulator.front --port 4443 -- fake-gcs-server -backend ...

The binary answers ``Access-Control-Allow-Origin: *`` and checks neither Host nor Origin nor size, so that any web page
could read, replace and delete objects. It therefore listens with a certificate that no browser accepts, on a port that
nobody is told; this process passes on what `browser_guard.refusal` lets through.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
import urllib.parse
from pathlib import Path

import h11

from deployments.local.browser_guard import Refusal, refusal
from deployments.local.gcs_emulator.strictness import Refused, Strictness, Write, is_upload, write_of
from deployments.local.processes import Child, Inherited, free_port, start_child

MAX_OBJECT_BYTES = 256 * 1024 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024
_POLL_S = 0.2
_OF_ONE_CONNECTION = (b"connection", b"keep-alive")

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Side:
    """One end of a passed-on connection, as h11 sees it."""

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], streams: _Streams) -> None:
        self.state = h11.Connection(role, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._reader, self._writer = streams
        self._unsent = bytearray()

    async def next(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """The next event; never NEED_DATA."""
        while (event := self.state.next_event()) is h11.NEED_DATA:
            if self.state.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.state.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def send(self, event: h11.Event) -> None:
        """Sends with the end of a message, or as soon as it is worth a packet: three small writes cost thrice."""
        self._unsent += self.state.send(event) or b""
        if len(self._unsent) >= _READ_BYTES or isinstance(event, h11.EndOfMessage | h11.InformationalResponse):
            self._writer.write(bytes(self._unsent))
            self._unsent.clear()
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


class _TooLarge(Exception):
    """The chunks of a body are more than one object may be."""


async def _pass_on(source: _Side, target: _Side, max_bytes: int | None = None) -> None:
    """Passes on the events of a message after its head."""
    size_bytes = 0
    while True:
        event = await source.next()
        if isinstance(event, h11.Data):
            size_bytes += len(event.data)
            if max_bytes is not None and size_bytes > max_bytes:
                raise _TooLarge
            await target.send(event)
        elif isinstance(event, h11.EndOfMessage):
            await target.send(event)
            return
        else:
            raise h11.RemoteProtocolError("the connection ended within a message")


async def _begun(client: _Side, target: str) -> tuple[list[h11.Data | h11.EndOfMessage], Write | None]:
    """The beginning of an upload's body, as far as it takes to know what is written."""
    events: list[h11.Data | h11.EndOfMessage] = []
    body = b""
    while len(body) < _MAX_HEAD_BYTES:
        event = await client.next()
        if not isinstance(event, h11.Data | h11.EndOfMessage):
            raise h11.RemoteProtocolError("the connection ended within a message")
        events.append(event)
        body += bytes(event.data) if isinstance(event, h11.Data) else b""
        # The query can name the object too, but only the end of the body tells that nothing else does.
        is_whole = isinstance(event, h11.EndOfMessage)
        if (write := write_of(target, body, is_whole=is_whole)) is not None or is_whole:
            return events, write
    return events, None


async def _generation(backend: _Side, write: Write) -> int:
    """The generation that the object has, 0 without one."""
    target = f"/storage/v1/b/{write.bucket}/o/{urllib.parse.quote(write.name, safe='')}"
    await backend.send(h11.Request(method="GET", target=target, headers=[("host", "127.0.0.1")]))
    await backend.send(h11.EndOfMessage())
    answer, body = await backend.next(), b""
    while isinstance(event := await backend.next(), h11.Data):
        body += bytes(event.data)
    backend.state.start_next_cycle()
    if not isinstance(answer, h11.Response) or answer.status_code != 200:
        return 0
    return int(json.loads(body)["generation"])


async def _told(client: _Side, refused: Refused, events: list[h11.Data | h11.EndOfMessage]) -> None:
    """Answers an upload as Cloud Storage would, when the client has sent all of it."""
    is_whole = bool(events) and isinstance(events[-1], h11.EndOfMessage)
    while not is_whole:
        event = await client.next()
        if not isinstance(event, h11.Data | h11.EndOfMessage):
            raise h11.RemoteProtocolError("the connection ended within a message")
        is_whole = isinstance(event, h11.EndOfMessage)
    body = refused.body()
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    await client.send(h11.Response(status_code=refused.status, headers=headers))
    await client.send(h11.Data(data=body))
    await client.send(h11.EndOfMessage())


async def _exchange(
    client: _Side, backend: _Side, head: h11.Request, begun: list[h11.Data | h11.EndOfMessage] | None = None
) -> None:
    """Passes on one request, of whose body ``begun`` has been read already, and its answer."""
    # Expect is answered here: the binary would answer it only while it reads.
    left_out = (*_OF_ONE_CONNECTION, b"expect")
    headers = [pair for pair in head.headers.raw_items() if pair[0].lower() not in left_out]
    await backend.send(h11.Request(method=head.method, target=head.target, headers=headers))
    for event in begun or ():
        await backend.send(event)
    if not begun or not isinstance(begun[-1], h11.EndOfMessage):
        await _pass_on(client, backend, MAX_OBJECT_BYTES)
    answer = await backend.next()
    while isinstance(answer, h11.InformationalResponse):
        answer = await backend.next()
    if not isinstance(answer, h11.Response):
        raise h11.RemoteProtocolError("no answer from fake-gcs-server")
    shown = [
        # An upload in pieces goes on at an address that the server makes from how it was asked itself.
        (name, value.replace(b"https://", b"http://", 1) if name.lower() == b"location" else value)
        for name, value in answer.headers.raw_items()
        if name.lower() not in _OF_ONE_CONNECTION
    ]
    await client.send(h11.Response(status_code=answer.status_code, headers=shown, reason=answer.reason))
    await _pass_on(backend, client)


async def _refuse(client: _Side, refused: Refusal) -> None:
    body = f"{refused.reason}\n".encode()
    headers = [("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close")]
    await client.send(h11.Response(status_code=refused.status, headers=headers))
    await client.send(h11.Data(data=body))
    await client.send(h11.EndOfMessage())


def _judged(head: h11.Request) -> Refusal | None:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items()]
    return refusal(head.method.decode("ascii"), headers, max_body_bytes=MAX_OBJECT_BYTES)


class Front:
    """Passes on connections to a port of fake-gcs-server; with ``strictness`` not all that the server would take."""

    def __init__(self, backend_port: int, strictness: Strictness | None = None) -> None:
        self._port = backend_port
        self._strictness = strictness
        # Nobody else can listen on a port of loopback that our child holds; the certificate keeps browsers out.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, with one to the backend."""
        client, backend = _Side(h11.SERVER, (reader, writer)), None
        try:
            while isinstance(head := await client.next(), h11.Request):
                if refused := _judged(head):
                    await _refuse(client, refused)
                    return
                backend = backend or _Side(
                    h11.CLIENT, await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
                )
                begun, refused_write = await self._begun_strictly(client, backend, head)
                if refused_write is not None:
                    await _told(client, refused_write, begun)
                    client.state.start_next_cycle()
                    continue
                await _exchange(client, backend, head, begun)
                if h11.MUST_CLOSE in (client.state.our_state, backend.state.our_state, backend.state.their_state):
                    return
                client.state.start_next_cycle()
                backend.state.start_next_cycle()
        except _TooLarge:
            await _refuse(client, Refusal(413, f"an object here has at most {MAX_OBJECT_BYTES} bytes"))
        except h11.RemoteProtocolError:
            with contextlib.suppress(h11.ProtocolError, OSError):
                await _refuse(client, Refusal(400, "not understood as HTTP"))
        except OSError:
            pass  # either end hung up, or the backend does not listen yet: the client sees a closed connection
        finally:
            client.close()
            if backend is not None:
                backend.close()

    async def _begun_strictly(
        self, client: _Side, backend: _Side, head: h11.Request
    ) -> tuple[list[h11.Data | h11.EndOfMessage], Refused | None]:
        target = head.target.decode("latin-1")
        if self._strictness is None or not is_upload(head.method.decode("ascii"), target):
            return [], None
        events, write = await _begun(client, target)
        if write is None:
            return events, None
        # The server forgets the precondition of an upload in pieces.
        is_forgotten = write.is_resumable and write.generation is not None
        if is_forgotten and (found := await _generation(backend, write)) != write.generation:
            return events, Refused(412, "conditionNotMet", f"expected generation {write.generation}, found {found}")
        return events, self._strictness.refused(write)


async def _serve(port: int, backend: Child, backend_port: int) -> None:
    stop = asyncio.Event()
    strictness = Strictness() if os.environ.get("GAPLESS_STRICT") else None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(Front(backend_port, strictness).serve, "127.0.0.1", port, backlog=256)
    while not stop.is_set() and backend.alive():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _POLL_S)
    server.close()


def main() -> int:
    """Command line: our port, then the command of fake-gcs-server without its address. 1 if that ends by itself."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.local.gcs_emulator.front",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    backend_port = free_port()
    address = ["-scheme", "https", "-host", "127.0.0.1", "-port", str(backend_port)]
    # It tells instants in the zone of its machine, and Google's client reads none that does not end with Z.
    in_utc = Inherited({"TZ": "UTC"})
    backend = start_child("fake-gcs-server", [*given.command, *address], log_path=given.log, inherited=in_utc)
    try:
        asyncio.run(_serve(given.port, backend, backend_port))
        return 0 if backend.alive() else 1
    finally:
        backend.stop()


if __name__ == "__main__":
    sys.exit(main())
