"""A Google service account: reads its JSON key, signs for access tokens and keeps the one in force.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest. Makes no call: who has the HTTP client
gives the way to the token endpoint.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.auth import jwt
from google.auth.crypt import RSASigner

from alerting.errors import AuthenticationError, ConfigurationError, PipelineError, SourceContractError
from alerting.secret_literals import register_passing_secret, register_secret
from scrapers.answers import Answer, parsed_json, problem_in

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME_S = 3600
"""Of an assertion; Google takes no longer one."""
RENEW_BEFORE_S = 300.0
"""A token that ends sooner is renewed before the next call: more than a call can take."""

_FIELDS = ("client_email", "private_key", "token_uri")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHORTEST_LINE_CHARS = 16

Exchange = Callable[[str, Mapping[str, str]], Answer]
"""POSTs a form to an address and gives what came."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who signs, and where the signature becomes a token."""

    email: str
    token_uri: str
    signer: RSASigner = field(repr=False)

    @classmethod
    def from_key(cls, text: str, name: str) -> ServiceAccount:
        """From the key file's JSON. Every part of its private key is masked everywhere from here on.

        Raises ``ConfigurationError`` without any of its values; ``name`` is that of the secret.
        """
        try:
            key = json.loads(text)
        except ValueError:
            key = None
        if not isinstance(key, dict):
            raise _unfit(name, "it is no JSON object")
        lost = [one for one in _FIELDS if not isinstance(key.get(one), str) or not key[one].strip()]
        if lost:
            raise _unfit(name, f"it has no {' and no '.join(lost)}")
        private_key = key["private_key"]
        register_secret(private_key)
        for line in private_key.splitlines():
            if len(line) >= _SHORTEST_LINE_CHARS and not line.startswith("-----"):
                register_secret(line)
        address = urllib.parse.urlsplit(key["token_uri"])
        if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
            raise _unfit(name, "its token_uri is no https address")
        try:
            signer = _signer_of(private_key, key.get("private_key_id"))
        except Exception as error:
            # The library's own text may quote the key.
            raise _unfit(name, f"its private_key cannot be read ({type(error).__name__})") from None
        return cls(key["client_email"], key["token_uri"], signer)

    def assertion(self, scope: str, now: dt.datetime) -> str:
        """What the token endpoint takes for a token of ``scope``; ``now`` is aware."""
        begins = int(now.timestamp())
        claims = {
            "iss": self.email,
            "scope": scope,
            "aud": self.token_uri,
            "iat": begins,
            "exp": begins + LIFETIME_S,
        }
        signed: str = jwt.encode(self.signer, claims).decode()  # type: ignore[no-untyped-call]
        register_passing_secret(signed)
        return signed


@functools.lru_cache(maxsize=8)
def _signer_of(private_key: str, key_id: str | None) -> RSASigner:
    """A key is checked when it is read, which takes 30 ms; each client of a run has the same."""
    signer: RSASigner = RSASigner.from_string(private_key, key_id)  # type: ignore[no-untyped-call]
    return signer


class TokenKeeper:
    """The access token of one account and scope, shared by threads: fetched when first needed and before it ends.

    Args:
        account: Who signs.
        scope: What the token is for.
        exchange: The way to the token endpoint; bounded in time.
        monotonic: Seconds, for the end of tokens.
        now: Aware UTC, for assertions.
    """

    def __init__(
        self,
        account: ServiceAccount,
        scope: str,
        exchange: Exchange,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._account = account
        self._scope = scope
        self._exchange = exchange
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at_s = 0.0

    def token(self, refused: str = "") -> str:
        """One that is good for the next call; ``refused`` is one that the source did not take.

        Threads that ask at once share one exchange. Raises what the exchange raises; ``AuthenticationError`` for a
        refusal by the endpoint, ``SourceContractError`` for an answer of another shape.
        """
        with self._lock:
            if not self._token or self._token == refused or self._monotonic() >= self._renew_at_s:
                begins_s = self._monotonic()
                self._token, lifetime_s = self._asked()
                self._renew_at_s = begins_s + max(lifetime_s - RENEW_BEFORE_S, lifetime_s / 2)
            return self._token

    def _asked(self) -> tuple[str, float]:
        self._token = ""
        form = {"grant_type": GRANT_TYPE, "assertion": self._account.assertion(self._scope, self._now())}
        token, lifetime_s = _token_in(parsed_json(self._exchange(self._account.token_uri, form).body))
        register_passing_secret(token)
        return token, lifetime_s


def token_problem(answer: Answer) -> PipelineError | None:
    """The error that an answer of the token endpoint is; a refused signature is a 400 there."""
    return problem_in(answer, {400: AuthenticationError}, "application/json")


def _token_in(document: Any) -> tuple[str, float]:
    """The token and its seconds of life."""
    try:
        token, lifetime_s, kind = document["access_token"], float(document["expires_in"]), document["token_type"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SourceContractError(f"the token endpoint has an unexpected shape: {type(error).__name__}") from None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token or not token:
        raise SourceContractError("the token endpoint gives a token that no header can carry")
    if str(kind).lower() != "bearer" or not 0 < lifetime_s < 10 * LIFETIME_S:
        raise SourceContractError(f"the token endpoint gives a token of {lifetime_s:g} s that is no bearer's")
    return token, lifetime_s


def _unfit(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the secret {name} is not the JSON key of a service account: {why}; no call was made",
        hint=f"set {name} to the whole content of the key file that Google Cloud gave you",
    )
