"""Any interleaving of kills, repeats and overlapping backfills ends in the same truth.

Real: scrape, landing, process, receipts, ledger, lease, plan, run, closing and the mail. Simulated: the source, the
warehouse's tables (replaced atomically, from the staged objects), the clock, and death: any call to storage or
warehouse may be the last one of its process, before or after it took effect.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from toy_world import (
    DAYS,
    FIRST,
    KEYS,
    LAST,
    LEASE_S,
    Killed,
    Life,
    ToyServices,
    World,
    truth,
)

from alerting.channels import FileChannel
from alerting.errors import LeaseHeld, PipelineError
from alerting.store_clock import StoreClock
from flows.asked import Asked
from flows.closing.close import close_dead_runs
from flows.closing.finish import finish
from flows.coordination.lease import Holder, Lease
from flows.ledger.ledger import Ledger, Verdict
from flows.parameters import Mode, Order, Reason
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import land, record_failure
from flows.run.recounted import record_verification
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from processors.process import LoadContext, process
from processors.verification import Finding, Verification
from scrapers.manifest import Manifest


@pytest.fixture(autouse=True)
def world_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world has a clock of its own, which its store does not know."""
    monkeypatch.setattr(StoreClock, "written_at", lambda *_: None)


def backfill(world: World, services: ToyServices, backfill_id: str, asked: Asked) -> Iterator[None]:
    """The steps of the parent flow, without Prefect; it may be left between any two and never come back."""
    yield
    close_dead_runs(services, world.now, "toy")
    lease = Lease.acquire(services.store, "toy", Holder(backfill_id), now=world.now, ttl_s=LEASE_S)
    yield
    run = Run(services, asked, backfill_id, PlainOrchestrator())
    planned = plan_asked(services, asked, world.now, backfill_id)
    run.begin(planned, starting_facts(services, planned.plan, {}, backfill_id, asked))
    batch: list[Manifest] = []
    for partition in planned.plan.to_reload:
        entry = run.ledger.get(partition.key)
        assert entry is not None
        batch.append(services.landing.read_manifest(entry.manifest_name))
    for number, partition in enumerate([*planned.plan.to_fetch, None]):
        yield
        lease.heartbeat(world.now)
        if partition is not None:
            try:
                batch.append(land(run, partition.key))
            except PipelineError as error:
                record_failure(run, partition.key, error, "scrape", partition.key)
        if batch and (partition is None or number % 4 == 3):
            yield
            lease.heartbeat(world.now)
            _load(world, run, services, batch)
            batch = []
    yield
    lease.heartbeat(world.now)
    finish(run, "")
    run.close()


def _load(world: World, run: Run, services: ToyServices, batch: Sequence[Manifest]) -> None:
    receipt = process(
        batch,
        LoadContext(run.kit.processor, services.landing, services.warehouse, run.backfill_id),
    )
    for key, error in receipt.refused().items():
        record_failure(run, key, error, "load", key)
    counted = Counter(day for day, _ in world.rows["items"])
    for manifest in batch:
        key = manifest.partition
        if key not in receipt.failures:
            verdict = Finding.OK if counted[key] == len(truth(key)) else Finding.SHORT
            found = Verification(key, verdict, "", {"items": counted[key]})
            record_verification(run, manifest, found, key, receipt=receipt)


def asked(mode: Mode = Mode.INCREMENTAL, order: Order = Order.OLDEST_FIRST) -> Asked:
    return Asked(
        source="toy",
        start_date=FIRST,
        end_date=LAST,
        reason=Reason.NEVER_COLLECTED,
        mode=mode,
        order=order,
        breaker=False,
        max_concurrency=1,
    )


@pytest.mark.parametrize("seed", range(14))
def test_however_it_is_killed_repeated_and_overlapped_the_truth_is_that_of_a_quiet_run(
    seed: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(random.Random(seed))
    mails = FileChannel(tmp_path)
    _use_clock(world, monkeypatch)
    living: dict[str, Iterator[None]] = {}
    begun, ended, refused = 0, 0, 0
    for _ in range(400):
        world.tick()
        if len(living) < 2 and world.chance.random() < 0.3:
            begun += 1
            services = ToyServices(Life(world, int(world.chance.expovariate(1 / 60)) + 1), mails)
            order = world.chance.choice(list(Order))
            living[f"bf-{seed}-{begun}"] = backfill(world, services, f"bf-{seed}-{begun}", asked(order=order))
        if not living:
            continue
        backfill_id = world.chance.choice(list(living))
        if world.chance.random() < 0.02:
            # Stalled, not dead: it wakes up later and finds its lease gone.
            world.now += dt.timedelta(seconds=2 * LEASE_S)
        try:
            next(living[backfill_id])
        except StopIteration:
            ended += 1
            del living[backfill_id]
        except (Killed, LeaseHeld) as gone:
            refused += isinstance(gone, LeaseHeld)
            del living[backfill_id]
    _close_quietly(world, mails, seed)

    ledger = Ledger(world.objects, "toy").refresh()
    assert sorted(ledger) == KEYS
    assert all(entry.verdict in (Verdict.VERIFIED, Verdict.EMPTY_OK) for entry in ledger.values())
    assert sorted(world.rows["items"]) == [(key, number) for key in KEYS for number in truth(key)]
    assert world.loads_of_done == Counter()
    assert begun > 1


def _close_quietly(world: World, mails: FileChannel, seed: int) -> None:
    """The source is well again and nobody dies any more: one run must be enough."""
    world.faulty = False
    world.now += dt.timedelta(seconds=3 * LEASE_S)
    services = ToyServices(Life(world, 10**9), mails)
    for _ in backfill(world, services, f"bf-{seed}-last", asked()):
        world.tick()
    summary = json.loads(world.objects.read(f"runs/backfill=bf-{seed}-last/summary.json")[0])
    assert summary["verdict"] == "COMPLETE"
    assert sum(summary["verdict_counts"].values()) == DAYS


def _use_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "flows.run.run",
        "flows.run.recording",
        "flows.run.recounted",
        "flows.run.starting_facts",
    ):
        monkeypatch.setattr(f"{module}.utc_now", lambda: world.now)


@pytest.mark.parametrize("seed", range(5))
def test_a_run_is_terminal_exactly_when_every_partition_has_a_good_verdict(
    seed: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(random.Random(seed))
    _use_clock(world, monkeypatch)
    services = ToyServices(Life(world, 10**9), FileChannel(tmp_path))
    for number in range(30):
        for _ in backfill(world, services, f"bf-{number}", asked()):
            world.tick()
        summary = json.loads(world.objects.read(f"runs/backfill=bf-{number}/summary.json")[0])
        entries = Ledger(world.objects, "toy").refresh()
        # However a run ends, all that it planned has a verdict.
        assert sorted(entries) == KEYS
        all_good = all(entry.verdict.is_good for entry in entries.values())
        assert (summary["verdict"] == "COMPLETE") == all_good
        if all_good:
            return
    raise AssertionError("30 runs at 85 % luck did not finish 12 dates")


@pytest.mark.parametrize("seed", range(8))
def test_a_run_that_is_killed_anywhere_leaves_nothing_that_it_planned_without_a_verdict(
    seed: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(random.Random(seed))
    _use_clock(world, monkeypatch)
    mails = FileChannel(tmp_path)
    with contextlib.suppress(Killed):
        for _ in backfill(world, ToyServices(Life(world, 15 + 12 * seed), mails), "bf-killed", asked()):
            world.tick()
    world.now += dt.timedelta(seconds=2 * LEASE_S)
    closer = ToyServices(Life(world, 10**9), mails)
    assert close_dead_runs(closer, world.now, "toy") == ["bf-killed"]
    entries = Ledger(world.objects, "toy").refresh()
    assert sorted(entries) == KEYS
    summary = json.loads(world.objects.read("runs/backfill=bf-killed/summary.json")[0])
    assert summary["verdict_counts"] == dict(sorted(Counter(one.verdict.value for one in entries.values()).items()))
    assert summary["verdict"] == "ABORTED(crashed)"
    assert any(one.is_pending for one in entries.values())
