"""A family run in this process, without Prefect, that is killed in the middle and begun again."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from alerting.instant import utc_now
from deployments.local.inbox.server import InboxClient
from flows.asked import AskedFamily
from flows.backfill_family import FamilyRun, run_family
from flows.closing.close import close_dead_runs
from flows.coordination.lease import lease_record, list_leases
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.wiring import SourceKit, build_services
from processors.registry import views
from scrapers.pace.budget import Budget
from scrapers.rate import Rate

RUNS = (f"bf-family{number:06d}" for number in itertools.count(1))
KINDS = ("500", "429", "reset", "truncated_gzip", "truncated_body")


class Killed(PlainOrchestrator):
    """The process is gone before its ``at``-th part of work: a window of dates, a load, or a source."""

    def __init__(self, at: int) -> None:
        super().__init__(tries_again=True)
        self._left = at

    async def subflow(self, flow: Any, parameters: Any, part: Any) -> None:
        self._left -= 1
        if self._left <= 0:
            raise SystemExit
        await super().subflow(flow, parameters, part)


def troubles(days: Sequence[dt.date], *more: str) -> list[dict[str, Any]]:
    """Every seventh date has one, each kind in its turn; it strikes once, so that a retry heals it or the next run."""
    kinds, hit = (*KINDS, *more), days[::7]
    struck = {kind: [day.isoformat() for day in hit[at :: len(kinds)]] for at, kind in enumerate(kinds)}
    return [
        {"kind": kind, "times_per_date": 1, "retry_after_s": 0, "dates": dates}
        for kind, dates in struck.items()
        if dates
    ]


class FamilyPlace:
    """A bucket, a dataset and a mail server for all ``sources`` of a family, with nothing done in it."""

    def __init__(
        self,
        provisioned: Any,
        inbox: InboxClient,
        monkeypatch: pytest.MonkeyPatch,
        urls: Mapping[str, str],
        secrets: Mapping[str, str],
        **settings: str,
    ) -> None:
        import json

        self.inbox, self._monkeypatch = inbox, monkeypatch
        # How fast a login may be asked is another test's matter.
        monkeypatch.setattr(
            SourceKit, "build_budget", lambda kit, quota: Budget(Rate(), source=kit.source, quota=quota)
        )
        provisioned(
            next(iter(urls)),
            "",
            secrets,
            GAPLESS_SOURCE_URLS=json.dumps(dict(urls)),
            GAPLESS_RETRY_DELAYS_S="[0, 0, 0]",
            GAPLESS_BREAKER_PROBES="0",
            GAPLESS_CONSOLE_ONLY="false",
            GAPLESS_SMTP_HOST="127.0.0.1",
            GAPLESS_SMTP_PORT=str(inbox.smtp_port),
            GAPLESS_SMTP_SECURITY="none",
            GAPLESS_MAIL_TO="you@example.org",
            **settings,
        )
        self.services = build_services()
        for name in urls:
            for table in self.services.source_kit(name).processor.tables:
                self.services.warehouse.ensure_table(table)
        for view in views():
            self.services.warehouse.ensure_view(view)

    @property
    def warehouse(self) -> Any:
        """Of all tables."""
        return self.services.warehouse

    def ran(self, orchestrator: PlainOrchestrator | None = None, **asked: Any) -> tuple[str, str]:
        """Id and message of a family run."""
        run_id = next(RUNS)
        orchestrator = orchestrator or PlainOrchestrator(tries_again=True)
        state = asyncio.run(run_family(build_services(), AskedFamily(**asked), run_id, orchestrator))
        return run_id, str(state.message)

    def killed(self, at: int, **asked: Any) -> None:
        """A run whose process is gone before its ``at``-th part of work: it closes neither its step nor itself."""
        with self._monkeypatch.context() as dead:
            dead.setattr(FamilyRun, "_close", lambda *_: None)
            dead.setattr("flows.backfill.finish", lambda *_: None)
            with pytest.raises(SystemExit):
                self.ran(Killed(at), **asked)
        gone = subprocess.Popen(["true"])
        gone.wait()
        for lease in list_leases(self.services.store):
            lease_record(self.services.store, lease.source).update(
                lambda held: held.model_copy(update={"pid": gone.pid}) if held else None
            )

    def completed(self, tries: int, **asked: Any) -> tuple[str, str]:
        """The run after which every source is complete: dates that were told short are asked again by the next one."""
        for _ in range(tries):
            run_id, told = self.ran(**asked)
            if told.startswith("COMPLETE"):
                break
        return run_id, told

    def mails(self) -> dict[str, int]:
        """How many mails each run has, when those that died are closed too."""
        close_dead_runs(self.services, utc_now())
        return Counter(one["headers"]["X-Backfill-Id"] for one in self.inbox.messages())
