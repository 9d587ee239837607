"""One partition as a page: verdict and evidence, attempts with their payloads, run, next command."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import deque
from typing import Any

from alerting.errors import WrongUsage
from alerting.object_store import StoredObject
from alerting.outbox import Outbox
from alerting.redaction import printable
from alerting.wording import moment, plural, size
from flows.truth.whole_history import history_of
from flows.views.calendar_page import Way, templates, ways_for
from flows.wiring import Services
from scrapers.manifest import source_prefix

_MOST_OBJECTS = 500


@dataclasses.dataclass(slots=True)
class _Attempt:
    found: list[dict[str, str]]
    is_landed: bool = False


def partition_page(services: Services, source: str, key: str, now: dt.datetime, above: str) -> str:
    """The page; ``above`` is where its link back leads. Reads one ledger entry and one listing of its payloads.

    Raises ``WrongUsage`` for a partition of which nothing is known, ``StateUnreadable``.
    """
    kit = services.source_kit(source)
    entry = kit.ledger.refresh(key, key).get(key)
    attempts, left_out = _attempts(services, source, key)
    if entry is None and not attempts:
        raise WrongUsage(f"nothing is known of {source} {printable(key)[:80]}", hint=f"gapless calendar {source}")
    facts: dict[str, str] = {}
    state, run_url, backfill_id, ways = "unknown to the ledger", "", "", list[Way]()
    if entry is not None:
        (cell,) = (one for one in history_of(kit.scraper, {key: entry}, {key}, now).cells if one.partition.key == key)
        state, backfill_id = cell.state, entry.backfill_id
        facts = {
            "Verdict since": moment(entry.updated_at),
            "Attempts": str(entry.attempts or ""),
            "Rows landed": _rows(entry.landed),
            "Rows loaded": _rows(entry.loaded),
            "Evidence": entry.evidence,
            "Error": f"{entry.error_type}: {entry.error}" if entry.error_type else "",
            "Open items": entry.open_items,
            "Accepted": entry.accepted or entry.open_accepted,
            "Receipt": entry.receipt_id,
        }
        owed = Outbox(services.store).read(backfill_id) if backfill_id.startswith("bf-") else None
        run_url = owed.run_facts.links.get("Prefect run", "") if owed else ""
        ways = [*ways_for(source, state, [key]), *([Way(f"gapless record {backfill_id}")] if owed else [])]
    html: str = (
        templates()
        .get_template("partition.html.j2")
        .render(
            source=source,
            key=printable(key),
            state=state,
            facts={name: printable(value) for name, value in facts.items() if value},
            run_url=run_url if run_url.startswith(("http://", "https://")) else "",
            backfill_id=backfill_id,
            ways=ways,
            attempts=attempts,
            left_out=f"{plural(left_out, 'older object')} not shown" if left_out else "",
            above=above,
        )
    )
    return html


def _rows(counts: Any) -> str:
    return ", ".join(f"{table} {count:,}" for table, count in counts.items())


def _attempts(services: Services, source: str, key: str) -> tuple[dict[str, _Attempt], int]:
    """Newest first, with the newest objects of all, and how many older ones there are."""
    prefix = f"{source_prefix(source)}partition={key}/attempt="
    found: dict[str, _Attempt] = {}
    newest, count = deque[tuple[_Attempt, StoredObject]](maxlen=_MOST_OBJECTS), 0
    for count, stored in enumerate(services.store.list(prefix), start=1):  # noqa: B007 - the last one is their number
        attempt = found.setdefault(stored.name.removeprefix(prefix).partition("/")[0], _Attempt([]))
        attempt.is_landed |= stored.name.endswith("/manifest.json")
        newest.append((attempt, stored))
    for attempt, stored in newest:
        uri = f"{services.store.root_uri}/{stored.name}"
        attempt.found.append({"uri": uri, "size": size(stored.size_bytes), "at": moment(stored.updated_at)})
    return {name: found[name] for name in sorted(found, reverse=True) if found[name].found}, count - len(newest)
