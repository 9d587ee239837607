"""A setting under a name that nothing has is refused: its source would be asked as it is declared."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.errors import ConfigurationError
from flows.planning.named_settings import BY_ACCOUNT, BY_SOURCE, refuse_unknown_names
from flows.settings import Settings


@pytest.mark.parametrize(
    ("named", "problem", "hint"),
    [
        ({"source_rate_per_minute": {"balldontie": 30}}, "RATE_PER_MINUTE names 'balldontie'", "write 'balldontlie'"),
        ({"source_only": {"racing_card": ["gb"]}}, "SOURCE_ONLY names 'racing_card'", "write 'racing_cards'"),
        ({"source_urls": {"bdl_box_score": "http://h"}}, "there is no source of that name", "write 'bdl_box_scores'"),
        ({"blackouts": {"nba_boxscore": ["Mon-Fri 18:00-20:00 UTC"]}}, "GAPLESS_BLACKOUTS", "write 'nba_boxscores'"),
        ({"quiet_sources": ["racing_card"]}, "QUIET_SOURCES names 'racing_card'", "write 'racing_cards'"),
        ({"source_calls_per_day": {"zzz": 5}}, "no source or account of that name", "write one of balldontlie, "),
        ({"account_tiers": {"balldontlies": "free"}}, "there is no account of that name", "write 'balldontlie'"),
    ],
)
def test_a_name_that_nothing_has_is_refused_with_the_nearest_one(
    named: dict[str, Any], problem: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        refuse_unknown_names(Settings(console_only=True, **named))
    assert problem in str(refused.value)
    assert refused.value.hint.startswith(hint)


def test_sources_accounts_and_all_of_them_are_names() -> None:
    refuse_unknown_names(
        Settings(
            console_only=True,
            source_rate_per_minute={"balldontlie": 30, "civic_band": 60},
            blackouts={"*": ["Mon-Fri 18:00-20:00 UTC"], "civic_band": ["Sat-Sun 18:00-20:00 UTC"]},
            account_tiers={"balldontlie": "free"},
        )
    )


def test_every_setting_by_name_is_looked_at() -> None:
    others = {"source_secrets", "mail_contacts"}  # by the names of secrets, and of roles
    mappings = {name for name, field in Settings.model_fields.items() if str(field.annotation).startswith("dict[")}
    assert mappings == {*BY_SOURCE, *BY_ACCOUNT, "account_tiers", "blackouts", *others}
