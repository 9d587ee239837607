"""What the forerunner promised of racing (rows D of docs/requirements.md), asked of racing itself, on a few days."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from alerting.instant import utc_now
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER, RacingUpstream
from deployments.local.upstreams.racing_world import RacingWorld
from flows.ledger.ledger import Verdict

if TYPE_CHECKING:
    from .conftest import Place, Ran

WORLD = RacingWorld(meetings=(1, 2), races=(2, 3), runners=(3, 5), bookmakers=2, horses=300)
SOURCES = ("racing_reference", "racing_cards", "racing_results")
LOGIN = {"racing_api_user": RACING_USER, "racing_api_password": RACING_PASSWORD}
LAST = utc_now().date() - dt.timedelta(days=9)
DAYS = [LAST - dt.timedelta(days=ago) for ago in reversed(range(3))]
RANGE = (str(DAYS[0]), str(DAYS[-1]))


@pytest.fixture
def upstream() -> Iterator[RacingUpstream]:
    with RacingUpstream(world=WORLD, per_second=0) as started:
        yield started


@pytest.fixture
def place(provisioned: Any, upstream: RacingUpstream, inbox: Any) -> Place:
    from .conftest import Place

    services = provisioned(
        "racing_cards",
        upstream.url,
        LOGIN,
        GAPLESS_SOURCE_URLS=json.dumps(dict.fromkeys(SOURCES, upstream.url)),
        GAPLESS_SOURCE_RATE_PER_MINUTE=json.dumps({"the_racing_api": 60_000}),
        GAPLESS_RETRY_DELAYS_S="[0]",
        PREFECT_API_URL="",
    )
    for name in SOURCES:
        for table in services.source_kit(name).processor.tables:
            services.warehouse.ensure_table(table)
    return Place(services, None, inbox)  # type: ignore[arg-type]


def test_every_question_of_the_guide_of_racing_has_its_answer(
    place: Place, ran: Ran, gapless: Any, upstream: RacingUpstream
) -> None:
    # D06: looking makes no call and writes nothing.
    before = place.objects()
    planned = gapless("plan", "racing_cards", *RANGE)
    assert planned.code == 1
    assert "racing_reference is not done with courses, regions" in planned.err, "which comes first (D09)"
    dry = json.dumps(gapless("estimate", "racing", *RANGE, "--json").data)
    assert RACING_PASSWORD not in dry
    assert (upstream.calls.report()["total"], place.objects()) == (0, before)

    # D04, D11: one day fails, the others go on, and it has an entry of its own.
    broken = DAYS[1]
    upstream.trouble({"kind": "short_page", "path": "/racecards/", "dates": [broken.isoformat()]})
    run, facts = ran(*RANGE, source="racing_cards", ignore_requires=True)
    assert facts.verdict_counts == {"verified": 2, "partial": 1}
    assert facts.planned == sum(facts.verdict_counts.values()) == 3
    status = gapless("status", "racing_cards", "--json").data
    (failed,) = status["failed"]
    assert (failed["error_type"], failed["ranges"]) == ("NotSettled", str(broken))
    # D07, D10: what is known outlives the process, as JSON.
    assert status["verdicts"] == {"verified": 2, "partial": 1}
    summary = json.loads(place.store.read(f"runs/backfill={run.backfill_id}/summary.json")[0])
    assert summary["verdict_counts"] == facts.verdict_counts
    errors = place.store.read(f"runs/backfill={run.backfill_id}/errors.jsonl")[0].decode().splitlines()
    assert [json.loads(line)["partition"] for line in errors] == [str(broken)]

    # D22: the gap is found, and the retry asks for it alone.
    gaps = gapless("gaps", "racing_cards", *RANGE, "--json").data["gaps"]
    assert gaps
    assert all(str(broken) in json.dumps(one) for one in gaps)
    assert not [day for day in DAYS if day != broken and str(day) in json.dumps(gaps)]
    upstream.trouble()
    calls = upstream.calls.report()["total"]
    _, facts = ran(*RANGE, source="racing_cards", ignore_requires=True)
    assert (facts.verdict, upstream.calls.report()["total"]) == ("COMPLETE", calls + 1)

    # D15, D19: again it is the same, and a day that came as it was is not loaded again.
    _, facts = ran(*RANGE, source="racing_cards", ignore_requires=True, mode="full")
    assert facts.verdict == "COMPLETE"
    assert {change for table in facts.tables for change, rows in table.changes.items() if rows} <= {"unchanged"}

    # D16, D20, D21, D23: five checks, coverage and runners per race of each month, and no table ends empty.
    checked = gapless("verify", "racing_cards", *RANGE, "--json").data
    races = [race for day in DAYS for race in WORLD.races_on(day)]
    tables = {"ra_cards": len(races), "ra_card_runners": sum(len(race.runners) for race in races)}
    assert {name: checked["tables"][name]["loaded"] for name in tables} == tables
    months = checked["by_month"].values()
    assert sum(one["done"] for one in months) == 3
    ratios = [one["ra_card_runners_per_ra_cards"] for one in months]
    assert all(3 <= ratio <= 5 for ratio in ratios)
    lines = gapless("verify", "racing_cards", *RANGE).out.splitlines()
    assert [line[:4] for line in lines[:5]] == ["PASS"] * 5
    place.services.warehouse.query(
        f"DELETE FROM {place.services.warehouse.name_of('ra_card_runners')} WHERE race_date = DATE '{broken}'"
    )
    assert gapless("verify", "racing_cards", *RANGE).code == 1
    entries = place.services.source_kit("racing_cards").ledger.refresh()
    assert {entry.verdict for entry in entries.values()} == {Verdict.VERIFIED}
