"""Weather for the embedded stack: what the distance to Google and to a remote server adds, and what fails on the way.

    python -m deployments.local.weather --kind cloud --health-port 9000 --route storage=8081:4443

A route is a port on 127.0.0.1 that carries bytes to another one, each way half a round trip later. Nothing is parsed
but the first line of a request, and what BigQuery is asked for (a dry run is no job, and a SELECT need not be one), so
that any client and any protocol over TCP passes unchanged. ``bad`` weather also answers some requests itself, as Google
does, and resets some connections; which ones is decided by a seed and the number of the request on its route.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from deployments.local.processes import Child, Inherited, Serving, free_port, start_child

_CHUNK_BYTES = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_DRY_RUN = re.compile(rb'"dryRun": ?true')
_ASKS = re.compile(rb"POST /bigquery/v2/projects/[^/]+/queries(?:\?\S*)? ")
_JOB_IS_OPTIONAL = re.compile(rb'"jobCreationMode": ?"JOB_CREATION_OPTIONAL"')
_SELECTS = re.compile(rb'"query": ?"(?:\\[nrt]|\s)*(?:SELECT|WITH)\b', re.IGNORECASE)
_FIRST_LINE = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1\r\n")
_STARTS_A_JOB = re.compile(
    rb"POST /(?:upload/)?bigquery/v2/projects/[^/]+/(?:jobs|queries)(?:\?\S*)? |PUT /upload/bigquery/"
)


@dataclass(frozen=True, slots=True)
class Distance:
    """What lies between a client and one server.

    Attributes:
        round_trip_s: Added to every request and its answer together.
        job_s: Added to a request that starts a BigQuery job.
        query_s: Added to one whose SELECT BigQuery may answer without a job.
        jitter: Share of all by which they vary, up and down.
    """

    round_trip_s: float
    job_s: float = 0.0
    query_s: float = 0.0
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class Weather:
    """Distances by route, and the shares of requests that are reset, answered 503 or answered 429."""

    distances: Mapping[str, Distance]
    resets: float = 0.0
    unavailable: float = 0.0
    too_many: float = 0.0


_BIGQUERY = Distance(0.2, job_s=3.0, query_s=0.8)
"""Ours, as Google promises no times. A query without a job saves what it takes to queue, start and ask after one, and
reads its few MB all the same: a second in all. One that BigQuery makes a job of after all would take longer."""
_CLOUD = MappingProxyType({"storage": Distance(0.05), "bigquery": _BIGQUERY, "prefect": Distance(0.05)})
WEATHERS: Mapping[str, Weather] = MappingProxyType(
    {"cloud": Weather(_CLOUD), "bad": Weather(_CLOUD, resets=0.01, unavailable=0.01, too_many=0.01)}
)
"""By the word of ``make up WEATHER=...``."""

_REASONS = {
    "storage": {503: "backendError", 429: "rateLimitExceeded"},
    "bigquery": {503: "backendError", 429: "rateLimitExceeded"},
}


class Route:
    """One port that leads to another, through the weather.

    Args:
        name: Key of the weather's distances.
        target: Port on 127.0.0.1.
        weather: What happens on the way.
        seed: Same seed, same fate of the n-th request.
    """

    def __init__(self, name: str, target: int, weather: Weather, seed: int = 0) -> None:
        self.name = name
        self.requests = 0
        self._target = target
        self._weather = weather
        self._distance = weather.distances[name]
        self._dice = random.Random(f"{seed} {name}")  # noqa: S311 - weather is no secret

    async def serve(self, port: int) -> asyncio.Server:
        """Listens on 127.0.0.1."""
        return await asyncio.start_server(self._carry_both, "127.0.0.1", port, limit=_CHUNK_BYTES)

    async def _carry_both(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target, limit=_CHUNK_BYTES)
        except OSError:
            to_client.transport.abort()
            return
        ways = [
            asyncio.create_task(self._carry(client, to_server, to_client)),
            asyncio.create_task(self._carry(server, to_client, None)),
        ]
        try:
            await asyncio.gather(*ways)
        except (OSError, EOFError, _Broken):
            pass
        finally:
            for way in ways:
                way.cancel()
            for writer in (to_client, to_server):
                writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter | None
    ) -> None:
        """One direction: every chunk leaves when its time has come, in order. ``back`` is where requests come from."""
        clock = asyncio.get_running_loop().time
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=256)

        async def arrive() -> None:
            while True:
                at, chunk = await on_the_way.get()
                await asyncio.sleep(max(0.0, at - clock()))
                if not chunk:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()

        arriving, latest = asyncio.create_task(arrive()), 0.0
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                if back is not None:
                    await self._meet_weather(chunk, back)
                    if _STARTS_A_JOB.match(chunk):
                        chunk += await _rest_of(chunk, reader)
                latest = max(latest, clock() + self._delay_s(chunk, is_request=back is not None))
                await on_the_way.put((latest, chunk))
            await on_the_way.put((latest, b""))
            await arriving
        finally:
            arriving.cancel()

    def _delay_s(self, chunk: bytes, *, is_request: bool) -> float:
        delay_s = self._distance.round_trip_s / 2
        if is_request and _STARTS_A_JOB.match(chunk) and not _DRY_RUN.search(chunk):
            delay_s += self._distance.query_s if asks_without_job(chunk) else self._distance.job_s
        return delay_s * (1 + self._distance.jitter * (2 * self._dice.random() - 1))

    async def _meet_weather(self, chunk: bytes, back: asyncio.StreamWriter) -> None:
        """Raises ``_Broken`` when the request that begins with this chunk goes no further."""
        if not _FIRST_LINE.match(chunk):
            return
        self.requests += 1
        fate, weather = self._dice.random(), self._weather
        if fate < weather.resets:
            back.transport.abort()
            raise _Broken
        for share, status in ((weather.unavailable, 503), (weather.too_many, 429)):
            if weather.resets <= fate < weather.resets + share:
                await asyncio.sleep(self._distance.round_trip_s)
                back.write(_refusal(self.name, status))
                await back.drain()
                raise _Broken
            fate -= share


def asks_without_job(request: bytes) -> bool:
    """Whether BigQuery may answer this request, head and body, without a job: a SELECT whose caller wants none.

    https://docs.cloud.google.com/bigquery/docs/running-queries#optional-job-creation
    """
    return bool(_ASKS.match(request) and _JOB_IS_OPTIONAL.search(request) and _SELECTS.search(request))


async def _rest_of(begun: bytes, reader: asyncio.StreamReader) -> bytes:
    """What of a request has not come yet; nothing where its length is not announced."""
    rest = b""
    while b"\r\n\r\n" not in begun + rest:
        rest += await reader.readuntil(b"\r\n\r\n")
    head, _, body = (begun + rest).partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    missing = int(length[1]) - len(body) if length else 0
    return rest + (await reader.readexactly(missing) if missing > 0 else b"")


class _Broken(Exception):
    """The connection ends here."""


def _refusal(name: str, status: int) -> bytes:
    """The answer of a busy server; Google's have a reason."""
    text = "Service Unavailable" if status == 503 else "Too Many Requests"
    reason = _REASONS.get(name, {}).get(status)
    error = {"code": status, "message": text, "errors": [{"reason": reason, "message": text}]} if reason else None
    body = json.dumps({"error": error} if error else {"detail": text}).encode()
    head = f"HTTP/1.1 {status} {text}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Retry-After: 1\r\nConnection: close\r\n\r\n" + body


def start_weather(
    kind: str, targets: Mapping[str, int], log_path: Path, *, ports: Mapping[str, int], environment: Mapping[str, str]
) -> Child:
    """Starts the routes as a child process; see `processes.wait_ready`.

    Args:
        kind: Key of `WEATHERS`.
        targets: Ports of the servers by route.
        log_path: Takes its output.
        ports: Ports that clients use, by route.
        environment: See `processes.Inherited`.
    """
    command = [sys.executable, "-m", "deployments.local.weather", "--kind", kind, "--health-port"]
    health = free_port()
    command += [str(health), *(f"--route={name}={ports[name]}:{target}" for name, target in targets.items())]
    return start_child(
        "weather",
        command,
        log_path=log_path,
        serving=Serving(ready_url=f"http://127.0.0.1:{health}/healthz", ports=ports),
        inherited=Inherited(environment, Path(__file__).resolve().parents[2], die_with_parent=False),
    )


async def _answer_health(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


async def _serve(kind: str, routes: Sequence[tuple[str, int, int]], health_port: int, seed: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    carrying = [Route(name, target, WEATHERS[kind], seed) for name, _, target in routes]
    servers = [await route.serve(port) for route, (_, port, _) in zip(carrying, routes, strict=True)]
    servers.append(await asyncio.start_server(_answer_health, "127.0.0.1", health_port))
    await ended.wait()
    for route in carrying:
        print(f"{route.name}: {route.requests:,} requests", flush=True)
    for server in servers:
        server.close()


def _route(text: str) -> tuple[str, int, int]:
    found = re.fullmatch(r"(\w+)=(\d+):(\d+)", text)
    if not found or found[1] not in _CLOUD:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROUTE=PORT:TARGET; routes are {', '.join(_CLOUD)}")
    return found[1], int(found[2]), int(found[3])


def main() -> None:
    """Carries until SIGTERM, then prints the requests of each route."""
    options = argparse.ArgumentParser(
        prog="python -m deployments.local.weather",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--kind", choices=sorted(WEATHERS), required=True)
    options.add_argument("--route", type=_route, action="append", required=True, metavar="ROUTE=PORT:TARGET")
    options.add_argument("--health-port", type=int, required=True)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(given.kind, given.route, given.health_port, given.seed))


if __name__ == "__main__":
    main()
