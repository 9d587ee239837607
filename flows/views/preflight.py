"""`gapless preflight`: everything that a backfill of days will need, tried now, each with its remedy."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shlex
import shutil
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from alerting.errors import ConfigurationError, PipelineError
from alerting.object_store import ObjectMissing
from alerting.redaction import redact
from alerting.wording import plural
from flows.coordination.blackout import blackouts_of, paused_until
from flows.coordination.lease import read_lease, seems_taken
from flows.ledger.cooldowns import cooling_until, lift_command, sites_left_alone
from flows.planning.left_alone import told_left_alone
from flows.planning.named_settings import refuse_unknown_names
from flows.planning.requested import ALL, Selection, requested_partitions
from flows.planning.tiers import SETTING, described_tier, lacking
from flows.truth.auditing import unmapped
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.pace.rate_limits import described
from scrapers.partition import Partition

Result = Literal["pass", "warn", "fail", "skip"]
MIN_DISK_BYTES = 1_000_000_000
MIN_MEMORY_BYTES = 500_000_000
_MORE_DISK = "free some space, or point TMPDIR at a larger disk"
_SHOWN_CHARS = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """One check: its result, what was seen, and what to do when it is not ``pass``."""

    name: str
    result: Result
    detail: str
    remedy: str = ""


def preflight(services: Services, source: str, now: dt.datetime, *, test_mail: bool, canary: bool) -> list[Checked]:
    """Every check that needs no Prefect server, in the order of need. No check stops the others.

    Writes and deletes one probe object. ``test_mail`` sends a mail through every channel; ``canary`` makes the calls
    of one settled partition, and keeps nothing of them.
    """
    checks: list[tuple[str, Callable[[], Checked]]] = [
        ("settings", lambda: _settings(services)),
        ("bucket", lambda: check_bucket(services)),
        ("tables", lambda: _tables(services, source)),
        ("ledger", lambda: _ledger(services, source, now)),
        ("lease", lambda: _lease(services, source, now)),
        ("mapping", lambda: _mapping(services)),
        ("mail", lambda: _mail(services, test_mail)),
        ("limiter", lambda: _limiter(services, source, now)),
        ("source", lambda: _source(services, source, now, canary)),
        ("time", lambda: _time(services, source, now)),
        ("disk", _disk),
        ("memory", _memory),
    ]
    return [tried(name, check) for name, check in checks]


def tried(name: str, check: Callable[[], Checked]) -> Checked:
    """The check, with whatever it raises as its failure."""
    try:
        return check()
    except Exception as error:  # a fault in a source's own code is a line of the report, and ends no other check
        return failed_check(name, error, "see the message")


def failed_check(name: str, error: Exception, remedy: str) -> Checked:
    """The failed check that ``error`` stands for; ``remedy`` where it names none."""
    if isinstance(error, PipelineError):
        return Checked(name, "fail", f"{type(error).__name__}: {error.message}", error.hint or remedy)
    at = traceback.extract_tb(error.__traceback__)[-1]
    told = redact(f"{type(error).__name__}: {error}")[:_SHOWN_CHARS]
    return Checked(name, "fail", told, f"probably ours: look at {at.filename}, line {at.lineno}")


def _settings(services: Services) -> Checked:
    refuse_unknown_names(services.settings)
    where = "local emulators" if services.settings.is_local else "Google Cloud"
    detail = f"{where}, project {services.settings.google_project}, {services.store.root_uri}"
    return Checked("settings", "pass", f"{detail}, dataset {services.settings.dataset}, code {services.code_version}")


def check_bucket(services: Services) -> Checked:
    """Writes, reads and deletes one probe object."""
    name, data = f"probe/{uuid.uuid4().hex}", b"gapless preflight"
    services.store.write(name, data, if_generation=0)
    try:
        read, _ = services.store.read(name)
    finally:
        services.store.delete(name)
    try:
        services.store.read(name)
    except ObjectMissing:
        if read == data:
            return Checked("bucket", "pass", f"an object was written, read and deleted in {services.store.root_uri}")
    return Checked(
        "bucket",
        "fail",
        "the probe object did not come back as written",
        "grant roles/storage.objectUser on the bucket",
    )


def _tables(services: Services, source: str) -> Checked:
    counts = []
    for table in services.source_kit(source).processor.tables:
        rows = services.warehouse.query(f"SELECT COUNT(*) AS n FROM {services.warehouse.name_of(table.name)}")  # noqa: S608
        counts.append(f"{table.name} {plural(rows[0]['n'], 'row')}")
    return Checked("tables", "pass", ", ".join(counts))


def _ledger(services: Services, source: str, now: dt.datetime) -> Checked:
    kit = services.source_kit(source)
    entries = kit.ledger.refresh()
    done = sum(entry.verdict.is_good for entry in entries.values())
    if not done:
        return Checked(
            "ledger",
            "warn",
            "readable; no date is done yet",
            f"try a few first: {first_try(kit.scraper, now)}",
        )
    return Checked("ledger", "pass", f"{len(entries):,} entries, {done:,} done; a run resumes from here")


def first_try(scraper: Scraper, now: dt.datetime) -> str:
    """The command that brings a little of the source, as a person types it who has never run it."""
    if scraper.step == "whole":
        what = f"--entities {shlex.quote(next(iter(scraper.names_of_entities), ALL))}"
    else:
        last = scraper.last_settled(now)
        first = last - dt.timedelta(days=2) if scraper.keeps_history else last
        if scraper.step == "month" and scraper.keeps_history:
            first = last.replace(day=1)
        what = f"{max(first, scraper.floor)} {last}"
    return f"gapless run {scraper.source} {what} --reason test"


def _lease(services: Services, source: str, now: dt.datetime) -> Checked:
    held = read_lease(services.store, source)
    if held and held.state in ("held", "paused"):
        alive = seems_taken(services.store, held, now)
        remedy = "wait for it" if alive else f"gapless release-lease {source} --run {held.backfill_id} --reason WHY"
        return Checked("lease", "fail" if alive else "warn", f"held by {held.describe()}", remedy)
    return Checked("lease", "pass", "free")


def _mapping(services: Services) -> Checked:
    found = unmapped(services)
    if found:
        return Checked(
            "mapping", "fail", "; ".join(one.why for one in found), "install the missing scraper or processor"
        )
    return Checked("mapping", "pass", "every landed source has a scraper and a processor")


def _mail(services: Services, test_mail: bool) -> Checked:
    checked, settings = _mail_sent(services, test_mail), services.settings
    has_login = settings.smtp_user or settings.smtp_password.get_secret_value()
    if checked.result == "pass" and settings.smtp_host and settings.smtp_security == "none" and has_login:
        told = f"{checked.detail}; user and password cross the network unencrypted (GAPLESS_SMTP_SECURITY is none)"
        return Checked("mail", "warn", told, "export GAPLESS_SMTP_SECURITY=starttls, or use no login")
    return checked


def _mail_sent(services: Services, test_mail: bool) -> Checked:
    services.alerts.preflight()
    names = ", ".join(channel.name for channel in services.channels)
    to = services.settings.mail_to or "nobody (console only)"
    if not test_mail:
        return Checked("mail", "pass", f"{names}: reached; recipients {to}; no mail was sent")
    problems = {name: problem for name, problem in services.alerts.test_alert().items() if problem}
    if problems:
        told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return Checked("mail", "fail", told, "look at the mail server's log")
    return Checked("mail", "pass", f"a test mail was accepted by {names} for {to}")


def _limiter(services: Services, source: str, now: dt.datetime) -> Checked:
    kit = services.source_kit(source)
    rate, tier = kit.access.rate, described_tier(kit)
    said = described(rate)
    if lacks := lacking(kit, _canary_partition(services, source, now)):
        told = f"the source needs the tier {lacks.shown}, the account has {tier}: a run would be refused"
        return Checked("limiter", "fail", told, f"pay for it and name it in {SETTING}")
    if not said:
        return Checked(
            "limiter",
            "warn",
            "the source declares no limit",
            f"export GAPLESS_SOURCE_RATE_PER_MINUTE='{{\"{source}\": 60}}'",
        )
    return Checked("limiter", "pass", f"{said}, in {rate.reset_zone}" + (f"; tier {tier}" if tier else ""))


def _time(services: Services, source: str, now: dt.datetime) -> Checked:
    until = paused_until(blackouts_of(services.settings.blackouts, source), now)
    if until:
        return Checked("time", "warn", f"a blackout window: a run would pause until {until:%Y-%m-%d %H:%M} UTC", "wait")
    cooling = cooling_until(services.store, source, now)
    if cooling:
        told = f"the source blocked a run and is in cooldown until {cooling:%Y-%m-%d %H:%M} UTC: a run would be refused"
        return Checked("time", "fail", told, f"wait; when the block is gone: {lift_command(source)}")
    sites = sites_left_alone(services.store, services.source_kit(source).scraper, now)
    if sites:
        told = "; ".join(told_left_alone(site, one) for site, one in sites.items())
        lifts = "; ".join(lift_command(source, site) for site in sites)
        return Checked("time", "warn", f"{told}: the others would be fetched", f"wait; when the block is gone: {lifts}")
    return Checked("time", "pass", "no blackout window, no cooldown")


def _source(services: Services, source: str, now: dt.datetime, canary: bool) -> Checked:
    kit = services.source_kit(source)
    scraper, access = kit.scraper, kit.access
    needed = scraper.auth.secrets if scraper.auth and not scraper.auth.is_optional else ()
    if missing := [name for name in needed if not services.settings.secret(name)]:
        raise ConfigurationError(
            f"no key: setting {' and '.join(missing)} is empty",
            hint="export GAPLESS_SOURCE_SECRETS='{" + ", ".join(f'"{name}": "..."' for name in needed) + "}'",
        )
    if not canary:
        return Checked("source", "skip", f"{access.base_url} was not called", "--canary makes the calls of one date")
    partition = _canary_partition(services, source, now)
    client = kit.client_within(kit.build_budget(None))
    try:
        page = client.fetch(scraper.first_request(partition))
        found = scraper.inspect(partition, page)
    finally:
        client.close()
        kit.give_back()
    counts = ", ".join(f"{count} {table}" for table, count in found.counts.items())
    return Checked("source", "pass", f"{partition.key} came in {page.elapsed_s:.2f} s: {counts}; nothing was kept")


def _canary_partition(services: Services, source: str, now: dt.datetime) -> Partition:
    scraper = services.source_kit(source).scraper
    if scraper.step == "whole":
        entity = f"{scraper.entities[0]}~{scraper.variants[0]}" if scraper.variants else scraper.entities[0]
        return Partition.whole(entity, scraper.zone)
    last, entity = scraper.last_settled(now), ""
    if scraper.has_series:
        entity = requested_partitions(scraper, Selection(last, last), now)[0].entity
        if scraper.entity_facts is not None:
            scraper.facts_of(entity)
    if scraper.step == "month":
        return Partition.month(last.year, last.month, scraper.zone, entity)
    return Partition.day(last, scraper.zone, entity)


def _disk() -> Checked:
    try:
        free = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError as error:
        detail = f"no folder for staging takes a file: {error.strerror}"
        return Checked("disk", "fail", detail, _MORE_DISK)
    detail = f"{free / 1e9:,.1f} GB free for staging"
    if free < MIN_DISK_BYTES:
        return Checked("disk", "fail", detail, _MORE_DISK)
    return Checked("disk", "pass", detail)


def _memory() -> Checked:
    free = _available_memory()
    if free is None:
        return Checked("memory", "skip", "unknown on this system")
    detail = f"{free / 1e9:,.1f} GB available"
    if free < MIN_MEMORY_BYTES:
        return Checked("memory", "fail", detail, "free some memory, or lower max_concurrency")
    return Checked("memory", "pass", detail)


def _available_memory() -> int | None:
    def lines() -> Iterator[str]:
        try:
            yield from Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        except OSError:
            return

    return next((int(line.split()[1]) * 1024 for line in lines() if line.startswith("MemAvailable:")), None)


def summary(checks: list[Checked]) -> dict[str, Any]:
    """JSON-ready; ``passed`` is False when any check failed."""
    return {
        "passed": all(one.result != "fail" for one in checks),
        "checks": [dataclasses.asdict(one) for one in checks],
    }
