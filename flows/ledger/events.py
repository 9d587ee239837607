"""One log event for each partition that a run gives its verdict: a line for people, and the same as fields.

::

    ✓ 2025-01-03 verified nba_bdl_games=9 nba_bdl_player_stats=236 attempts=1
    ✗ 2025-01-04 failed_retryable error_type=SourceUnavailable stage=scrape attempts=6 error="the source answered 503"

The fields are the record's ``gapless`` attribute, for log collectors. The error is cut; the whole one is in the ledger,
in the journal and in ``errors.jsonl``.
"""

from __future__ import annotations

import json
import logging

from alerting.redaction import redact
from flows.ledger.ledger import LedgerEntry, Verdict

LOG = logging.getLogger("gapless.partition")
ERROR_CHARS = 80


def verdict_event(entry: LedgerEntry, stage: str = "") -> None:
    """Logs what became of one partition; ``stage`` is where it failed, "" when it did not."""
    rows = entry.loaded or entry.landed
    fields: dict[str, object] = {
        "source": entry.source,
        "partition": entry.partition,
        "verdict": entry.verdict.value,
        "backfill_id": entry.backfill_id,
        "rows": dict(rows),
        "attempts": entry.attempts,
    }
    is_well = entry.verdict.is_good or entry.verdict is Verdict.STAGED
    if is_well:
        told = [*(f"{table}={count}" for table, count in rows.items()), f"attempts={entry.attempts}"]
    else:
        # Where it happened is in the other fields.
        error = redact(entry.error).removeprefix(f"{entry.source} {entry.partition} [{stage}]: ")
        short = error if len(error) <= ERROR_CHARS else f"{error[: ERROR_CHARS - 3]}..."
        fields |= {"error_type": entry.error_type, "stage": stage, "error": short}
        told = [
            f"error_type={entry.error_type}",
            f"stage={stage}",
            f"attempts={entry.attempts}",
            f"error={json.dumps(short, ensure_ascii=False)}",
        ]
    mark, level = ("✓", logging.INFO) if is_well else ("✗", logging.WARNING)
    line = " ".join((mark, entry.partition, entry.verdict.value, *told))
    LOG.log(level, "%s", line, extra={"gapless": fields})
