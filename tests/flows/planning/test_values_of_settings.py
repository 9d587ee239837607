"""Values that no run could mean, and settings that their source cannot use: refused, and never ignored."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.errors import ConfigurationError
from flows.settings import Settings
from flows.wiring import Services


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source_page_size", {"racing_results": 0}),
        ("source_page_size", {"racing_results": -5}),
        ("source_raw_days", {"hemnet_sales": -1}),
        ("source_usd_per_call", {"racing_cards": -0.5}),
        ("retry_delays_s", [-1]),
        ("retry_delays_s", [float("nan")]),
        ("retry_delays_s", [float("inf")]),
        ("source_rate_per_minute", {"balldontlie": 0}),
        ("source_calls_per_day", {"balldontlie": -3}),
        ("source_calls_per_month", {"balldontlie": 10**40}),
        ("source_pause_s", {"balldontlie": (5, 1)}),
        ("source_pause_s", {"balldontlie": (-1, 2)}),
        ("source_pause_s", {"balldontlie": (0, float("nan"))}),
        ("source_usd_per_call", {"balldontlie": float("inf")}),
        ("block_cooldown_h", float("inf")),
        ("empty_ttl_days", 1e9),
        ("run_deadline_s", 1e300),
        ("max_bytes_billed", 10**30),
        ("smtp_port", 65_536),
    ],
)
def test_a_number_that_no_run_could_mean_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=field):
        Settings(console_only=True, **{field: value})


@pytest.mark.parametrize("around", ["{}\n", " {}\r\n", "\ufeff{}"])
def test_a_line_end_and_blanks_around_a_value_are_none_of_it(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SMTP_HOST": "smtp.example.org", "MAIL_TO": "ops@example.org", "CONSOLE_ONLY": "true"}.items():
        monkeypatch.setenv(f"GAPLESS_{name}", around.format(value))
    monkeypatch.setenv("GAPLESS_SMTP_PASSWORD", "a password \n")
    found = Settings()
    assert (found.smtp_host, found.mail_to, found.console_only) == ("smtp.example.org", "ops@example.org", True)
    assert found.smtp_password.get_secret_value() == "a password "


@pytest.mark.parametrize("field", ["project", "mail_to", "smtp_host", "spool_folder", "alert_subject_prefix"])
@pytest.mark.parametrize(("around", "told"), [('"{}"', "in quotes"), ("'{}'", "in quotes"), ("a\n{}", "a line break")])
def test_quotes_around_a_value_and_line_breaks_in_it_are_named(field: str, around: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{field} \(GAPLESS_{field.upper()}\): .*{told}"):
        Settings(console_only=True, **{field: around.format("abc")})


@pytest.mark.parametrize(
    ("source", "settings", "words", "hint"),
    [
        (
            "racing_cards",
            {"source_entities": {"racing_cards": ["gb"]}},
            "which is fetched by date",
            "GAPLESS_SOURCE_ONLY",
        ),
        ("odds_history", {"source_entities": {"odds_history": ["us"]}}, "which is fetched by date", "take them out"),
        ("hemnet_sales", {"source_pause_s": {"hemnet_sales": (1, 2)}}, "shares that of the account hemnet", '"hemnet"'),
        ("racing_cards", {"source_urls": {"racing_cards": "example.com"}}, "neither https", "https://api.theracingapi"),
        ("racing_cards", {"source_urls": {"racing_cards": "ftp://example.com"}}, "neither https", ""),
        ("racing_cards", {"source_urls": {"racing_cards": "https://"}}, "neither https", ""),
        ("racing_cards", {"source_urls": {"racing_cards": "http://[::bad"}}, "no valid host or port", ""),
        ("racing_cards", {"source_urls": {"racing_cards": "http://h:99999"}}, "no valid host or port", ""),
        ("racing_cards", {"source_urls": {"racing_cards": "http://me:planted@h"}}, "a user or password", ""),
        ("racing_cards", {"source_urls": {"racing_cards": "http://h/?a=b"}}, "a query or a fragment", ""),
        ("racing_cards", {"source_urls": {"racing_cards": "http://h\nX: y"}}, "a blank or a line break", ""),
    ],
)
def test_a_setting_that_the_source_cannot_use_is_refused_and_not_ignored(
    source: str, settings: dict[str, Any], words: str, hint: str
) -> None:
    services = Services(Settings(console_only=True, **settings))
    with pytest.raises(ConfigurationError, match=words) as refused:
        services.source_kit(source).access  # noqa: B018 - raises
    assert hint in str(refused.value.hint)
