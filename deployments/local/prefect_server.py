"""The ``prefect`` command for a server: guarded against web pages, and with SQLite transactions that lock at once.

    python -m deployments.local.prefect_server [--name HOST]... server start --host 127.0.0.1 --port 4200

Prefect's server answers any Host and leaves the origin to browsers. Here it stands behind
`deployments.local.browser_guard`: only its own pages reach it, under 127.0.0.1 and the names given. Who may create a
flow run may run commands as the worker's user, so the password (``PREFECT_SERVER_API_AUTH_STRING``) is not optional.

Prefect's server begins most transactions deferred: two requests that read and then write at the same time end with
``database is locked`` for one of them, at once and whatever ``busy_timeout`` says (https://sqlite.org/isolation.html),
and its client sleeps 2 s and more before it asks again. Thirty-one one-date subflows met that 3 to 14 times a run, and
once waited a minute; with the lock taken first, never. Prefect itself begins like this where a state changes. Postgres
is untouched.

What a transaction reads over a second connection must not wait for that lock: who pauses a work queue would wait for
himself, and every writer with him, until SQLite gives up after a minute.

While the disk is full the answer is 503, after which clients ask again, and not 500: a run whose last word was answered
so stayed Running for ever, without a lease for the watchdog to find it by.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import prefect.server.api.server
from prefect.cli import app
from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from deployments.local.browser_guard import GuardedApp
from deployments.local.prefect_sign_in import SignIn
from deployments.local.whole_text import WholeText

# The largest that a client sends is an artifact or a batch of log lines, below 10 MB.
_MAX_BODY_BYTES = 64 * 1024 * 1024
_begin_transaction = AioSqliteConfiguration.begin_transaction
_create_app = prefect.server.api.server.create_app
_is_retryable_as_ever = prefect.server.api.server.is_client_retryable_exception


@asynccontextmanager
async def _begin_immediate(
    self: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = True,  # noqa: ARG001  # the server passes it
) -> AsyncGenerator[AsyncSessionTransaction, None]:
    async with _begin_transaction(self, session, with_for_update=True) as transaction:
        # The first statement on a connection begins, in the mode of its task: here this one does, and no other.
        await session.connection()
        mode = SQLITE_BEGIN_MODE.set(None)
        try:
            yield transaction
        finally:
            SQLITE_BEGIN_MODE.reset(mode)


def take_write_lock_at_begin() -> None:
    """Changes ``AioSqliteConfiguration`` of this process for good."""
    AioSqliteConfiguration.begin_transaction = _begin_immediate  # type: ignore[method-assign]  # no setting does this


def answer_later_while_full() -> None:
    """Changes ``is_client_retryable_exception`` of this process for good."""
    prefect.server.api.server.is_client_retryable_exception = _is_retryable


def _is_retryable(exc: Exception) -> bool:
    cause = getattr(exc, "orig", None)
    return getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or _is_retryable_as_ever(exc)


def guard(names: Sequence[str]) -> None:
    """Puts every server that this process creates behind the guard, for good.

    Args:
        names: Host names of the server beside 127.0.0.1.
    """

    def create_app(*arguments: Any, **rest: Any) -> Any:
        made = _create_app(*arguments, **rest)
        if not arguments and not rest:
            # The server asks itself, without a network: an automation that starts a run.
            return made
        return GuardedApp(WholeText(SignIn(made)), max_body_bytes=_MAX_BODY_BYTES, names={"127.0.0.1", *names})

    prefect.server.api.server.create_app = create_app


def main() -> None:
    """Command line: ``--name`` as often as needed, then what the ``prefect`` command takes."""
    names = []
    while sys.argv[1:2] == ["--name"]:
        names.append(sys.argv.pop(2))
        sys.argv.pop(1)
    if not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        sys.exit(
            "PREFECT_SERVER_API_AUTH_STRING is empty: everybody who reaches this server could run commands. "
            "Nothing was started. Next: export PREFECT_SERVER_API_AUTH_STRING=name:password, and the same as "
            "PREFECT_API_AUTH_STRING for workers and clients"
        )
    take_write_lock_at_begin()
    answer_later_while_full()
    guard(names)
    app()


if __name__ == "__main__":
    main()
