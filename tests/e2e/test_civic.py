"""civic.band through the whole stack: all towns, one of them failing; a killed run goes on at its cursor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("datasette")

from deployments.local.upstreams.civic_towns import SAMPLE_TOWNS, TABLES

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500, func_only=True)]
DEPLOYMENT = "backfill/civic_band"
INJECT = Path(__file__).parent.parent / "faults" / "inject"
ALL = sorted(f"{town}~{table}" for town in SAMPLE_TOWNS for table in TABLES)
BIG, FAILING = "alameda.ca~agendas", "temecula.ca~minutes"


def civic(bench: Bench, path: str, body: Any = None, method: str | None = None) -> Any:
    import urllib.request

    url = f"{bench.stack.urls()['civic']}/gapless/{path}"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=30) as answer:
        return json.loads(answer.read())


def ledger(bench: Bench) -> dict[str, Any]:
    from flows.ledger.ledger import Ledger
    from flows.wiring import build_services

    return Ledger(build_services().store, "civic_band").refresh()


def current_rows(bench: Bench, entity: str) -> int:
    from flows.wiring import build_services

    warehouse = build_services().warehouse
    sql = (
        f"SELECT COUNT(DISTINCT page_id) AS n FROM {warehouse.name_of('civic_pages')} "
        f"WHERE entity = '{entity}' AND deleted_at IS NULL"
    )
    return int(warehouse.query(sql)[0]["n"])


def run(bench: Bench, env: dict[str, str] | None = None, **parameters: Any) -> Any:
    return bench.wait(bench.start_deployment(DEPLOYMENT, env=env, reason="test", **parameters))


def test_v08_one_failing_town_stops_no_other_and_a_killed_sweep_goes_on_at_its_cursor(bench, tmp_path):
    shown = run(bench, entities="all", dry_run=True)
    assert "8 entities. 8 partitions: 8 to fetch" in shown.message, shown.message
    assert civic(bench, "calls") == {}

    marker = tmp_path / "killed"
    inject = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(INJECT), os.environ.get("PYTHONPATH", "")])),
        "GAPLESS_TEST_KILL_AT": "scrapers.landing:Landing.put_page:after:7",
        "GAPLESS_TEST_KILL_ONCE": str(marker),
    }
    killed = run(bench, env=inject, entities=BIG)
    assert (marker.exists(), killed.state_type) == (True, "CRASHED"), killed.message

    town, _, table = FAILING.partition("~")
    civic(bench, "trouble", [{"town": town, "table": table, "do": "fail", "status": 404, "html": True, "calls": 0}])
    ended = run(bench, entities="all")
    assert civic(bench, "calls")[BIG] == 26 - 7
    entries = ledger(bench)
    assert {key: entry.verdict.value for key, entry in entries.items()} == {
        key: "failed_permanent" if key == FAILING else "empty_ok" if key == "berkeley.ca~minutes" else "verified"
        for key in ALL
    }, ended.message
    big = entries[BIG]
    assert (big.pages_fetched, big.expected, big.actual) == (12_345, 12_345, 12_345)
    assert (len(big.last_cursor), big.verified_at is not None) == (12, True)
    assert current_rows(bench, BIG) == 12_345

    civic(bench, "trouble", method="DELETE")
    retried = run(bench, entities=FAILING)
    assert retried.message.startswith("COMPLETE"), retried.message
    assert current_rows(bench, FAILING) == SAMPLE_TOWNS[town][1]
    assert civic(bench, "calls") == {FAILING: 1}


def test_v08_all_is_what_the_source_lists_and_a_town_that_fails_stops_no_other(bench):
    from flows.wiring import build_services

    store, name = build_services().store, "catalogue/source=civic_band/entities.json"
    new, failing = "temecula.ca", "oak-park.il"
    before = {"entities": sorted(set(SAMPLE_TOWNS) - {new}), "read_at": "2026-01-01T00:00:00Z"}
    store.write(name, json.dumps(before).encode())
    civic(
        bench, "trouble", [{"town": failing, "table": "minutes", "do": "fail", "status": 404, "html": True, "calls": 0}]
    )
    try:
        # The stack names its towns in a setting. Without it the feed does: each when it was added, one updated too.
        ended = run(bench, env={"GAPLESS_SOURCE_ENTITIES": "{}"}, entities="all~minutes", mode="full")
        calls = civic(bench, "calls")
        assert calls["feed"] == 1, ended.message
        assert set(calls) - {"feed"} == {f"{town}~minutes" for town in SAMPLE_TOWNS}
    finally:
        civic(bench, "trouble", method="DELETE")
        store.delete(name)
    assert ended.message.startswith("FAILED"), ended.message
    summary = [mail["text"] for mail in bench.mails(ended.backfill_id) if "HUMAN" not in mail["subject"]]
    assert f"1 entity is new in the source's list: {new}" in " ".join(summary[0].split())
    verdicts = {key: entry.verdict.value for key, entry in ledger(bench).items() if key.endswith("~minutes")}
    assert verdicts.pop(f"{failing}~minutes") == "failed_permanent"
    assert set(verdicts.values()) == {"verified", "empty_ok"}
    assert len(verdicts) == len(SAMPLE_TOWNS) - 1
    retried = run(bench, entities=f"{failing}~minutes")
    assert retried.message.startswith("COMPLETE"), retried.message


def test_dates_for_towns_and_towns_for_dates_are_refused_with_the_right_words(bench):
    for deployment, given, said in (
        (DEPLOYMENT, ["start_date=2025-01-01"], "start_date"),
        ("backfill/bdl_box_scores", ["start_date=2025-01-01", "end_date=2025-01-02", "entities=all"], "entities"),
        ("backfill/bdl_box_scores", ["start_date=2025-01-01"], "end_date"),
    ):
        arguments = [part for one in ["reason=test", *given] for part in ("-p", one)]
        refused = bench.cli("deployment", "run", deployment, *arguments, "--watch")
        assert refused.returncode != 0
        assert said in refused.stdout + refused.stderr
