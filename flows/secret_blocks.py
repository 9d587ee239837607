"""Secrets that the environment does not hold: Prefect Secret blocks on the server that ``PREFECT_API_URL`` names.

Secret ``bdl_api_key`` is block ``gapless-bdl-api-key``. A block is read at the first need and at most once a process,
and never when the environment has the secret.

A session (`scrapers.auth.SessionCookie`) is renewed by its source. The renewed one lies in a block of its own,
``gapless-<name>-renewed``, together with a hash of the session that a person gave: where that is another one by now, be
it in a block or in the environment, the renewed one counts no more.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from alerting.errors import ConfigurationError
from alerting.redaction import register_secret

TIMEOUT_S = 15.0
_log = logging.getLogger("gapless.flows")


def block_name(secret: str) -> str:
    """The block that holds ``secret``; Prefect's block names have no underscores.

    >>> block_name("smtp_password")
    'gapless-smtp-password'
    """
    return "gapless-" + secret.lower().replace("_", "-")


@cache
def secret_from_block(secret: str) -> str:
    """The value of ``secret``'s block, "" when there is no such block or no server is set.

    Works with and without a running event loop. Raises ``ConfigurationError`` when the server does not answer within
    `TIMEOUT_S`, or when the block holds no text: going on without a key that exists would look like a dead key.
    """
    from prefect.settings import PREFECT_API_URL  # takes a second, and the environment usually has everything

    if not PREFECT_API_URL.value():
        return ""
    name = block_name(secret)
    answer = _within_timeout(lambda: _ask(name), name)
    if isinstance(answer, BaseException):
        # Not chained and not quoted: whatever the client says may hold what it was reading.
        raise ConfigurationError(
            f"secret {secret} is not in the environment, and Secret block {name} could not be read: "
            f"{type(answer).__name__}. Nothing was done",
            stage="settings",
            hint=f"set it in the environment, or check that the server of PREFECT_API_URL has block {name}",
        )
    value = str(answer)
    register_secret(value)
    return value


def renewed_session(secret: str, given: str) -> str:
    """The session that replaced ``given``, "" where there is none or it replaced another one.

    Raises ``ConfigurationError`` as ``secret_from_block`` does.
    """
    text = secret_from_block(f"{secret}_renewed")
    try:
        kept = json.loads(text or "{}")
        value = kept["value"] if kept.get("of") == _mark_of(given) else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    register_secret(value)
    return str(value)


def keep_session(secret: str, given: str, value: str) -> None:
    """Keeps the session that replaced ``given``, for later processes. Never raises: this one has it in any case."""
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        _log.warning("secret %s was renewed by its source; without PREFECT_API_URL only this process knows it", secret)
        return
    name, text = f"{block_name(secret)}-renewed", json.dumps({"of": _mark_of(given), "value": value})
    answer = _within_timeout(lambda: _save(name, text), name)
    secret_from_block.cache_clear()
    if isinstance(answer, BaseException):
        told = type(answer).__name__
        _log.warning("secret %s was renewed by its source, and block %s could not be written: %s", secret, name, told)


def _mark_of(given: str) -> str:
    return hashlib.sha256(given.encode()).hexdigest()[:16]


def _within_timeout(work: Callable[[], object], name: str) -> object:
    """What ``work`` gives, or an error: it was too slow."""
    answers: list[object] = []
    # A daemon thread of its own: the caller may be inside a loop, and Prefect's retries may outlast our patience.
    asking = threading.Thread(target=lambda: answers.append(work()), daemon=True, name=f"secret-{name}")
    asking.start()
    asking.join(TIMEOUT_S)
    return answers[0] if answers else TimeoutError(f"no response within {TIMEOUT_S:g} s")


def _save(name: str, text: str) -> object:
    """Writes the block; "" or the error, as ``_ask``."""
    from prefect.blocks.system import Secret

    try:
        block: Any = Secret(value=text)
        asyncio.run(block.asave(name, overwrite=True))
    except Exception as error:
        return error
    return ""


def _ask(name: str) -> object:
    """The block's text, "" when there is none, or the error: a thread cannot raise to its starter."""
    from prefect.blocks.system import Secret
    from prefect.exceptions import ObjectNotFound

    try:
        block: Any = asyncio.run(Secret.aload(name))
        # Not .get(), which would turn a key of digits into a number.
        value = block.value.get_secret_value()
    except Exception as error:
        return "" if isinstance(error.__cause__, ObjectNotFound) else error
    return value.strip() if isinstance(value, str) else TypeError("not a text")
