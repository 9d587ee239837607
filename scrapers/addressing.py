"""Where a call goes and which key goes with it: both are looked at before anything is sent."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping

from alerting.errors import AuthenticationError, ConfigurationError, SourceContractError
from alerting.redaction import redact, register_secret
from alerting.secret_literals import masked_in, register_passing_secret
from alerting.secret_values import looks_random
from scrapers.base import Auth, SecretBasic, TokenAuth

_SITE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
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
            raise AuthenticationError(f"the secret {name} is not set; no call was made")
        # A key file has lines and travels in no header.
        if not isinstance(auth, TokenAuth) and not (secret.isascii() and secret.isprintable()):
            raise ConfigurationError(f"the secret {name} holds characters no key can have; no call was made")
        register_secret(secret)
        found[name] = secret
    if isinstance(auth, SecretBasic):
        if ":" in found[auth.user]:
            raise ConfigurationError(f"the secret {auth.user} holds a colon, which no user name can; no call was made")
        register_secret(basic_token(auth, found))
    return found


def basic_token(auth: SecretBasic, credentials: Mapping[str, str]) -> str:
    """User and password as the ``Authorization`` header carries them.

    >>> basic_token(SecretBasic("user", "password"), {"user": "Aladdin", "password": "open sesame"})
    'QWxhZGRpbjpvcGVuIHNlc2FtZQ=='
    """
    return base64.b64encode(f"{credentials[auth.user]}:{credentials[auth.password]}".encode()).decode()


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
    for secret in secrets:
        if len(secret) >= _SHORTEST_ECHO_CHARS:
            body = masked_in(body, secret)
    return body
