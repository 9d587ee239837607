"""kill -9 of the flow-run process at exact points: after the rerun nothing is lost, doubled, or wrongly called done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.faults, pytest.mark.timeout(500)]
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")
RANGE = ("2024-12-30", "2025-01-02")  # spans both generations of the payload
INJECT = Path(__file__).parent / "inject"

POINTS = {
    "before the lease is taken": "flows.coordination.lease:Lease.acquire:before:1",
    "after the lease, before the mail is promised": "flows.coordination.lease:Lease.acquire:after:1",
    "after the mail is promised": "flows.run.run:Run.begin:after:1",
    "after the second page is stored": "scrapers.landing:Landing.put_page:after:2",
    "before the second manifest": "scrapers.landing:Landing.put_manifest:before:2",
    "between landing and ledger": "scrapers.landing:Landing.put_manifest:after:2",
    "after the rows are staged, before the replace": "processors.warehouse:BigQueryWarehouse.stage_rows:after:1",
    "between the replaces of the two tables": "processors.warehouse:BigQueryWarehouse.replace_rows:after:1",
    "after both replaces, before the receipt": "processors.receipt:Receipt.put:before:1",
    "after the recount, before the verdicts": "processors.verification:verify:after:1",
    "before the mail": "flows.closing.close:close_backfill:before:1",
    "after the mail, before it is marked as sent": "alerting.channels:SmtpChannel.send:after:1",
}


@pytest.fixture(scope="module")
def undisturbed(running: Bench) -> dict[str, tuple[int, str]]:
    """Tables of an undisturbed run over the range."""
    ended = running.run(*RANGE)
    assert ended.message.startswith("COMPLETE"), ended.message
    return {table: running.table_hash(table, *RANGE) for table in TABLES}


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_after_a_kill_and_a_rerun_the_tables_are_those_of_an_undisturbed_run(
    bench: Bench, undisturbed: dict[str, tuple[int, str]], point: str, tmp_path: Path
) -> None:
    bench.forget(*RANGE)
    marker = tmp_path / "killed"
    inject = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(INJECT), os.environ.get("PYTHONPATH", "")])),
        "GAPLESS_TEST_KILL_AT": point,
        "GAPLESS_TEST_KILL_ONCE": str(marker),
    }
    killed = bench.wait(bench.start(*RANGE, env=inject))
    assert marker.exists(), f"the flow never reached {point}: {killed.message}"
    assert killed.state_type == "CRASHED", killed.message

    again = bench.run(*RANGE)
    assert again.message.startswith("COMPLETE"), again.message
    assert {table: bench.table_hash(table, *RANGE) for table in TABLES} == undisturbed
    assert set(bench.verdicts(*RANGE).values()) <= {"verified", "empty_ok"}

    summaries = {mail["message_id"] for mail in bench.mails(again.backfill_id)}
    assert len(summaries) == 1
    of_the_killed = {mail["message_id"] for mail in bench.mails(killed.backfill_id)}
    began = "acquire" not in point
    assert len(of_the_killed) == int(began), of_the_killed
