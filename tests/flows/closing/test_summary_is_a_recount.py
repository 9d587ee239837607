"""What a run says of itself is what an independent count finds."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from flows.planning.stored_plan import run_prefix

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
FIRST, LAST = "2025-01-10", "2025-01-14"


def test_h21_the_summary_of_a_run_equals_a_recount_of_bucket_ledger_and_tables(place: Place, ran: Ran) -> None:
    place.fill(FIRST, 1)
    asked_before = place.upstream.calls.report()["total"]
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-12"]}, {"kind": "null_id", "dates": ["2025-01-13"]})
    run, _ = ran(FIRST, LAST)
    summary = json.loads(place.store.read(f"{run_prefix(run.backfill_id)}summary.json")[0])

    # By the objects themselves, and not by the code that wrote the summary.
    prefix = f"ledger/source={SOURCE}/"
    verdicts = {
        one.name.removeprefix(prefix).removesuffix(".json"): one.metadata["verdict"] for one in place.store.list(prefix)
    }
    assert sorted(verdicts) == [f"2025-01-{day}" for day in range(10, 15)]
    assert summary["planned"] == sum(summary["verdict_counts"].values()) == 5
    assert summary["verdict_counts"] == Counter(verdicts.values())
    assert summary["calls"] == place.upstream.calls.report()["total"] - asked_before
    landed = Counter[str]()
    for key, verdict in verdicts.items():
        if verdict in ("verified", "empty_ok", "failed_permanent", "failed_retryable", "partial"):
            for found in place.store.list(f"landing/source={SOURCE}/partition={key}/"):
                if found.name.endswith("manifest.json"):
                    landed += Counter(json.loads(place.store.read(found.name)[0])["counts"])
    tables = {table["name"]: table for table in summary["tables"]}
    for name, short in (("nba_bdl_games", "games"), ("nba_bdl_player_stats", "lines")):
        (counted,) = place.sql(f"SELECT COUNT(*) AS n FROM {{{short}}}")
        assert tables[name]["loaded"] == tables[name]["verified"] == counted["n"] > 0
        assert tables[name]["landed"] == landed[name] > counted["n"], "the rows of 2025-01-13 were refused"


def test_k28_tables_that_were_lost_are_restored_from_landed_payloads_without_a_call(place: Place, ran: Ran) -> None:
    place.fill(FIRST, 5)
    content = "SELECT TO_JSON_STRING(t) AS j FROM {lines} t ORDER BY j"
    before = place.sql(content)
    asked_before = place.upstream.calls.report()["total"]
    for table in ("{lines}", "{games}"):
        place.sql(f"DROP TABLE {table}")
    # As in a new process: what tables there are is looked up once in each.
    del place.services.warehouse
    run, facts = ran(FIRST, LAST, mode="reprocess", reason="complete_loss")
    assert facts.verdict == "COMPLETE"
    assert run.tally.calls == 0
    assert place.upstream.calls.report()["total"] == asked_before
    assert place.sql(content) == before
