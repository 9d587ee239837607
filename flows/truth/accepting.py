"""`gapless accept-open`: a person says that items which never became final are a loss, with name and reason."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from alerting.errors import ConfigurationError
from alerting.ranges import compress_dates
from flows.coordination.kept_lease import held_by_hand
from flows.ledger.ledger import LedgerEntry
from flows.wiring import Services


def accept_open(
    services: Services, source: str, keys: Sequence[str], *, who: str, reason: str, now: dt.datetime
) -> list[LedgerEntry]:
    """Entries whose open items are accepted from now on; their verdicts, and the age of their proofs, stay.

    A later reading that still finds open items asks again. Raises ``ConfigurationError``, before any effect, when a
    partition has none; ``LeaseHeld`` while a run works on the source.
    """
    ledger = services.source_kit(source).ledger
    with held_by_hand(services, source, "accept-open", compress_dates(keys)[:200]) as lease:
        entries = ledger.refresh(min(keys), max(keys))
        found = {
            key: entry for key in keys if (entry := entries.get(key)) and entry.open_items and entry.verdict.is_good
        }
        if missing := [key for key in keys if key not in found]:
            raise ConfigurationError(
                f"{', '.join(missing[:5])}: nothing of it is open; nothing was changed",
                source=source,
                stage="accept",
                hint=f"gapless audit {source} --only open_items",
            )
        lease.check()
        accepted = f"{who} on {now:%Y-%m-%d}: {reason}"
        return [ledger.put(dataclasses.replace(entry, open_accepted=accepted)) for entry in found.values()]
