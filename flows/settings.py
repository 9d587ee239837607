"""The only reader of the environment. Local and cloud differ in these values and in nothing else."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from alerting.chat_channels import register_address
from alerting.errors import ConfigurationError
from alerting.redaction import register_secret


class Settings(BaseSettings):
    """Every setting, from ``GAPLESS_<NAME>`` in the environment. ``docs/configuration.md`` is generated from it."""

    model_config = SettingsConfigDict(env_prefix="GAPLESS_", extra="ignore", frozen=True, hide_input_in_errors=True)

    project: str = Field("", description="default `GOOGLE_CLOUD_PROJECT`")
    location: str = Field("US", description="BigQuery location")
    bucket: str = Field(
        "gapless-raw",
        pattern=r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$",
        min_length=3,
        max_length=222,
        description="[what it holds](runbook.md#where-things-are)",
    )
    dataset: str = Field("gapless", pattern=r"^[A-Za-z0-9_]+$", max_length=1024)
    max_bytes_billed: int = Field(100 * 2**30, ge=0, description="larger BigQuery queries fail; 0 no limit")

    source_urls: dict[str, str] = Field(default_factory=dict, description="instead of the public ones")
    source_secrets: dict[str, SecretStr] = Field(default_factory=dict, description="API keys, by [secret](#secrets)")
    source_rate_per_minute: dict[str, int] = Field(default_factory=dict)
    source_pause_s: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description='seconds between calls, as `{"hemnet_sales": [5, 10]}`',
    )
    source_calls_per_day: dict[str, int] = Field(default_factory=dict)
    source_calls_per_month: dict[str, int] = Field(default_factory=dict)
    account_tiers: dict[str, str] = Field(
        default_factory=dict,
        description="your plan, by account",
    )
    source_entities: dict[str, list[str] | dict[str, dict[str, Any]]] = Field(
        default_factory=dict,
        description="what `all` means: names, or names with facts",
    )
    source_page_size: dict[str, PositiveInt] = Field(default_factory=dict)
    source_only: dict[str, list[str]] = Field(
        default_factory=dict,
        description="parts to request; dates landed for fewer are not done",
    )
    source_raw_days: dict[str, NonNegativeInt] = Field(
        default_factory=dict,
        description="days until payloads are [deleted](deploy-gcp.md#backup-and-retention); 0 never",
    )
    audit_from: dict[str, dt.date] = Field(
        default_factory=dict,
        description="first date that the audit expects",
    )

    mail_to: str = Field("", description="separated by commas")
    mail_to_critical: str = Field("", description="also get CRITICAL mails")
    mail_from: str = Field("gapless@localhost", description="should accept bounces")
    smtp_host: str = Field("", description="empty needs `GAPLESS_CONSOLE_ONLY`")
    smtp_port: int = Field(587, ge=1, le=65_535)
    smtp_security: Literal["none", "starttls", "tls"] = Field("starttls", description="`none`, `starttls` or `tls`")
    smtp_user: str = Field("", description="if the server wants a login")
    smtp_password: SecretStr = Field(SecretStr(""), description="a [secret](#secrets)")
    apprise_urls: list[SecretStr] = Field(
        default_factory=list,
        description="chat, by [Apprise](https://github.com/caronc/apprise/wiki) URL, each of one target",
    )
    mail_folder: str = Field("", description="for copies of mails")
    console_only: bool = Field(False, description="log the summary instead of mailing it")
    quiet_sources: list[str] = Field(default_factory=list, description="no summary if nothing is missing")
    start_mail: bool = Field(False)
    progress_mail_hours: float = Field(0.0, ge=0, description="hours between progress mails; 0 none")
    mail_contacts: dict[str, str] = Field(
        default_factory=dict, description='whom to ask, as `{"BigQuery": "dba@example.org"}`'
    )
    alert_subject_prefix: str = Field("[gapless]")
    mail_host: str = Field("gapless.local", description="right side of Message-IDs; the same on all machines")
    ui_url: str = Field("", description="Prefect UI, for links")
    inbox_url: str = Field("", description="local inbox, for links")
    spool_folder: str = Field("", description="where incidents wait for the bucket")

    max_concurrency: int = Field(8, ge=1, le=64, description="dates at once")
    single_window_up_to: int = Field(31, ge=1, description="up to this many dates, each is a subflow")
    distributed_windows_at_once: int = Field(4, ge=1)
    distributed_window_partitions: int = Field(1_000, ge=1, description="most dates of such a window")
    process_batch_partitions: int = Field(
        500,
        ge=1,
        le=1000,
        description="dates per load; at most 1,000",
    )
    retry_delays_s: list[NonNegativeFloat] = Field(default_factory=lambda: [2.0, 4.0, 8.0, 16.0, 32.0])
    checkpoint_max_age_h: float = Field(24.0, ge=0, description="an attempt killed earlier starts again")
    progress_every: int = Field(10, ge=1, description="dates between log lines")
    progress_minutes: float = Field(15.0, gt=0, description="longest time without one")
    heartbeat_s: float = Field(15.0, gt=0)
    lease_ttl_s: float = Field(120.0, gt=0, description="a lease silent for longer is free")
    review_days: float = Field(7.0, gt=0, le=50, description="then an undecided review is dropped")
    empty_ttl_days: float = Field(
        180.0,
        gt=0,
        description="then an empty date is requested again",
    )
    acceptable_share: float = Field(0.9, ge=0, le=1, description="good dates for ACCEPTABLE")

    blackouts: dict[str, list[str]] = Field(
        default_factory=dict,
        description='when backfills pause, as `{"*": ["Mon-Fri 18:00-23:00 America/Los_Angeles"]}`',
    )
    backfill_quota_share: float = Field(
        0.7,
        gt=0,
        le=1,
        description="quota for backfills; live runs keep the rest",
    )
    warn_share: float = Field(0.1, ge=0, le=1, description="failing dates for a warning")
    abort_share: float = Field(0.2, ge=0, le=1, description="failing dates that stop a run; 0 never")
    breaker_min_sample: int = Field(20, ge=1, description="dates before shares count")
    breaker_probes: int = Field(
        5,
        ge=0,
        le=20,
        description="waits for a source that is down; 0 stops at once",
    )
    breaker_probe_pause_s: float = Field(30.0, gt=0, description="the first of them; each doubles")
    stall_s: float = Field(3600.0, ge=0, description="a run in which nothing ends is stopped; 0 never")
    run_deadline_s: float = Field(7 * 86_400.0, ge=0, description="0 none")
    memory_limit_mb: int = Field(0, ge=0, description="of a run; 0 none")
    block_cooldown_h: float = Field(1.5, ge=0, description="of a source that blocked us")
    run_budget_usd: float = Field(0.0, ge=0, description="0 none")
    source_usd_per_call: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    storage_usd_per_1000_writes: float = Field(0.005, ge=0, description="class A")
    storage_usd_per_1000_reads: float = Field(0.0004, ge=0, description="class B")
    bigquery_usd_per_tib: float = Field(6.25, ge=0, description="0 if you pay for slots")

    def __init__(self, **values: Any) -> None:
        """From the environment, ``values`` first. Raises ``ConfigurationError``, which names no value."""
        if os.environ.get(_WEBHOOKS):
            _mask_misshaped_secrets()
            raise ConfigurationError(
                f"{_WEBHOOKS} is set, and webhooks go through Apprise. Nothing was done",
                stage="settings",
                hint="unset it; write each address into GAPLESS_APPRISE_URLS as slack://, discord:// or json://host/path",
            ) from None
        try:
            super().__init__(**values)
        except (ValidationError, SettingsError) as error:
            _mask_misshaped_secrets()
            # Not chained: a JSON error carries the whole text.
            raise unfit(error) from None

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_was_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """Files and secret managers add a line end, which no value needs; what else is around one is refused."""
        if not isinstance(value, str):
            return value
        if info.field_name in _SECRET_FIELDS:
            return value.strip("\r\n")
        value = value.strip("\ufeff \t\r\n")
        if re.search(r"[\x00-\x1f\x7f]", value):
            raise ValueError("a line break or another control character stands in it")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            raise ValueError("it stands in quotes, which docker --env-file and unit files keep; take them out")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """No number without end: what is added to a time would leave the calendar in the middle of a run."""
        name = info.field_name or ""
        most, least = _most(name), 1 if name in _LIMITS else -1e15
        for number in _numbers_in(value):
            if not least <= number <= most:
                raise ValueError(f"numbers from {least:,.0f} to {most:,.0f} were expected")
        if name == "source_pause_s" and not all(0 <= shortest <= longest for shortest, longest in value.values()):
            raise ValueError("the shortest pause comes first, and none is below 0")
        return value

    @model_validator(mode="after")
    def _secrets_are_masked_from_here_on(self) -> Settings:
        for given in (self.smtp_password, *self.source_secrets.values()):
            register_secret(given.get_secret_value())
        for url in self.apprise_urls:
            register_address(url.get_secret_value())
        return self

    @model_validator(mode="after")
    def _emulators_come_in_pairs(self) -> Settings:
        pair = {name: os.environ.get(name, "") for name in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")}
        if len({bool(value) for value in pair.values()}) == 2:
            given, missing = sorted(pair, key=lambda name: not pair[name])
            raise ConfigurationError(
                f"{given} is set and {missing} is not: half of the run would go to the real cloud. Nothing was done",
                stage="settings",
                hint="set both (with http://) for the local stack, or neither",
            )
        return self

    @property
    def is_local(self) -> bool:
        """Whether the Google clients talk to emulators."""
        return bool(os.environ.get("STORAGE_EMULATOR_HOST"))

    def secret(self, name: str) -> str:
        """Secret ``name`` (``smtp_password`` or what a scraper declares), "" when there is none.

        The environment first, else the Prefect Secret block of that name (``flows.secret_blocks``). Nobody else looks
        a secret up. Raises ``ConfigurationError`` when the block cannot be read.
        """
        given = self.smtp_password if name == "smtp_password" else self.source_secrets.get(name)
        value = given.get_secret_value() if given else ""
        if not value:
            from flows.secret_blocks import secret_from_block  # imports Prefect

            value = secret_from_block(name)
        if value:
            register_secret(value)
        return value

    def session(self, name: str) -> tuple[str, Callable[[str, str], None]]:
        """Session ``name`` as the source last renewed it, and what keeps the next renewal."""
        from flows.secret_blocks import keep_session, renewed_session  # imports Prefect

        given = self.secret(name)
        newest = given and (renewed_session(name, given) or given)
        return newest, lambda secret, value: keep_session(secret, given, value)

    @property
    def google_project(self) -> str:
        """The project to bill; raises ``ConfigurationError`` when none is known."""
        project = self.project or os.environ.get("GOOGLE_CLOUD_PROJECT", "")
        if not project:
            raise ConfigurationError("no Google Cloud project", stage="settings", hint="export GAPLESS_PROJECT=...")
        return project


def unfit(error: ValidationError | SettingsError) -> ConfigurationError:
    """Says which setting or parameter, and never with which value: it may be a secret."""
    if isinstance(error, SettingsError):
        named = _FIELD.search(str(error))
        name = f"{named[1]} (GAPLESS_{named[1].upper()})" if named else "a setting"
        return ConfigurationError(
            f"{name} is not JSON, which it must be. Nothing was done", stage="settings", hint=_HINT
        )
    problems = "; ".join(
        f"{_place(error.title, one['loc'])}: {one['msg']}"
        for one in error.errors(include_input=False, include_url=False)
    )
    return ConfigurationError(f"{error.title}: {problems}. Nothing was done", stage="settings", hint=_HINT)


def _most(name: str) -> float:
    """The largest value of a setting: of a time 100 years, in the unit that its name says."""
    return next((most for ending, most in _A_CENTURY.items() if name.endswith(ending)), 1e15)


def _numbers_in(value: Any) -> Iterator[int | float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers_in(one)


# 0 calls would be a source that is never asked, or one without a limit: who writes it must not have to guess.
_LIMITS = ("source_rate_per_minute", "source_calls_per_day", "source_calls_per_month")
_A_CENTURY = {"_s": 36_525 * 86_400.0, "_minutes": 36_525 * 1_440.0, "_h": 36_525 * 24.0, "_hours": 36_525 * 24.0}
_A_CENTURY["_days"] = 36_525.0
_HINT = "look at docs/configuration.md"
_FIELD = re.compile(r'field "(\w+)"')
_WEBHOOKS = "GAPLESS_WEBHOOK_URLS"
_SECRET_FIELDS = ("smtp_password", "source_secrets", "apprise_urls", "webhook_urls")


def _place(title: str, where: tuple[int | str, ...]) -> str:
    # Below a secret the key may be one, too: a mistake like {"<the key>": 1}.
    below = where[:1] if where and where[0] in _SECRET_FIELDS else where
    place = ".".join(str(part) for part in below)
    return f"{place} (GAPLESS_{str(below[0]).upper()})" if title == Settings.__name__ and below else place


def _mask_misshaped_secrets() -> None:
    """What stands in a variable of a secret is one, whatever its shape; words like ``bdl_api_key`` are its names."""
    for field in _SECRET_FIELDS:
        for part in re.findall(r"""[^\s"'{}\[\],]{6,}""", os.environ.get(f"GAPLESS_{field.upper()}", "")):
            if not re.fullmatch(r"[a-z_:]+", part):
                register_secret(part)


@lru_cache(maxsize=1)
def code_version() -> str:
    """``<package version>+<git commit>`` of the running code; the commit in a checkout, or from GAPLESS_COMMIT."""
    version = metadata.version("gapless")
    if commit := os.environ.get("GAPLESS_COMMIT", ""):
        return f"{version}+{commit}"
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            encoding="utf-8",
            timeout=5,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{commit}"
