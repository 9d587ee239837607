"""The ``prefect`` command with SQLite transactions that take the write lock when they begin.

Prefect's server begins most of them deferred: two requests that read and then write at the same time end with
``database is locked`` for one of them, at once and whatever ``busy_timeout`` says (https://sqlite.org/isolation.html),
and its client sleeps 2 s and more before it asks again. Thirty-one one-date subflows met that 3 to 14 times a run, and
once waited a minute; with the lock taken first, never. Prefect itself begins like this where a state changes. Postgres
is untouched.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.cli import app
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_begin_transaction = AioSqliteConfiguration.begin_transaction


@asynccontextmanager
async def _begin_immediate(
    self: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = True,  # noqa: ARG001  # the server passes it
) -> AsyncGenerator[AsyncSessionTransaction, None]:
    async with _begin_transaction(self, session, with_for_update=True) as transaction:
        yield transaction


def take_write_lock_at_begin() -> None:
    """Changes ``AioSqliteConfiguration`` of this process for good."""
    AioSqliteConfiguration.begin_transaction = _begin_immediate  # type: ignore[method-assign]  # no setting does this


if __name__ == "__main__":
    take_write_lock_at_begin()
    app()
