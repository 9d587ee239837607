"""From what was asked to a plan with its estimate. Reads ledger, history and earlier plans; writes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from alerting.errors import ConfigurationError
from alerting.ranges import compress_dates
from flows.asked import Asked
from flows.ledger.ledger import Ledger, LedgerEntry
from flows.ledger.reviews import refuse_second_review, waiting_review
from flows.parameters import Mode
from flows.planning.engine import Load, Spread, spread
from flows.planning.estimate import GUESS_COUNTS_AS, Capacity, Estimate, calls_per_s, estimate
from flows.planning.expectations import Expected, by_oracles
from flows.planning.history import SourceHistory, read_history
from flows.planning.known_first_date import known_scraper
from flows.planning.left_alone import besides_left_alone
from flows.planning.named_settings import refuse_unknown_names
from flows.planning.partition_limit import refuse_beyond_partition_limit, tables_to_look_at
from flows.planning.plan import IN_REVIEW, REJECTED, Path, Plan, PlanRules, make_plan
from flows.planning.requested import Selection, requested_partitions
from flows.planning.requirements import Waiver, in_order
from flows.planning.stored_plan import named_plan, plan_name, read_plan
from flows.planning.tiers import described_tier, refuse_closed
from flows.planning.versions import changed_partitions, listed_calls
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.partition import Partition
from scrapers.threads import threads

_DOING_NOTHING = (Path.SKIP, Path.UNAVAILABLE, Path.LEAVE)


@dataclass(frozen=True)
class Planned:
    """A plan, what it will cost, the ledger it was made from, and where its dates are to be fetched.

    ``spread`` is chosen as if every worker were there; ``load`` is what it was chosen by.
    """

    plan: Plan
    estimate: Estimate
    history: SourceHistory
    ledger: Ledger
    tier: str
    load: Load
    spread: Spread

    def describe(self) -> str:
        """The plan in words, then its cost, and the engine where that was chosen."""
        notes = "".join(f"\nnote       {note}" for note in self.plan.notes)
        tier = f"\ntier       {self.tier}" if self.tier else ""
        engine = f"\nengine     {said}" if (said := self.spread.describe()) else ""
        return f"{self.plan.describe()}{notes}\nplan       {self.plan.hash}\n{self.estimate.describe()}{tier}{engine}"


def plan_asked(
    services: Services, asked: Asked, now: dt.datetime, backfill_id: str = "", *, coming: Collection[str] = ()
) -> Planned:
    """Plans a run: ``gapless plan``, ``dry_run`` and the run itself.

    ``backfill_id`` is the run's own: started again, it goes on from what it stored before. ``coming`` are sources that
    are done by the time it begins, whatever is known of them now.
    Raises ``ConfigurationError`` for parameters and settings that make no sense, for a plan without a single date,
    for one that the account's tier does not open and one that no table has room for, and ``StateUnreadable``. Nothing
    was done then.
    """
    if asked.accept_shrink and asked.mode is not Mode.INCREMENTAL:
        raise ConfigurationError(
            f"accept_shrink loads what is landed, and mode {asked.mode.value} does something else. Nothing was done",
            source=asked.source,
            stage="plan",
            hint=asked.accept_command,
        )
    if asked.is_reviewed and asked.mode is Mode.VALIDATE:
        raise ConfigurationError(
            "mode validate loads nothing, so there is nothing to publish. Nothing was done",
            source=asked.source,
            stage="plan",
            hint="leave publish at at_once",
        )
    refuse_unknown_names(services.settings)
    kit = services.source_kit(asked.source)
    scraper, ledger = known_scraper(services, asked.source), kit.ledger
    selected = Selection(asked.start_date, asked.end_date, asked.dates, asked.exclude, asked.entities)
    partitions = requested_partitions(scraper, selected, now)
    # As far as a rest can reach, so that a few dates in the middle of an outage are not called empty by themselves.
    around = scraper.rests.widened(partitions, scraper.step) if scraper.rests else []
    own_review = asked.resume_of or backfill_id
    # A run's own plan is made a moment after one that was looked at so: a request a table, once.
    full = [] if backfill_id else tables_to_look_at(services, scraper, partitions, now)
    # Each is a round trip or two, and nothing begins before them.
    with threads(3 + len(full), "plan") as reading:
        looks = {name: reading.submit(services.warehouse.partitions, name) for name in full}
        reviews = reading.submit(waiting_review, services.store, asked.source)
        begun_before = reading.submit(_since, services, own_review)
        kept = reading.submit(read_history, services.store, asked.source)
        entries = ledger.refresh_over([one.key for one in partitions], [one.key for one in around])
    review = reviews.result()
    if asked.is_reviewed:
        refuse_second_review(services.store, asked.source, own_review)
    plan = make_plan(
        scraper,
        partitions,
        entries,
        PlanRules(
            mode=asked.mode,
            order=asked.order,
            retry_failed=asked.retry_failed,
            accept_shrink=asked.accept_shrink,
            only=_only(services, asked, entries),
            since=begun_before.result() or now,
            goes_on=begun_before.result() is not None,
            empty_ttl=dt.timedelta(days=services.settings.empty_ttl_days),
            settled_up_to=scraper.last_settled(now),
            earliest=scraper.earliest(now),
            changed=changed_partitions(services, scraper, entries),
            review=review.review_id if review else "",
            continues_review=review is not None and review.review_id == own_review,
            is_reviewed=asked.is_reviewed,
        ),
    )
    if scraper.only:
        plan = plan.noting(f"Asked for {scraper.narrowed_by} {', '.join(scraper.only)} alone (GAPLESS_SOURCE_ONLY)")
    if review is not None:
        plan = _leaving(plan, IN_REVIEW, f"{review.approve_command}, or {review.reject_command}")
    plan = _leaving(plan, REJECTED, "the same with --publish after_approval asks anew; with --mode full loads it")
    if not plan.items:
        raise ConfigurationError(
            f"the plan is empty: nothing of {asked.range_text} is {_wanted(asked)}",
            source=asked.source,
            stage="plan",
            hint="run the range without that condition; finished dates cost nothing",
        )
    plan = in_order(services, scraper, plan, entries, now, Waiver(asked.ignore_requires, coming))
    judged = by_oracles(services, scraper, plan, entries, now, _told_before(services, scraper, backfill_id))
    if coming and {oracle.source for oracle in scraper.oracles} <= set(coming):
        # That an oracle is not read yet is no news where it is read first.
        judged = replace(judged, notes=plan.notes)
    plan = besides_left_alone(services, scraper, judged, now)
    refuse_closed(kit, plan.to_fetch)
    refuse_unsaid(scraper, plan.to_fetch)
    refuse_beyond_partition_limit(services, plan, looks)
    history = kept.result()
    estimated = estimate_of(services, asked, scraper, plan, history, entries)
    load = Load(
        partitions=len(plan.to_fetch),
        calls=estimated.calls,
        calls_per_s=calls_per_s(kit.access.rate),
        answer_s=history.answer_s,
        concurrency=asked.concurrency,
        is_swept=bool(scraper.sweeps),
    )
    chosen = spread(asked.engine, asked.parallel, load)
    return Planned(plan, estimated, history, ledger, described_tier(kit), load, chosen)


def refuse_unsaid(scraper: Scraper, to_fetch: Sequence[Partition]) -> None:
    """Raises ``ConfigurationError`` where the settings lack what has to be known of an entity before it is asked."""
    if scraper.entity_facts is not None:
        for entity in sorted({partition.entity for partition in to_fetch}):
            scraper.facts_of(entity)


def _leaving(plan: Plan, why: str, ways: str) -> Plan:
    """``plan``, which says what it leaves as ``why`` begins, and the ``ways`` out.

    Raises ``ConfigurationError`` when that is all of it.
    """
    told = {key: one for key, one in plan.left_to_a_person.items() if one.startswith(why)}
    if not told:
        return plan
    dates, first = compress_dates(told), next(iter(told.values()))
    if not any(item.path.is_work for item in plan.items):
        raise ConfigurationError(
            f"{dates} {first}, and nothing else is to be done. Nothing was done",
            source=plan.source,
            stage="plan",
            hint=ways,
        )
    return plan.noting(f"Left as they are, {dates}: {first}; {ways}")


def estimate_of(
    services: Services,
    asked: Asked,
    scraper: Scraper,
    plan: Plan,
    history: SourceHistory,
    entries: Mapping[str, LedgerEntry],
) -> Estimate:
    """What ``plan`` will cost under the limits and prices of the settings."""
    kit = services.source_kit(asked.source)
    return estimate(
        plan,
        history,
        Capacity(
            rate=kit.access.rate,
            quota_share=services.settings.backfill_quota_share,
            concurrency=asked.concurrency,
            tables=len(scraper.tables),
            partitions_per_job=services.settings.process_batch_partitions,
            days_per_call=scraper.days_per_call,
            is_swept=bool(scraper.sweeps),
            cost_unit=scraper.cost_unit,
            calls_guess=scraper.calls_guess,
            guess_counts_as=GUESS_COUNTS_AS if scraper.keeps_history else max(1, len(scraper.names_of_entities)),
            units_guess=scraper.units_guess,
            oracles=len(scraper.oracles) if plan.expected else 0,
            listed=listed_calls(services, scraper, plan, entries) if scraper.feeds_on else None,
            left=kit.quota.left() if kit.access.rate.per_month else None,
            today=kit.quota.today,
            prices=kit.prices,
        ),
        rows_before={key: sum(entry.landed.values()) for key, entry in entries.items() if entry.landed},
    )


def _only(services: Services, asked: Asked, entries: dict[str, LedgerEntry]) -> set[str] | None:
    """Keys that an earlier run or plan narrows this one to; None when neither is named."""
    only: set[str] | None = None
    if asked.failed_of:
        stored = named_plan(services.store, asked.failed_of, asked.source)
        good = {key for key, entry in entries.items() if entry.verdict.is_good}
        only = set(stored.keys) - stored.unavailable.keys() - good
    if asked.plan_of:
        stored = named_plan(services.store, asked.plan_of, asked.source)
        planned = {item.key for item in stored.items if item.path not in _DOING_NOTHING}
        only = planned if only is None else only & planned
    return only


def _told_before(services: Services, scraper: Scraper, backfill_id: str) -> Expected:
    """What oracles told this very run, when it was begun the first time."""
    if not scraper.oracles or not backfill_id or next(services.store.list(plan_name(backfill_id)), None) is None:
        return {}
    return read_plan(services.store, backfill_id).expected_by(scraper.oracles)


def _since(services: Services, backfill_id: str) -> dt.datetime | None:
    if not backfill_id or next(services.store.list(plan_name(backfill_id)), None) is None:
        return None
    return read_plan(services.store, backfill_id).since


def _wanted(asked: Asked) -> str:
    wishes = []
    if asked.retry_failed:
        wishes.append("failed")
    if asked.accept_shrink:
        wishes.append("shrunk")
    if asked.failed_of:
        wishes.append(f"failed in {asked.failed_of}")
    if asked.plan_of:
        wishes.append(f"in the plan of {asked.plan_of}")
    return " and ".join(wishes) or "there"
