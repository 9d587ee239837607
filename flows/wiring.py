"""Builds everything that talks to the outside from settings. The one place where implementations are chosen."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self, TypeVar

from alerting.channels import Channel
from alerting.errors import ConfigurationError, PipelineError
from alerting.smart_alert_manager import SmartAlertManager
from flows.alert_wiring import build_alert_settings, build_channels
from flows.ledger.ledger import Ledger
from flows.prices import Prices, Usage, storage_usage
from flows.settings import Settings, code_version
from processors import registry as processor_registry
from processors.base import Processor
from processors.review_dataset import ReviewDataset
from processors.table_budget import StoredTableBudget
from processors.warehouse import BigQueryWarehouse, Dataset, JobPatience
from scrapers import registry as scraper_registry
from scrapers.auth import SessionCookie
from scrapers.base import Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.object_store import PATIENT, GcsObjectStore, Patience
from scrapers.pace.account_pace import AccountPace
from scrapers.pace.budget import Budget, Clock
from scrapers.pace.quota import Purpose, SharedQuota
from scrapers.rate import Rate, Tier

_Setting = TypeVar("_Setting")

# A call ends at the latest one request (7 s) after its last retry began.
PERSONS_PATIENCE_S = 2.0


class SourceKit:
    """Everything that one source needs, the settings over what its scraper declares; all but the scraper at first use.

    One per run and process, because its budget counts the calls of everybody who holds it.
    """

    def __init__(self, services: Services, source: str, purpose: Purpose = "backfill") -> None:
        self.services = services
        self.source = source
        self.purpose = purpose
        self.scraper = self.build_scraper()

    def build_scraper(self) -> Scraper:
        """With the entities, or what is swept, the parts and the page size of the settings."""
        settings = self.services.settings
        scraper = copy(scraper_registry.scraper(self.source))
        _refuse_entities_of_none(settings, scraper)
        told = settings.source_entities.get(self.source, scraper.entities)
        scraper.entities = tuple(told)
        scraper.told_facts = told if isinstance(told, dict) else {}
        if scraper.told_facts and scraper.entity_facts is None:
            raise ConfigurationError(
                f"GAPLESS_SOURCE_ENTITIES describes entities of {self.source}, which takes none. Nothing was done",
                source=self.source,
                stage="settings",
                hint=f"write a list of names: {json.dumps({self.source: list(told)})}",
            )
        if scraper.sweeps:
            scraper.sweeps, scraper.entities = tuple(settings.source_entities.get(self.source, scraper.sweeps)), ()
        scraper.page_size = settings.source_page_size.get(self.source, scraper.page_size)
        scraper.only = _narrowed(settings.source_only, scraper)
        return scraper

    @cached_property
    def processor(self) -> Processor:
        """Raises ``ConfigurationError`` naming the known sources."""
        return processor_registry.processor(self.source)

    @cached_property
    def tier(self) -> Tier | None:
        """What the account is paid for; None for a source without tiers.

        By the settings; else the cheapest that allows the limit a month which they state, else the one of which the
        source declares the rate. Raises ``ConfigurationError`` for a tier that there is not.
        """
        tiers, stated = self.scraper.tiers, self.stated_limit
        if not tiers:
            return None
        if self.stated_tier:
            return self.scraper.tier(self.stated_tier)
        if stated is not None and self.is_tier_by_limit:
            return next((tier for tier in tiers if (tier.rate.per_month or math.inf) >= stated), tiers[-1])
        return next(tier for tier in reversed(tiers) if tier.rate == self.scraper.rate)

    @property
    def is_tier_by_limit(self) -> bool:
        """Whether nothing but the limit a month in the settings says which tier the account has."""
        has_months = any(tier.rate.per_month for tier in self.scraper.tiers)
        return has_months and not self.stated_tier and self.stated_limit is not None

    @property
    def stated_tier(self) -> str:
        """The name in the settings; "" where they say nothing."""
        return self.services.settings.account_tiers.get(self.scraper.account_name, "")

    @property
    def stated_limit(self) -> int | None:
        """The account's limit a month in the settings; None where they say nothing."""
        return self.services.settings.source_calls_per_month.get(self.scraper.account_name)

    @cached_property
    def access(self) -> SourceAccess:
        """Base URL and the rate of the account's tier; no secret."""
        source, settings, scraper = self.source, self.services.settings, self.scraper
        declared = self.tier.rate if self.tier else scraper.rate
        rate = replace(
            declared,
            per_minute=_of_account(settings.source_rate_per_minute, scraper, declared.per_minute),
            per_day=_of_account(settings.source_calls_per_day, scraper, declared.per_day),
            per_month=_of_account(settings.source_calls_per_month, scraper, declared.per_month),
            pause_s=_of_account(settings.source_pause_s, scraper, declared.pause_s),
        )
        url = settings.source_urls.get(source, scraper.base_url)
        if url and (unfit := _unfit_address(url)):
            raise ConfigurationError(
                f"GAPLESS_SOURCE_URLS: that of {source} {unfit}. Nothing was done",
                source=source,
                stage="settings",
                hint=f"write it like {scraper.base_url}",
            )
        return SourceAccess(url, rate=rate, timeout_s=scraper.timeout_s)

    @cached_property
    def prices(self) -> Prices:
        """What calls to the source and operations of the cloud cost, in US dollars."""
        settings = self.services.settings
        return Prices(
            usd_per_call=settings.source_usd_per_call.get(self.source, self.scraper.usd_per_call),
            usd_per_1000_writes=settings.storage_usd_per_1000_writes,
            usd_per_1000_reads=settings.storage_usd_per_1000_reads,
            usd_per_tib=settings.bigquery_usd_per_tib,
        )

    @cached_property
    def ledger(self) -> Ledger:
        """What is known of every partition; empty until it is refreshed."""
        return Ledger(self.services.store, self.source, self.scraper.only)

    @cached_property
    def quota(self) -> SharedQuota:
        """Day and month counts that all runs and processes share."""
        return self._quota_of(self.scraper.account_name, self.access.rate)

    @cached_property
    def budget(self) -> Budget:
        """The limits of every call; day and month are those of ``quota``."""
        return self.build_budget(self.quota)

    def build_budget(self, quota: SharedQuota | None) -> Budget:
        """Without a ``quota``, day and month are counted for this budget alone.

        The rate of an account is kept together with whoever else uses the account at this moment.
        """
        rate, account = self.access.rate, self.scraper.account
        if self.scraper.domain == "site":
            # Each site has a budget of its own, made by the client.
            rate = rate.of_all_sites
        clock = self.services.clock
        pace = AccountPace(self.services.store, account, rate, source=self.source, clock=clock) if account else None
        return Budget(rate, source=self.source, clock=clock, quota=quota, pace=pace)

    @cached_property
    def budgets_of_hosts(self) -> dict[str, Budget]:
        """By account, those of the hosts that it shares with other sources: what these may call, they may together."""
        store, clock = self.services.store, self.services.clock
        return {
            account: Budget(
                quota.rate,
                source=self.source,
                clock=clock,
                quota=quota,
                pace=AccountPace(store, account, quota.rate, source=self.source, clock=clock),
            )
            for account, quota in self.quotas_of_hosts.items()
        }

    @cached_property
    def quotas_of_hosts(self) -> dict[str, SharedQuota]:
        """By account, the counts of the hosts that it shares with other sources; empty for a source of one host."""
        others = sorted(set(self.scraper.hosts.values()) - {self.scraper.account_name})
        members = {account: self.services.source_kit(scraper_registry.sources_of(account)[0]) for account in others}
        return {account: self._quota_of(account, member.access.rate) for account, member in members.items()}

    def _quota_of(self, account: str, rate: Rate) -> SharedQuota:
        return SharedQuota(
            self.services.store,
            self.source,
            rate,
            purpose=self.purpose,
            share=self.services.settings.backfill_quota_share,
            account=account,
            cost_unit=self.scraper.cost_unit,
            clock=self.services.clock,
        )

    @cached_property
    def client(self) -> SourceClient:
        """Asks ``budget`` before every call."""
        return self.client_within(self.budget)

    def client_within(self, budget: Budget) -> SourceClient:
        """A client with the source's secret and a budget of its own; whoever asks for it closes it."""
        auth, settings = self.scraper.auth, self.services.settings
        if isinstance(auth, SessionCookie):
            session, renewed = settings.session(auth.secret)
            access = replace(self.access, secrets={auth.secret: session}, renewed=renewed)
        else:
            access = replace(
                self.access, secrets={name: settings.secret(name) for name in (auth.secrets if auth else ())}
            )
        accounts = {"accounts": self.budgets_of_hosts} if self.scraper.hosts else {}
        return self.services.client_type(self.scraper, access, budget, **accounts)

    def end_calls(self, why: PipelineError) -> None:
        """No call is begun from now on, not even one that waits for its turn: it raises ``why``."""
        for budget in self._budgets:
            budget.end(why)

    def close(self) -> None:
        """Gives connections and unused calls back. Raises what storage raises; may be called again."""
        if "client" in self.__dict__:
            self.client.close()
        self.give_back()

    def give_back(self) -> None:
        """Gives unused calls back, those to other hosts too. Raises what storage raises; may be called again."""
        for budget in self._budgets:
            budget.close()

    @property
    def _budgets(self) -> list[Budget]:
        """Those that somebody has asked for."""
        made = self.__dict__
        return [*([made["budget"]] if "budget" in made else []), *made.get("budgets_of_hosts", {}).values()]


@dataclass
class Services:
    """Every collaborator of a run. Clients are made at first use: building this talks to nobody.

    ``for_a_person``: somebody sits and waits, so that storage which cannot be reached is said within 10 s. ``clock``
    is that of budgets, quotas and estimates.
    """

    settings: Settings
    for_a_person: bool = False
    clock: Clock = field(default_factory=Clock)
    client_type: Callable[..., SourceClient] = SourceClient
    kit_type: ClassVar[type[SourceKit]] = SourceKit

    @cached_property
    def store(self) -> GcsObjectStore:
        """Raw payloads, ledger, leases, journal and records."""
        patience = Patience(first_retry_s=PERSONS_PATIENCE_S) if self.for_a_person else PATIENT
        return GcsObjectStore(
            self.settings.bucket,
            project=self.settings.google_project,
            # A run stores up to three answers and writes up to three verdicts beside each call (`flows.run.run`), and
            # loads meanwhile.
            pool_size=7 * self.settings.max_concurrency + 12,
            patience=patience,
        )

    @cached_property
    def landing(self) -> Landing:
        """The raw zone."""
        return Landing(self.store)

    @cached_property
    def warehouse(self) -> BigQueryWarehouse:
        """The dataset of all tables."""
        return BigQueryWarehouse(
            self.dataset,
            budget=StoredTableBudget(self.store),
            max_bytes_billed=self.settings.max_bytes_billed,
        )

    def warehouse_within(self, wait_s: float) -> BigQueryWarehouse:
        """The same, for a question that nothing depends on: it is given up after ``wait_s`` seconds."""
        return BigQueryWarehouse(self.dataset, patience=JobPatience(request_s=wait_s, retry_s=wait_s))

    @property
    def dataset(self) -> Dataset:
        """Where the tables are."""
        return Dataset(self.settings.google_project, self.settings.dataset, self.settings.location)

    def review_dataset(self, review_id: str) -> ReviewDataset:
        """Where the rows of a review wait."""
        waits = dt.timedelta(days=self.settings.review_days)
        limits = {"max_bytes_billed": self.settings.max_bytes_billed}
        return ReviewDataset(self.warehouse, review_id, waits, **limits)

    @cached_property
    def channels(self) -> list[Channel]:
        """Where mails and notices go, by the settings."""
        return build_channels(self.settings)

    @cached_property
    def alerts(self) -> SmartAlertManager:
        """One manager a process; a backfill enables its mode on it."""
        return SmartAlertManager(
            store=self.store,
            channels=self.channels,
            settings=build_alert_settings(self.settings),
            spool_folder=self.settings.spool_folder or None,
        )

    @property
    def code_version(self) -> str:
        """Recorded in manifests, runs and mails."""
        return code_version()

    def anew(self) -> Self:
        """The same settings, and nothing else: with clients, counts and alerts of its own."""
        return type(self)(self.settings, self.for_a_person)

    def cloud_usage(self) -> Usage:
        """What this process has used of storage and warehouse so far."""
        return storage_usage(self.store.calls) + Usage(billed_bytes=self.warehouse.billed_bytes)

    def source_kit(self, source: str, purpose: Purpose = "backfill") -> SourceKit:
        """Everything of one source, made anew: one kit a run, which closes it. Live runs may use all of the quota.

        Raises ``ConfigurationError`` naming the known sources.
        """
        return self.kit_type(self, source, purpose)

    def table_names(self, source: str) -> list[str]:
        """Tables of the source as people and other tools name them: ``dataset.table``."""
        return [f"{self.settings.dataset}.{name}" for name in self.source_kit(source).scraper.tables]


def _refuse_entities_of_none(settings: Settings, scraper: Scraper) -> None:
    if scraper.source not in settings.source_entities or scraper.takes_entities or scraper.sweeps:
        return
    narrow = f"; {scraper.narrowed_by}s go into GAPLESS_SOURCE_ONLY" if scraper.narrowed_by else ""
    raise ConfigurationError(
        f"GAPLESS_SOURCE_ENTITIES names entities of {scraper.source}, which is fetched by date. Nothing was done",
        source=scraper.source,
        stage="settings",
        hint=f"take them out{narrow}",
    )


def _unfit_address(url: str) -> str:
    """Why no source can be asked there, "" where one can.

    >>> _unfit_address("https://{site}.example.org/api"), _unfit_address("http://127.0.0.1:8081/{site}")
    ('', '')
    >>> _unfit_address("http://me:secret@example.org"), _unfit_address("http://example.org/?key=1")
    ('has a user or password in it', 'has a query or a fragment')
    """
    if not re.match(r"https?://[^/?#]", url):
        return "begins with neither https:// nor http://"
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "has a blank or a line break in it"
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.port == 0 or not parts.hostname:
            return "has no host, or the port 0"
    except ValueError:
        return "has no valid host or port"
    if "@" in parts.netloc:
        # It would be in every log line of a library that shows addresses.
        return "has a user or password in it"
    return "has a query or a fragment" if parts.query or parts.fragment else ""


def _of_account(settings: Mapping[str, _Setting], scraper: Scraper, declared: _Setting) -> _Setting:
    """What is set for the account that the source shares, by the account's name, or for the source alone.

    Raises ``ConfigurationError`` for the name of a source whose limit is that of an account.
    """
    if scraper.account and scraper.source in settings:
        raise ConfigurationError(
            f"a limit is set for {scraper.source}, which shares that of the account {scraper.account} with its other "
            "sources. Nothing was done",
            source=scraper.source,
            stage="settings",
            hint=f'write {{"{scraper.account}": {settings[scraper.source]}}} instead',
        )
    return settings.get(scraper.account_name, declared)


def _narrowed(settings: Mapping[str, Sequence[str]], scraper: Scraper) -> tuple[str, ...]:
    """The parts that the source is to be asked for; a limit of its account concerns those that can be narrowed.

    Raises ``ConfigurationError`` for a source that cannot be, for no part at all, and for what is no name of one.
    """
    told = settings.get(scraper.source)
    if told is not None and not scraper.narrowed_by:
        raise _cannot_narrow(scraper, "cannot be asked for a part of what it has", "take it out of GAPLESS_SOURCE_ONLY")
    if told is None and scraper.narrowed_by:
        told = settings.get(scraper.account_name)
    if told is None:
        return ()
    names = tuple(sorted({name.strip().lower() for name in told}))
    strange = [name for name in names if not re.fullmatch(r"[a-z0-9_-]+", name)]
    if not names or strange:
        what = f"{strange[0]!r} is no {scraper.narrowed_by}" if names else f"no {scraper.narrowed_by} is named"
        hint = f"name each {scraper.narrowed_by} as the source does, or take the line out for all of them"
        raise _cannot_narrow(scraper, f"is narrowed by GAPLESS_SOURCE_ONLY, and {what}", hint)
    return names


def _cannot_narrow(scraper: Scraper, problem: str, hint: str) -> ConfigurationError:
    return ConfigurationError(
        f"{scraper.source} {problem}. Nothing was done", source=scraper.source, stage="settings", hint=hint
    )


def build_services(settings: Settings | None = None, *, for_a_person: bool = False) -> Services:
    """Services from the environment; raises ``ConfigurationError`` before any effect."""
    return Services(settings or Settings(), for_a_person)
