"""A source that is landed, loaded, verified and in the ledger, on real emulators and without Prefect."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.box_scores_upstream import Upstream
from flows.asked import Asked
from flows.canaries import try_canaries
from flows.cli.command import main
from flows.closing.finish import finish
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.planner import plan_asked
from flows.planning.query_bytes import plan_dry_run
from flows.run.orchestrator import Orchestrator
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.wiring import Services
from processors.process import LoadContext, process
from processors.verification import verify
from scrapers.manifest import Manifest
from scrapers.object_store import GcsObjectStore
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.scrape import ScrapeContext, scrape

if TYPE_CHECKING:
    from ..conftest import Provisioned

SOURCE = "bdl_box_scores"
KEY = "sample-key-7d1f"
RUN = "bf-test00000001"


@dataclass
class Place:
    """One bucket, one dataset, one upstream: everything a command sees."""

    services: Services
    upstream: Upstream
    inbox: InboxClient
    run_id: str = RUN
    manifests: dict[str, Manifest] = field(default_factory=dict)

    @property
    def store(self) -> GcsObjectStore:
        return self.services.store

    @property
    def ledger(self) -> Ledger:
        ledger = Ledger(self.store, SOURCE)
        ledger.refresh()
        return ledger

    def partitions(self, first: str, days: int) -> list[Partition]:
        zone = self.services.source_kit(SOURCE).scraper.zone
        start = dt.date.fromisoformat(first)
        return [Partition.day(start + dt.timedelta(days=at), zone) for at in range(days)]

    def land(self, first: str, days: int = 1, *, record: bool = True, now: dt.datetime | None = None) -> list[Manifest]:
        """Fetches and lands; with ``record`` the ledger says so."""
        kit = self.services.source_kit(SOURCE)
        client = kit.client_within(Budget(kit.access.rate, source=SOURCE))
        ledger = self.ledger
        landed = []
        for partition in self.partitions(first, days):
            manifest = scrape(
                partition,
                ScrapeContext(
                    scraper=self.services.source_kit(SOURCE).scraper,
                    client=client,
                    landing=self.services.landing,
                    backfill_id=self.run_id,
                    code_version="test",
                ),
            )
            landed.append(manifest)
            self.manifests[partition.key] = manifest
            if record:
                ledger.advance(
                    partition.key,
                    Verdict.LANDED,
                    self.run_id,
                    now or utc_now(),
                    attempt=manifest.attempt,
                    attempts=1,
                    content_hash=manifest.content_hash,
                    landed=manifest.counts,
                    evidence=manifest.empty_evidence,
                )
        client.close()
        return landed

    def load(self, manifests: Sequence[Manifest], *, record: bool = True, now: dt.datetime | None = None) -> None:
        """Loads and verifies; with ``record`` the ledger says so."""
        processor, warehouse = self.services.source_kit(SOURCE).processor, self.services.warehouse
        receipt = process(manifests, LoadContext(processor, self.services.landing, warehouse, self.run_id))
        found = verify(manifests, processor=processor, warehouse=warehouse, dropped=receipt.dropped)
        ledger = self.ledger
        for manifest in manifests:
            assert found[manifest.partition].is_ok, found
            if record:
                ledger.advance(
                    manifest.partition,
                    Verdict.EMPTY_OK if manifest.empty_evidence else Verdict.VERIFIED,
                    self.run_id,
                    now or utc_now(),
                    loaded=found[manifest.partition].loaded,
                    receipt_id=receipt.receipt_id,
                )

    def fill(self, first: str, days: int, *, now: dt.datetime | None = None) -> None:
        """Every level done: landed, loaded, verified, in the ledger."""
        self.load(self.land(first, days, now=now), now=now)

    def fail(self, date: str, error_type: str = "SourceUnavailable", error: str = "the source answered 503") -> None:
        verdict = Verdict.PLANNED if error_type == "AuthenticationError" else Verdict.FAILED_RETRYABLE
        self.ledger.advance(date, verdict, self.run_id, utc_now(), error_type=error_type, error=error, attempts=6)

    def entry(self, date: str) -> LedgerEntry:
        return self.ledger.refresh()[date]

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """``{games}`` and ``{lines}`` are the tables."""
        name_of = self.services.warehouse.name_of
        return self.services.warehouse.query(
            statement.format(games=name_of("nba_bdl_games"), lines=name_of("nba_bdl_player_stats"))
        )

    def objects(self) -> dict[str, int]:
        """Every object with its generation: equal before and after means that nothing was written."""
        return {one.name: one.generation for one in self.store.list("")}


@dataclass
class Answered:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def place(provisioned: Provisioned, inbox: InboxClient) -> Iterator[Place]:
    """The environment of a user, in which nothing was done yet but provisioning."""
    with Upstream(api_key=KEY) as upstream:
        services = provisioned(
            SOURCE,
            upstream.url,
            {"bdl_api_key": KEY},
            GAPLESS_CONSOLE_ONLY="false",
            GAPLESS_SMTP_HOST="127.0.0.1",
            GAPLESS_SMTP_PORT=str(inbox.smtp_port),
            GAPLESS_SMTP_SECURITY="none",
            GAPLESS_MAIL_TO="you@example.org",
            PREFECT_API_URL="http://127.0.0.1:9/api",
        )
        yield Place(services, upstream, inbox)


@pytest.fixture
def gapless(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one command line in this process."""

    def call(*arguments: str) -> Answered:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return Answered(code, said.out, said.err)

    return call


class Ran(Protocol):
    """Runs a backfill from plan to mail, as the parent flow does it; the run and its recounted facts."""

    def __call__(
        self,
        first: str,
        last: str,
        then: Callable[[Run], None] | None = None,
        *,
        orchestrator: Orchestrator | None = None,
        weighed: bool = False,
        **asked: Any,
    ) -> tuple[Run, RunFacts]: ...


@pytest.fixture
def ran(place: Place) -> Ran:
    """See ``Ran``; ``then`` is called when the run has begun and nothing is fetched yet. ``weighed`` asks BigQuery for
    the bytes of the plan, as the flow does; it costs some 0.2 s."""
    ids = (f"bf-run{number:09d}" for number in itertools.count(1))

    def run_it(
        first: str,
        last: str,
        then: Callable[[Run], None] | None = None,
        *,
        orchestrator: Orchestrator | None = None,
        weighed: bool = False,
        **rest: Any,
    ) -> tuple[Run, RunFacts]:
        given = {"source": SOURCE, "start_date": first, "end_date": last, "max_concurrency": 2, **rest}
        asked = Asked.model_validate(given)
        run = Run(place.services, asked, next(ids), orchestrator or PlainOrchestrator())
        try:
            asyncio.run(_work(run, then, weighed=weighed))
            return run, finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
        finally:
            run.close()

    return run_it


async def _work(run: Run, then: Callable[[Run], None] | None, *, weighed: bool) -> None:
    planned = plan_asked(run.services, run.asked, utc_now(), run.backfill_id)
    promised = plan_dry_run(run.services, run.source, planned.plan).promised() if weighed else {}
    run.begin(planned, starting_facts(run.services, planned.plan, promised, run.backfill_id, run.asked))
    if then:
        then(run)
    await map_windows(run, await try_canaries(run, planned.plan))
