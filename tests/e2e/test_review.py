"""A load that waits for approval, on the deployed flow: compared, mailed, suspended, decided by Resume or a command."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows.wiring import build_services

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900, func_only=True)]
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")
PROJECT_DIR = Path(__file__).parents[2]
INJECT = PROJECT_DIR / "tests" / "faults" / "inject"
ORDER = {"mode": "full", "publish": "after_approval"}


def waiting(bench: Bench, days: tuple[str, str], odd: str, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    """A filled range of which the source has fewer rows on ``odd`` by now; the run that waits, and its backfill id."""
    bench.trouble()
    filled = bench.run(*days)
    assert filled.message.startswith("COMPLETE"), filled.message
    bench.trouble({"kind": "one_game", "dates": [odd]})
    run_id = bench.start(*days, env=env, **ORDER)
    deadline = time.monotonic() + 300
    while (state := bench.api(f"/flow_runs/{run_id}")["state"])["name"] != "Suspended":
        assert time.monotonic() < deadline, state
        assert state["type"] not in ("COMPLETED", "FAILED", "CRASHED"), state
        time.sleep(0.3)
    return run_id, f"bf-{run_id.replace('-', '')[:12]}"


def hashes(bench: Bench, days: tuple[str, str]) -> dict[str, tuple[int, str]]:
    return {table: bench.table_hash(table, *days) for table in TABLES}


def subjects(mails: Iterable[Mapping[str, Any]]) -> list[str]:
    return [re.sub(r"[\] ,].*", "", mail["subject"].split("][")[1]) for mail in mails]


def test_resume_publishes_what_the_mail_showed_and_records_who(bench: Bench) -> None:
    days, odd = ("2023-03-01", "2023-03-03"), "2023-03-02"
    run_id, backfill_id = waiting(bench, days, odd)
    before = hashes(bench, days)
    assert bench.verdicts(*days)[odd] == "staged"
    (mail,) = bench.mails(backfill_id)
    assert f"gapless approve {backfill_id}" in mail["text"]
    assert f"FEWER ROWS THAN USUAL on {odd}" in mail["text"]
    # What the UI shows before it resumes.
    schema = bench.api(f"/flow_runs/{run_id}/input/suspended-review-1-schema")
    assert '"decision"' in str(schema).replace("'", '"')
    refused = bench.api(f"/flow_runs/{run_id}/resume", {})
    assert refused["status"] == "REJECT", refused
    nameless = bench.api(f"/flow_runs/{run_id}/resume", {"run_input": {"decision": "publish", "by": ""}})
    assert nameless["status"] == "REJECT", nameless
    assert hashes(bench, days) == before

    form = {"decision": "publish", "by": "maria", "reason": "the league said so"}
    bench.api(f"/flow_runs/{run_id}/resume", {"run_input": form})
    ended = bench.wait(run_id)
    assert ended.message == "COMPLETE: 3 partitions: 3 verified; publish by maria", ended.message
    assert hashes(bench, days)[TABLES[0]][0] < before[TABLES[0]][0]
    assert set(bench.verdicts(*days).values()) == {"verified"}
    assert subjects(bench.mails(backfill_id)) == ["REVIEW", "OK"]


def test_a_command_decides_and_ends_the_suspended_run(bench: Bench) -> None:
    days, odd = ("2023-03-11", "2023-03-12"), "2023-03-12"
    run_id, backfill_id = waiting(bench, days, odd)
    before = hashes(bench, days)
    done = bench.shell(f"gapless reject {backfill_id} --reason 'half of it is missing'")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.wait(run_id).state_type == "CANCELLED"
    assert hashes(bench, days) == before
    assert set(bench.verdicts(*days).values()) == {"verified"}
    assert subjects(bench.mails(backfill_id)) == ["REVIEW", "CANCELLED"]


def test_a_publishing_killed_between_two_tables_is_finished_by_the_watchdog(bench: Bench, tmp_path: Path) -> None:
    days, odd = ("2023-03-21", "2023-03-22"), "2023-03-21"
    marker = tmp_path / "killed"
    inject = {
        "PYTHONPATH": f"{INJECT}{os.pathsep}{PROJECT_DIR}",
        "GAPLESS_TEST_KILL_AT": "processors.warehouse:BigQueryWarehouse.publish:before:2",
        "GAPLESS_TEST_KILL_ONCE": str(marker),
    }
    run_id, backfill_id = waiting(bench, days, odd, inject)
    before = hashes(bench, days)
    bench.api(f"/flow_runs/{run_id}/resume", {"run_input": {"decision": "publish", "by": "maria"}})
    assert bench.wait(run_id).state_type == "CRASHED"
    assert marker.exists()
    between = hashes(bench, days)
    assert between[TABLES[0]] != before[TABLES[0]]
    assert between[TABLES[1]] == before[TABLES[1]]
    assert bench.verdicts(*days)[odd] == "staged"

    deadline = time.monotonic() + 300
    while bench.verdicts(*days)[odd] != "verified":
        # The killed one holds the source until its lease expires.
        assert time.monotonic() < deadline
        assert bench.wait(bench.start_deployment("watchdog/watchdog")).state_type == "COMPLETED"
    after = hashes(bench, days)
    assert after[TABLES[0]] == between[TABLES[0]]
    assert after[TABLES[1]] != before[TABLES[1]]
    assert subjects(bench.mails_of_a_dead_run(backfill_id, 2)) == ["REVIEW", "OK"]
    name = build_services().warehouse.name_of
    (orphans,) = build_services().warehouse.query(
        f"SELECT COUNT(*) AS n FROM {name(TABLES[1])} S LEFT JOIN {name(TABLES[0])} G USING (game_key) "
        "WHERE G.game_key IS NULL"
    )
    assert orphans["n"] == 0
