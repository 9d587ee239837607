"""One exchange over HTTP: bounded in time and size, without redirects and cookies, and silent about keys."""

from __future__ import annotations

import datetime as dt
import functools
import http.cookiejar
import logging
import os
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Protocol
from urllib.request import getproxies_environment

import httpx

from alerting.errors import ConfigurationError, SourceUnavailable
from alerting.redaction import RedactingFilter, redact
from scrapers.answers import Answer, is_data_type
from scrapers.bodies import beginning, unpacked
from scrapers.challenges import SEARCHED_BYTES
from scrapers.charsets import evidence_in_utf8
from scrapers.checksums import Summed, checksums, refuse_damaged
from scrapers.deadline import Deadline

_ASIDE = "gapless.location"
_OF_CONNECTIONS = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
)


def socks_remedy() -> str:
    """How to get rid of a SOCKS proxy of which httpx makes no request, "" where there is none or it can be used.

    httpx reads the variables when a client is made, before it knows that an address is asked without a proxy.
    """
    proxies = getproxies_environment()
    socks = [scheme for scheme in ("all", "http", "https") if proxies.get(scheme, "").startswith("socks")]
    if not socks or find_spec("socksio") is not None:
        return ""
    names = " ".join(f"{scheme.upper()}_PROXY {scheme}_proxy" for scheme in socks)
    return f"unset {names}; or {sys.executable} -m pip install socksio"


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, and what is a complete answer; with its keys, so that nobody prints it."""

    method: str
    url: str
    accept: str
    accepted: Collection[int]
    timeout_s: float
    max_body_bytes: int
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    has_checksums: bool = True


class Transport(Protocol):
    """What a client sends its calls by."""

    @property
    def received_bytes(self) -> int:
        """Bytes of bodies as they came over the wire, still packed."""

    def exchange(self, call: Call) -> Answer:
        """See `HttpTransport.exchange`."""

    def close(self) -> None:
        """Closes the connections."""


class HttpTransport:
    """The connections to one source, shared by the threads of its client.

    Args:
        base_url: Where most calls go: a source of this machine is asked without the proxy of the environment.
        headers: Sent with every call.
        timeout_s: Longest wait for a connection, and for any one read.
        pool_size: Connections kept open; at least the number of threads.
        notice: Called with a sentence on each body whose label is not true of it.
        take_cookies: Called with the ``Set-Cookie`` headers of each answer, whatever becomes of its body.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        pool_size: int,
        notice: Callable[[str], None],
        take_cookies: Callable[[list[str]], None],
    ) -> None:
        self._base_url, self._notice, self._take_cookies = base_url, notice, take_cookies
        self._received_bytes = 0
        self._lock = threading.Lock()
        _silence_httpx()
        host = urllib.parse.urlsplit(base_url).hostname or ""
        is_remote = host not in ("127.0.0.1", "localhost", "::1")
        self._http = _client(
            follow_redirects=False,
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            limits=httpx.Limits(max_connections=pool_size, max_keepalive_connections=pool_size, keepalive_expiry=4.0),
            # A proxy of the environment is meant for the internet, never for this machine.
            trust_env=is_remote,
            # gzip only: these bodies are unpacked by scrapers.bodies, which notices one that is cut off.
            headers={"User-Agent": user_agent(), **headers, "Accept-Encoding": "gzip"},
            cookies=_no_cookies(),
            event_hooks={"response": [_set_location_aside]},
        )
        self._deadline = Deadline()
        for transport in (self._http._transport, *self._http._mounts.values()):
            if isinstance(transport, httpx.HTTPTransport):
                self._deadline.rule(transport._pool)

    @property
    def received_bytes(self) -> int:
        """See `Transport`."""
        with self._lock:
            return self._received_bytes

    def close(self) -> None:
        """See `Transport`."""
        self._http.close()

    def exchange(self, call: Call) -> Answer:
        """Sends the call once and reads its answer: the whole body of a complete one, the beginning of any other.

        Raises ``SourceUnavailable`` for time-outs and broken connections, ``ConfigurationError`` for an address that
        cannot be asked, and what `scrapers.bodies.unpacked` and `scrapers.checksums.refuse_damaged` say of a body. None
        of them holds a key.
        """
        deadline_s = time.monotonic() + call.timeout_s
        # "from None": httpx keeps the request, and with it the key, on its exceptions.
        try:
            with (
                self._deadline.at(deadline_s),
                self._http.stream(
                    call.method,
                    call.url,
                    params=httpx.QueryParams(call.params),
                    headers=call.headers,
                    data=call.form,
                    content=call.content,
                ) as response,
            ):
                raw = self._within_deadline(response, deadline_s, call.timeout_s)
                self._take_cookies(response.headers.get_list("set-cookie"))
                encoding = response.headers.get("content-encoding", "")
                names = {name.lower(): value for name, value in response.headers.items()} | response.extensions[_ASIDE]
                if response.status_code not in call.accepted:
                    body = beginning(raw, encoding, SEARCHED_BYTES, (httpx.HTTPError,))
                    body = evidence_in_utf8(body, names.get("content-type", ""))
                    return Answer(response.status_code, names, body, dt.datetime.now(dt.UTC))
                kept, promised = list[bytes](), checksums(names) if call.has_checksums else []
                received = Summed(raw, promised)
                pieces = iter(received) if promised else raw
                body = self._body(_keeping(pieces, kept, call.max_body_bytes) if encoding else pieces, encoding, call)
                refuse_damaged(promised, received, body)
                return Answer(response.status_code, names, body, dt.datetime.now(dt.UTC), b"".join(kept))
        except httpx.TimeoutException as error:
            raise SourceUnavailable(f"no response within {call.timeout_s:g} s", reason=type(error).__name__) from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError) as error:
            raise ConfigurationError(
                f"no request can be made to {redact(self._base_url)}", reason=type(error).__name__
            ) from None
        except httpx.HTTPError as error:
            raise SourceUnavailable(
                "the connection failed before the response was complete; nothing of it was kept",
                reason=f"{type(error).__name__}: {redact(str(error))[:120]}",
            ) from None

    def _body(self, raw: Iterator[bytes], encoding: str, call: Call) -> bytes:
        is_text = is_data_type(call.accept)
        return b"".join(unpacked(raw, encoding, call.max_body_bytes, is_text=is_text, notice=self._notice))

    def _within_deadline(self, response: httpx.Response, deadline_s: float, timeout_s: float) -> Iterator[bytes]:
        """Raw chunks; a source that drips one byte at a time meets the deadline of the whole answer."""
        for chunk in response.iter_raw():
            with self._lock:
                self._received_bytes += len(chunk)
            yield chunk
            if time.monotonic() > deadline_s:
                raise SourceUnavailable(f"the body was not complete within {timeout_s:g} s; nothing of it was kept")


def _keeping(chunks: Iterator[bytes], kept: list[bytes], most_bytes: int) -> Iterator[bytes]:
    """Passes them on, and keeps the first ``most_bytes`` of them."""
    size_bytes = 0
    for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes <= most_bytes:
            kept.append(chunk)
        yield chunk


def _client(*, trust_env: bool, **options: Any) -> httpx.Client:
    """Raises ``ConfigurationError`` where the environment names a proxy or certificates that nobody can use."""
    try:
        return httpx.Client(verify=_certificates(trust_env=trust_env), trust_env=trust_env, **options)
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        # Never its text: the address of a proxy has a password in it.
        named = sorted(name for name in os.environ if name.upper() in _OF_CONNECTIONS)
        raise ConfigurationError(
            "no connection can be made with the proxy and the certificates of the environment; no call was made",
            stage="settings",
            hint=f"look at {', '.join(named)}; proxies are http:// or https://",
            reason=type(error).__name__,
        ) from None


@functools.lru_cache
def _certificates(*, trust_env: bool) -> ssl.SSLContext:
    """As httpx makes it, once for all clients of this process: reading the certificates takes 30 ms."""
    return httpx.create_ssl_context(trust_env=trust_env)


def _set_location_aside(response: httpx.Response) -> None:
    """From httpx, which makes the next request of a redirect that nobody follows, and fails where that is no URL."""
    told = response.headers.pop("location", None)
    response.extensions[_ASIDE] = {} if told is None else {"location": told}


def _no_cookies() -> http.cookiejar.CookieJar:
    """A jar that takes nothing: what a server sets would else be sent back without anybody having declared it."""
    return http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))


@functools.cache
def user_agent() -> str:
    """Honest about being a program: a browser's name draws challenges, and hides whom to write to.

    A source that answers nobody else declares other ``Scraper.headers``.
    """
    try:
        return f"gapless/{version('gapless')} (+historical backfill)"
    except PackageNotFoundError:
        return "gapless/0 (+historical backfill)"


def _silence_httpx() -> None:
    """The library logs every URL at INFO, and a key can be a query parameter."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
        if not any(isinstance(known, RedactingFilter) for known in logger.filters):
            logger.addFilter(RedactingFilter())
