"""Settings by the name of a source or an account: a name that is written wrongly would leave its source as declared,
a rate above what is paid for among it."""

from __future__ import annotations

import difflib

from alerting.errors import ConfigurationError
from flows.settings import Settings
from scrapers.registry import account_of, sources

BY_SOURCE = (
    "source_urls",
    "source_entities",
    "source_page_size",
    "source_raw_days",
    "source_usd_per_call",
    "audit_from",
)
BY_ACCOUNT = (
    "source_rate_per_minute",
    "source_pause_s",
    "source_calls_per_day",
    "source_calls_per_month",
    "source_only",
)
ALL = "*"


def refuse_unknown_names(settings: Settings) -> None:
    """Raises ``ConfigurationError`` for the first name that no source and no account has."""
    known = set(sources())
    _refuse_among(settings, (*BY_SOURCE, "quiet_sources"), known, "source")
    _refuse_among(settings, ("blackouts",), known | {ALL}, "source")
    # Whose accounts there are, each source has to be imported for.
    if settings.account_tiers or any(set(getattr(settings, field)) - known for field in BY_ACCOUNT):
        accounts = {account_of(one) for one in known}
        _refuse_among(settings, BY_ACCOUNT, known | accounts, "source or account")
        _refuse_among(settings, ("account_tiers",), accounts, "account")


def _refuse_among(settings: Settings, fields: tuple[str, ...], known: set[str], what: str) -> None:
    for field in fields:
        for name in sorted(set(getattr(settings, field)) - known):
            near = difflib.get_close_matches(name, known, n=1) or sorted(known - {ALL})
            raise ConfigurationError(
                f"GAPLESS_{field.upper()} names {name!r}, and there is no {what} of that name. Nothing was done",
                stage="settings",
                hint=f"write {near[0]!r}, or take it out" if len(near) == 1 else f"write one of {', '.join(near)}",
            )
