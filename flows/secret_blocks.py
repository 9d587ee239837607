"""Secrets that the environment does not hold: Prefect Secret blocks on the server that ``PREFECT_API_URL`` names.

Secret ``bdl_api_key`` is block ``gapless-bdl-api-key``. A block is read at the first need and at most once a process,
and never when the environment has the secret.
"""

from __future__ import annotations

import asyncio
import threading
from functools import cache
from typing import Any

from alerting.errors import ConfigurationError
from alerting.redaction import register_secret

TIMEOUT_S = 15.0


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
    answers: list[object] = []
    # A daemon thread of its own: the caller may be inside a loop, and Prefect's retries may outlast our patience.
    asking = threading.Thread(target=lambda: answers.append(_ask(name)), daemon=True, name=f"secret-{name}")
    asking.start()
    asking.join(TIMEOUT_S)
    answer = answers[0] if answers else TimeoutError(f"no answer within {TIMEOUT_S:g} s")
    if isinstance(answer, BaseException):
        # Not chained and not quoted: whatever the client says may hold what it was reading.
        raise ConfigurationError(
            f"secret {secret} is not in the environment, and Secret block {name} could not be read: "
            f"{type(answer).__name__}. Nothing was done",
            stage="settings",
            hint=f"set it in the environment, or look whether the server of PREFECT_API_URL has block {name}",
        )
    value = str(answer)
    register_secret(value)
    return value


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
