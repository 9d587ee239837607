"""Where a call goes and which key goes with it: both are looked at before anything is sent."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping

from alerting.errors import AuthenticationError, ConfigurationError, SourceContractError
from alerting.randomness import looks_random
from alerting.redaction import one_line, redact, register_secret
from alerting.secret_literals import masked_in, register_passing_secret
from scrapers.auth import Auth, SecretBasic, SessionCookie, TokenAuth

_SITE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
# Another folder, another query, the end of the path, or what no address can hold; also where it is percent-encoded.
_STRAY = re.compile(r"(?i)[\x00-\x1f\x7f?#\\]|//|%(?:2f|5c|3f|23|0|1)|/(?:\.|%2e){1,2}(?:/|$)")
# A shorter text may as well stand in the data.
_SHORTEST_ECHO_CHARS = 16


def address_of(base_url: str, site: str) -> str:
    """``base_url`` with the site of one entity in it; without a site its place is left out.

    Raises ``SourceContractError`` for what is no host name.

    >>> address_of("https://{site}.example.org", "ann.ca"), address_of("http://127.0.0.1:8081/{site}", "")
    ('https://ann.ca.example.org', 'http://127.0.0.1:8081')
    """
    if "{site}" not in base_url:
        return base_url
    if not site:
        return base_url.replace("{site}.", "").replace("/{site}", "")
    # A slash or an @ in a mistyped entity would send the key to a host of somebody else's choice.
    if not _SITE.fullmatch(site):
        raise SourceContractError(f"{redact(site)!r} cannot be part of a host name; no call was made")
    return base_url.replace("{site}", site)


def refuse_stray_path(path: str) -> None:
    """Ids out of answers become parts of paths: one that leads elsewhere would take the key along, and pay for it.

    Raises ``SourceContractError``, and ``ConfigurationError`` for a path of a scraper that has no slash at its front.

    >>> refuse_stray_path("/v4/events/9f3a/odds")
    >>> refuse_stray_path("/v4/events/../sports/odds")
    Traceback (most recent call last):
    alerting.errors.SourceContractError: the path '/v4/events/../sports/odds' leads elsewhere; no call was made
    """
    if not path.startswith("/") or path.startswith("//"):
        raise ConfigurationError(f"request path {redact(path)!r} must begin with one slash")
    if _STRAY.search(path):
        raise SourceContractError(f"the path {one_line(path)[:120]!r} leads elsewhere; no call was made")


def credentials_of(auth: Auth | None, secrets: Mapping[str, str]) -> dict[str, str]:
    """The values that ``auth`` names, registered for redaction; none where the source needs none, or can do without.

    Raises ``AuthenticationError`` for a missing one and ``ConfigurationError`` for one that no header can carry.
    """
    found: dict[str, str] = {}
    for name in auth.secrets if auth else ():
        # A key file or secret manager often adds a line end, which no header may hold.
        secret = secrets.get(name, "").strip()
        if not secret and auth and auth.is_optional:
            return {}
        if not secret:
            raise AuthenticationError(
                f"the secret {name} is not set; no call was made",
                hint=f'give it to the worker: GAPLESS_SOURCE_SECRETS=\'{{"{name}": "..."}}\', or its Secret block',
            )
        # A key file has lines and travels in no header.
        if not isinstance(auth, TokenAuth) and not (secret.isascii() and secret.isprintable()):
            raise ConfigurationError(f"the secret {name} holds characters no key can have; no call was made")
        register_secret(secret)
        found[name] = secret
    if isinstance(auth, SecretBasic):
        if ":" in found[auth.user]:
            raise ConfigurationError(f"the secret {auth.user} holds a colon, which no user name can; no call was made")
        register_secret(basic_token(auth, found))
    if isinstance(auth, SessionCookie):
        _check_session(auth, found[auth.secret])
    return found


def _check_session(auth: SessionCookie, text: str) -> None:
    """Masks each value; ``AuthenticationError`` where a cookie is missing."""
    cookies = cookies_in(text)
    for value in cookies.values():
        register_secret(value)
    if missing := [name for name in auth.names if not cookies.get(name)]:
        raise AuthenticationError(
            f"the secret {auth.secret} has no cookie {' and '.join(missing)}; no call was made",
            hint=f"write it as a Cookie header does: {'; '.join(f'{name}=...' for name in auth.names)}",
        )


def cookies_in(text: str) -> dict[str, str]:
    """The cookies of a ``Cookie`` header.

    >>> cookies_in("a=1; b=x=y")
    {'a': '1', 'b': 'x=y'}
    """
    pairs = (part.strip().partition("=") for part in text.removeprefix("Cookie:").split(";"))
    return {name: value for name, _, value in pairs if name}


def session_header(auth: SessionCookie, text: str) -> str:
    """The ``Cookie`` header: the declared cookies of the session and no other one.

    >>> session_header(SessionCookie("s", ("a",)), "a=1; b=2")
    'a=1'
    """
    cookies = cookies_in(text)
    return "; ".join(f"{name}={cookies[name]}" for name in auth.names)


def renewed_session(auth: SessionCookie, text: str, set_cookie_headers: Iterable[str]) -> str:
    """The session with the new values that an answer gives its cookies; "" where it gives none.

    A cookie that the server takes back (an empty value, an age of nothing) is kept: what ends a session is a refusal.

    >>> session = SessionCookie("s", ("a",))
    >>> renewed_session(session, "a=1; b=2", ["a=3; Path=/; Secure", "b=4"]), renewed_session(session, "a=1", ["c=5"])
    ('a=3; b=2', '')
    >>> renewed_session(session, "a=1", ["a=9; Max-Age=0"])
    ''
    """
    cookies, before = cookies_in(text), cookies_in(text)
    for header in set_cookie_headers:
        pair, _, attributes = header.partition(";")
        name, _, value = (part.strip(' "') for part in pair.partition("="))
        is_taken_back = re.search(r"(?i)max-age\s*=\s*(?:0|-)", attributes) is not None
        if name in auth.names and value and value.isascii() and value.isprintable() and not is_taken_back:
            register_secret(value)
            cookies[name] = value
    return "; ".join(f"{name}={value}" for name, value in cookies.items()) if cookies != before else ""


def basic_token(auth: SecretBasic, credentials: Mapping[str, str]) -> str:
    """User and password as the ``Authorization`` header carries them.

    >>> basic_token(SecretBasic("user", "password"), {"user": "Aladdin", "password": "open sesame"})
    'QWxhZGRpbjpvcGVuIHNlc2FtZQ=='
    """
    return base64.b64encode(f"{credentials[auth.user]}:{credentials[auth.password]}".encode()).decode()


def secret_texts(auth: Auth | None, credentials: Mapping[str, str]) -> list[str]:
    """All that an answer could echo: the secrets, and each cookie of a session.

    >>> secret_texts(SessionCookie("s", ("a",)), {"s": "a=1; b=2"})
    ['a=1; b=2', '1', '2']
    """
    cookies = cookies_in(credentials.get(auth.secret, "")) if isinstance(auth, SessionCookie) else {}
    return [*credentials.values(), *cookies.values()]


def mask_cookies(set_cookie_headers: Iterable[str]) -> None:
    """What a server hands out as a cookie is a session: masked from here on, unless it is a plain word or number."""
    for header in set_cookie_headers:
        value = header.partition(";")[0].partition("=")[2].strip(' "')
        if len(value) >= 8 and (looks_random(value) or len(value) >= 32):
            register_passing_secret(value)


def without_secrets(body: bytes, secrets: Iterable[str]) -> bytes:
    """A source may echo the key (in a next-page link, percent-encoded there); it must not reach storage.

    >>> without_secrets(b"next?key=0123456789abcdef", ["0123456789abcdef"]), without_secrets(b"a short key", ["key"])
    (b'next?key=***', b'a short key')
    """
    for secret in dict.fromkeys(secrets):
        if len(secret) >= _SHORTEST_ECHO_CHARS:
            body = masked_in(body, secret)
    return body
