"""What a source said of the plan that an account pays for: remembered, so that no run asks again for what is not in it.

    accounts/<account>.json   {"tier": what the source asks for and the account has not, "why": ..., "account": ...}

It counts until the account changes (another key, tier or limit in the settings) or a person says that it did.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter

from alerting.errors import PipelineError
from alerting.redaction import redact
from alerting.versioned_record import VersionedRecord
from flows.wiring import SourceKit

FACT = "lacks_tier"
"""The fact of an ``AuthenticationError`` that names the tier which the source says the account has not."""


class Account(BaseModel):
    """What is known of an account on our side.

    Attributes:
        tier: As the settings state it, "" where they say nothing.
        per_month: Its limit by the settings, None likewise.
        key_mark: Tells another key: four characters of a hash, far too few to find it by; "" where it is not known.
    """

    model_config = ConfigDict(frozen=True)

    tier: str = ""
    per_month: int | None = None
    key_mark: str = ""

    def is_another_than(self, before: Account) -> bool:
        """Whether it changed; a key that is not known on both sides says nothing."""
        key_changed = bool(self.key_mark and before.key_mark) and self.key_mark != before.key_mark
        return key_changed or (self.tier, self.per_month) != (before.tier, before.per_month)


class RefusedTier(BaseModel):
    """A refusal, by which run and when (aware UTC) it was met, and who says that it counts no more."""

    model_config = ConfigDict(frozen=True)

    tier: str
    why: str
    at: AwareDatetime
    backfill_id: str
    account: Account
    lifted_at: AwareDatetime | None = None
    lifted_by: str = ""
    lifted_reason: str = ""


_SHAPE = TypeAdapter(RefusedTier)


def remember_refusal(kit: SourceKit, error: PipelineError, backfill_id: str, now: dt.datetime) -> None:
    """Keeps what ``error`` says of the account's plan; nothing where it says nothing."""
    if tier := str(error.facts.get(FACT, "")):
        told = RefusedTier(tier=tier, why=redact(error.message), at=now, backfill_id=backfill_id, account=_account(kit))
        _record(kit).put(told)


def refused_tier(kit: SourceKit) -> RefusedTier | None:
    """The refusal that still counts; None without one. Raises ``StateUnreadable``."""
    found = _record(kit).read() if kit.scraper.tiers else None
    if found is None or found.lifted_at is not None or _account(kit).is_another_than(found.account):
        return None
    return found


def lift_refusal(kit: SourceKit, *, who: str, reason: str, at: dt.datetime) -> dict[str, Any] | None:
    """Lets runs ask again, because a person knows that the plan is another one; what was kept, None without a refusal.

    The trace is written first, as an object of its own that nothing overwrites.
    """
    found = refused_tier(kit)
    if found is None:
        return None
    lifted = found.model_copy(update={"lifted_at": at, "lifted_by": who, "lifted_reason": reason})
    trace = {"source": kit.source, "account": kit.scraper.account_name, **lifted.model_dump(mode="json")}
    store = kit.services.store
    name = f"audit/accounts/account={kit.scraper.account_name}/{at:%Y%m%dT%H%M%SZ}.json"
    store.write(name, json.dumps(trace, indent=1).encode(), content_type="application/json")
    _record(kit).put(lifted)
    return {**trace, "audit": f"{store.root_uri}/{name}"}


def _record(kit: SourceKit) -> VersionedRecord[RefusedTier]:
    name = f"accounts/{kit.scraper.account_name}.json"
    return VersionedRecord(kit.services.store, name, _SHAPE, source=kit.source, stage="plan")


def _account(kit: SourceKit) -> Account:
    return Account(tier=kit.stated_tier, per_month=kit.stated_limit, key_mark=_key_mark(kit))


def _key_mark(kit: SourceKit) -> str:
    auth = kit.scraper.auth
    values: list[str] = []
    # Who plans need not know the key: only runs do.
    with contextlib.suppress(PipelineError):
        values = [kit.services.settings.secret(name) for name in (auth.secrets if auth else ())]
    if not all(values) or not values:
        return ""
    return hashlib.sha256("\0".join([kit.scraper.account_name, *values]).encode()).hexdigest()[:4]
