"""What became of each partition of a run: journal first, then ledger, then breaker."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial

from alerting.errors import (
    BlockedBySource,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    LandingDamaged,
    LandingUnavailable,
    LeaseHeld,
    PipelineError,
    RateLimited,
    SiteClosed,
    SourceContractError,
    SourceUnavailable,
    TransientError,
    Truncated,
)
from alerting.fingerprint import fingerprint
from alerting.incident import Incident
from alerting.instant import utc_now
from alerting.redaction import redact
from flows.coordination.cooldown import Blocked, cool_down
from flows.ledger.events import verdict_event
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.verdicts import (
    breaks_contract,
    concerns_one_partition,
    reached,
    resumes_at,
    unknown_is_critical,
    verdict_of,
)
from flows.parameters import Mode
from flows.planning.refused_tier import remember_refusal
from flows.run.decision import Action, Decision
from flows.run.run import Run
from flows.run.work_set import Landed
from scrapers.feeding import Listed, listed_in
from scrapers.manifest import Manifest
from scrapers.partition import Partition
from scrapers.platforms.count_check import is_unchanged
from scrapers.registry import sources_of
from scrapers.scrape import ScrapeContext, land_as_empty, nothing, scrape
from scrapers.spans import SpanResult, scrape_span
from scrapers.sweeps import PAGES_AT_ONCE, SweepScrape

# Beyond this many single objects the journal is written once per window, so that a run whose every date fails does
# not pay a write for each.
PROMPT_FLUSHES = 50

_WITHOUT_CALL = (BudgetExhausted, ConfigurationError, LandingUnavailable, LeaseHeld)
"""A try that ends so made no call, or its answer came."""


def land(run: Run, key: str, answered: Callable[[], None] = nothing) -> Manifest:
    """Scrapes one partition and records it as landed; ``answered`` is called when it asks no more. Blocking."""
    context = _context(run, [key], answered)
    run.tally.begin_try(key)
    with _failures_counted(run, key):
        known = _still_true(run, key)
        if known is not None:
            return known
        manifest = scrape(run.work.partitions[key], context)
    return take(run, manifest)


def land_together(run: Run, keys: Sequence[str], answered: Callable[[], None] = nothing) -> SpanResult:
    """Scrapes consecutive partitions by one call. Each manifest has still to be taken. Blocking."""
    run.tally.begin_try(*keys)
    with _failures_counted(run, *keys):
        return scrape_span([run.work.partitions[key] for key in keys], _context(run, keys, answered))


def was_not_made(error: BaseException) -> bool:
    """Whether a call waited for its turn when another one was refused (`Run.stop`): nothing of its partition failed."""
    return isinstance(error, PipelineError) and bool(error.facts.get("not_attempted"))


@contextlib.contextmanager
def _failures_counted(run: Run, *keys: str) -> Iterator[None]:
    """What a run needed is told from what it repeated."""
    try:
        yield
    except _WITHOUT_CALL:
        raise
    except PipelineError as error:
        if was_not_made(error):
            raise
        if error.facts.get("cut_body"):
            run.tally.add_cut_body(*keys)
        run.tally.add_failed_call()
        raise


def begin_sweep(run: Run, keys: Sequence[str]) -> SweepScrape:
    """One reading of all that the source has, for these partitions. Makes no call yet."""
    context = _context(run, keys)
    if run.asked.mode is Mode.INCREMENTAL:
        context = dataclasses.replace(context, sweep_since=utc_now() - run.kit.scraper.fresh_for)
    return SweepScrape([run.work.partitions[key] for key in keys], context)


def go_on_sweeping(run: Run, sweep: SweepScrape, keys: Sequence[str]) -> SpanResult | None:
    """Some pages more; at the end a manifest each, which has still to be taken. Blocking."""
    if sweep.is_new_try:
        run.tally.begin_try(*keys)
    try:
        with _failures_counted(run, *keys):
            result = sweep.go_on(run.calls_of(PAGES_AT_ONCE))
    finally:
        # Nothing ends for hours, and that is no stall.
        run.breaker.alive(run.steady_now())
    if result is not None:
        run.tally.set_sweep_pages(sweep.pages)
    return result


def land_nothing(run: Run, key: str, evidence: str) -> Landed | None:
    """Lands a partition of which nothing is expected, without a call; None where that was known. Blocking."""
    manifest = land_as_empty(run.work.partitions[key], _context(run, [key]), evidence)
    before = run.ledger.get(key)
    is_same = before is not None and before.verdict.is_good and before.content_hash == manifest.content_hash
    if is_same and run.is_live:
        run.work.unchanged.add(key)
        return None
    if is_same and run.asked.mode is Mode.FULL:
        return Landed(manifest, is_unchanged=True)
    record_landed(run, manifest)
    return Landed(manifest)


def take(run: Run, manifest: Manifest) -> Manifest:
    """Records a landed partition, unless unchanged. Blocking.

    Raises ``LandingUnavailable`` in a process that was frozen meanwhile, until it knows that it still has the source.
    """
    key = manifest.partition
    if not run.gate.is_kept:
        raise LandingUnavailable("no heartbeat for longer than the lease; nothing was recorded of this answer")
    before = run.ledger.get(key)
    is_same = before is not None and before.verdict.is_good and before.content_hash == manifest.content_hash
    is_newer = manifest.versions or manifest.fed_by or run.work.partitions[key].is_whole
    if before is not None and is_same and is_newer and (run.is_live or run.asked.mode is Mode.FULL):
        # The same bytes under another version, or a snapshot of today that says what the one of yesterday said: what is
        # landed is the newest all the same.
        told = {"attempt": manifest.attempt, "fed_by": manifest.fed_by, "read_at": manifest.landed_at}
        run.ledger.advance(key, before.verdict, run.backfill_id, utc_now(), changes={}, **told)
    if is_same and run.is_live:
        run.work.unchanged.add(key)
    elif is_same and run.asked.mode is Mode.FULL:
        run.work.add(Landed(manifest, is_unchanged=True))
    elif not manifest.unsettled:
        record_landed(run, manifest)
        run.work.add(Landed(manifest))
    if key in run.work.landed:
        _count_answer(run, manifest)
    return manifest


def _context(run: Run, keys: Sequence[str], answered: Callable[[], None] = nothing) -> ScrapeContext:
    if run.client is None:
        raise ConfigurationError(
            f"mode {run.asked.mode.value} makes no call", source=run.source, partition=keys[0], stage="scrape"
        )
    return ScrapeContext(
        scraper=run.kit.scraper,
        client=run.client,
        landing=run.services.landing,
        backfill_id=run.backfill_id,
        code_version=run.services.code_version,
        resume_within=dt.timedelta(hours=run.services.settings.checkpoint_max_age_h),
        fetches_again=run.asked.mode is Mode.FULL,
        listed=partial(_listed, run) if run.kit.scraper.feeds_on else None,
        answered=answered,
        behind=max((entry.attempt for entry in run.ledger.known_of(keys).values()), default=""),
    )


def _listed(run: Run, partition: Partition) -> Listed | None:
    """What the source that feeds this one is done with; None where it is not."""
    kit, landing = run.services.source_kit(run.kit.scraper.feeds_on), run.services.landing
    entry = kit.ledger.refresh(partition.key, partition.key).get(partition.key)
    if entry is None or not entry.verdict.is_good or not entry.attempt:
        return None
    return listed_in(landing.take_up(entry.manifest_name, kit.scraper), kit.scraper, landing)


def _still_true(run: Run, key: str) -> Manifest | None:
    """The manifest of a verified whole entity whose counts at the source have not changed; its verdict is renewed."""
    before = run.ledger.get(key)
    if run.client is None or run.asked.mode is not Mode.INCREMENTAL or not run.work.partitions[key].is_whole:
        return None
    if before is None or not before.verdict.is_good or not before.attempt:
        return None
    try:
        manifest = run.services.landing.take_up(before.manifest_name, run.kit.scraper)
        if not is_unchanged(run.kit.scraper, manifest, run.services.landing, run.client, utc_now()):
            return None
    except (LandingDamaged, Truncated):
        return None
    run.ledger.advance(key, before.verdict, run.backfill_id, utc_now(), changes={}, read_at=utc_now())
    run.work.unchanged.add(key)
    run.obey(run.breaker.succeeded("scrape", run.steady_now()))
    return manifest


def record_landed(run: Run, manifest: Manifest) -> None:
    """Writes verdict ``landed``."""
    before = run.ledger.get(manifest.partition)
    run.ledger.advance(
        manifest.partition,
        Verdict.LANDED,
        run.backfill_id,
        utc_now(),
        attempt=manifest.attempt,
        attempts=(before.attempts if before else 0) + 1,
        content_hash=manifest.content_hash,
        landed=manifest.counts,
        changes={},
        evidence=manifest.empty_evidence,
        open_items=manifest.open_text,
        absent=manifest.absent_text,
        open_accepted="",
        fed_by=manifest.fed_by,
        only=manifest.only,
        last_cursor=manifest.last_cursor,
        pages_fetched=manifest.counts.get(run.kit.scraper.tables[0], 0),
        expected=manifest.source_total,
        read_at=manifest.landed_at,
        **_overruled(run),
        # Its rows are those of the attempt before, whatever the clocks of two machines say.
        verified_at=None,
    )


def _overruled(run: Run) -> dict[str, str]:
    """What somebody did not approve is as any other once it is asked for without a review."""
    return {"rejected": ""} if run.asked.overrules and run.review is None else {}


def _count_answer(run: Run, manifest: Manifest) -> None:
    answer_s = sum(page.elapsed_s for page in manifest.pages)
    run.tally.add_answer(answer_s)
    run.tally.add_landed(manifest.partition, sum(manifest.counts.values()))
    run.obey(run.breaker.succeeded("scrape", run.steady_now(), answer_s))


def record_failure(run: Run, key: str, error: BaseException, stage: str, window: str) -> Verdict:
    """Journals the incident, then writes the ledger: a verdict never stands without its reason. Blocking."""
    if run.is_window and isinstance(error, LeaseHeld):
        # It was frozen, and another window has its dates: nothing failed, and the parent sees what there is.
        run.stop(error, stage)
        return verdict_of(error)
    error = _repeated(run, key, error)
    return _record(run, key, verdict_of(error), error, stage, window)


def _repeated(run: Run, key: str, error: BaseException) -> BaseException:
    """A body that ended too early at every one of several tries is what the source has, and no accident."""
    if not isinstance(error, SourceUnavailable) or not error.facts.get("cut_body"):
        return error
    if not run.tally.had_only_cut_bodies(key):
        return error
    tries = run.tally.tries(key)
    facts = {name: value for name, value in error.facts.items() if name != "cut_body"}
    where = {"source": error.source, "partition": error.partition, "stage": error.stage}
    return SourceContractError(f"{error.message}; the same at each of {tries} tries", **where, **facts)


def record_shared_failure(run: Run, key: str, error: BaseException, window: str) -> Verdict:
    """As ``record_failure`` for one of several partitions whose call failed."""
    mine = copy(error)
    if isinstance(mine, PipelineError):
        # How far the call came says nothing of one of its dates.
        mine.facts = {name: value for name, value in mine.facts.items() if name not in ("rows_kept", "last_cursor")}
        mine.partition = key
    return record_failure(run, key, mine, "scrape", window)


def record_batch_failure(run: Run, key: str, error: BaseException, stage: str, window: str) -> Verdict:
    """As ``record_failure`` for a failed load or verification: the payload is landed, so a rerun needs no call."""
    is_loaded = stage != "load" and run.review is None
    return _record(run, key, Verdict.LOADED if is_loaded else Verdict.LANDED, error, stage, window)


def _record(run: Run, key: str, verdict: Verdict, error: BaseException, stage: str, window: str) -> Verdict:
    if run.ledger.is_lost:
        # The run that has the source by now says what becomes of its dates.
        return verdict
    tries, before = run.tally.tries(key), run.ledger.get(key)
    if verdict is Verdict.UNAVAILABLE and before is not None:
        # That the source has it no more makes nothing wrong of what it once was: its rows stay, and stay guarded.
        verdict = _without_source(before)
    incident = Incident.from_error(error, source=run.source, partition=key, stage=stage, attempts=tries)
    # A wall that a later run passes by itself is a note, not a failure. A block is one: a person should look meanwhile.
    if resumes_at(error) is None or isinstance(error, BlockedBySource):
        is_of_site = run.kit.scraper.domain == "site" and isinstance(error, SiteClosed | BlockedBySource | RateLimited)
        # What one site says is nothing that the others have said.
        decision = None if is_of_site else _told_breaker(run, incident, error, verdict, stage)
        # Before the incident is kept and mailed: other dates would be begun meanwhile.
        run.obey(decision)
        # The summary of a canary leaves in a moment: nobody has to be told twice. And one odd date is nothing to wake
        # somebody for; the one that makes it the source's fault is.
        if key in run.canary_trial.keys or (
            breaks_contract(error) and (decision is None or decision.action is Action.WARN)
        ):
            incident = dataclasses.replace(incident, severity="ERROR")
        run.services.alerts.record_error(incident)
    if run.tally.takes_prompt_flush(PROMPT_FLUSHES):
        run.services.alerts.flush(window, str(tries))
    entry = run.ledger.advance(
        key,
        verdict,
        run.backfill_id,
        utc_now(),
        attempts=(before.attempts if before else 0) + (stage == "scrape"),
        error_type=type(error).__name__,
        error=redact(str(error)),
        **_overruled(run),
        **reached(error),
    )
    verdict_event(entry, stage)
    stop_if_critical(run, key, error, stage)
    return verdict


def _without_source(before: LedgerEntry) -> Verdict:
    """What a partition is that the source has no more: done where it was, else to be loaded from what is landed."""
    if before.attempt and not before.verdict.is_good:
        return Verdict.LOADED if any(before.loaded.values()) else Verdict.LANDED
    has_rows = before.verdict is Verdict.VERIFIED and any(before.loaded.values())
    return Verdict.VERIFIED if has_rows else Verdict.UNAVAILABLE


def stop_if_critical(run: Run, key: str, error: BaseException, stage: str) -> None:
    """Lets nothing more begin when ``error`` says something of the whole source. Repeatable: the first one counts.

    A site that blocks us is in cooldown alone, where each is a domain of its own.
    """
    if not isinstance(error, PipelineError):
        error = unknown_is_critical(error, run.source, key, stage)
    partition, scraper = run.work.partitions.get(key), run.kit.scraper
    if not isinstance(error, CriticalError):
        return
    if not concerns_one_partition(error, partition, has_sites=scraper.has_sites):
        if isinstance(error, BlockedBySource):
            account = scraper.account_of_host(str(error.facts.get("site", "")))
            if account != scraper.account_name:
                # What the other hosts have is read all the same.
                _cool_down(run, error, Blocked(sources_of(account)[0]))
                return
            _cool_down(run, error, Blocked(run.source))
        run.stop(error, stage)
        remember_refusal(run.kit, error, run.backfill_id, utc_now())
    elif isinstance(error, BlockedBySource) and scraper.domain == "site":
        _cool_down(run, error, Blocked(run.source, scraper.site_of(key)))


def _cool_down(run: Run, error: BlockedBySource, blocked: Blocked) -> None:
    hours = run.services.settings.block_cooldown_h
    cool_down(run.services.store, error, blocked=blocked, backfill_id=run.backfill_id, now=utc_now(), hours=hours)


def _told_breaker(run: Run, incident: Incident, error: BaseException, verdict: Verdict, stage: str) -> Decision | None:
    now = run.steady_now()
    if verdict.is_good:
        return run.breaker.succeeded(stage, now)
    cause = f"{incident.error_type} {fingerprint(incident)}"
    is_limit = isinstance(error, RateLimited)
    passes = isinstance(error, TransientError) and not is_limit
    return run.breaker.failed(
        stage, cause, now, rate_limited=is_limit, transient=passes, contract=breaks_contract(error)
    )
