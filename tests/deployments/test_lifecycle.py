"""The bucket's lifecycle: payloads become cheap, only what nobody needs is deleted."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from alerting.pending_alerts import PENDING_PREFIX
from flows.coordination.lease import lease_name
from flows.digest import digest
from flows.ledger.ledger import ledger_prefix
from flows.ledger.pending import pending_name
from flows.planning.history import history_name
from flows.planning.stored_plan import run_prefix
from processors.process import REJECTS, rejects_prefix
from processors.receipt import receipt_name
from scrapers.manifest import attempt_prefix, page_name, source_prefix
from scrapers.registry import scraper

COMMAND = "python -m deployments.lifecycle"
FILE = Path(__file__).parents[2] / "deployments" / "lifecycle.json"
RULES: list[dict[str, Any]] = json.loads(FILE.read_text())["rule"]


def deletes_live(name: str) -> bool:
    return any(
        rule["action"]["type"] == "Delete"
        and rule["condition"].get("isLive", True)
        and any(name.startswith(prefix) for prefix in rule["condition"].get("matchesPrefix", [""]))
        for rule in RULES
    )


def test_no_rule_deletes_a_live_object_that_a_run_or_an_auditor_needs() -> None:
    kept = (
        source_prefix("s"),
        ledger_prefix("s"),
        pending_name("s"),
        receipt_name("s", "r"),
        lease_name("s"),
        history_name("s"),
        run_prefix("bf-1"),
        "outbox/backfill=bf-1.json",
        "alerts/backfill=bf-1/",
        "audit/leases/",
        "budgets/s.json",
        rejects_prefix("s"),
    )
    assert [name for name in kept if deletes_live(name)] == []


def test_staged_rows_go_by_themselves_and_payloads_become_cheap() -> None:
    assert deletes_live("staging/source=s/batch=b/t-d-0001.ndjson.gz")
    (cheap,) = [rule for rule in RULES if rule["action"]["type"] == "SetStorageClass"]
    assert [source_prefix("s").startswith(prefix) for prefix in cheap["condition"]["matchesPrefix"]] == [True]


def test_live_alerts_stay_as_long_as_the_longest_digest_looks_back() -> None:
    (rule,) = [rule for rule in RULES if PENDING_PREFIX in rule["condition"].get("matchesPrefix", [])]
    assert rule["action"]["type"] == "Delete"
    assert rule["condition"]["age"] * 24 > digest.parameters.properties["hours"]["maximum"]
    assert not deletes_live("alert-state/last-run/source=s.json")


def test_replaced_objects_can_be_had_back_for_thirty_days() -> None:
    (gone,) = [rule for rule in RULES if rule["condition"].get("isLive") is False]
    assert gone["condition"]["daysSinceNoncurrentTime"] == 30
    assert "matchesPrefix" not in gone["condition"], "also the ledger's older generations"


def printed(environment: dict[str, str]) -> list[dict[str, Any]]:
    words = [sys.executable if word == "python" else word for word in shlex.split(COMMAND)]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    rules: list[dict[str, Any]] = json.loads(done.stdout)["rule"]
    return rules


def test_pages_with_personal_data_are_deleted_when_their_source_says_or_a_setting_does() -> None:
    *ours, rule = printed({})
    assert ours == RULES
    assert rule["condition"]["age"] == scraper("hemnet_sales").raw_days == 180
    assert rule["action"]["type"] == "Delete"
    prefixes, suffixes = (tuple(rule["condition"][f"matches{which}"]) for which in ("Prefix", "Suffix"))
    page = f"{attempt_prefix('hemnet_sales', 'sweep', 'a')}{page_name(1)}"
    rejected = f"{rejects_prefix('hemnet_sales')}batch=b/{REJECTS}"
    assert all(name.startswith(prefixes) and name.endswith(suffixes) for name in (page, rejected))
    assert not f"{attempt_prefix('hemnet_sales', '2025-01', 'a')}manifest.json".endswith(suffixes)
    assert not f"{attempt_prefix('hemnet_details', '2025-01', 'a')}{page_name(1)}".startswith(prefixes)
    *_, rule = printed({"GAPLESS_SOURCE_RAW_DAYS": '{"hemnet_sales": 30}'})
    assert rule["condition"]["age"] == 30
    assert printed({"GAPLESS_SOURCE_RAW_DAYS": '{"hemnet_sales": 0}'}) == RULES
