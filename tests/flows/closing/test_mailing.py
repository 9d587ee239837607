from __future__ import annotations

import asyncio
import datetime as dt
import shlex
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from prefect.cli._utilities import load_json_key_values
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from alerting.advice import ALL_RETRYABLE
from alerting.channels import LogChannel
from alerting.errors import (
    ConfigurationError,
    CoverageLow,
    LandingUnavailable,
    LeaseHeld,
    SourceContractError,
    SourceUnavailable,
)
from alerting.fingerprint import group_incidents
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.memory_store import MemoryObjectStore
from alerting.outbox import Outbox, OutboxEntry
from deployments.local.inbox.server import InboxClient
from flows.alert_wiring import build_alert_settings, build_channels
from flows.asked import Asked, AskedFamily
from flows.backfill import backfill
from flows.closing import mailing
from flows.closing.close import close_dead_runs
from flows.closing.mailing import keys_of_cause
from flows.planning.requested import Selection, requested_partitions
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.settings import Settings
from flows.wiring import Services

if TYPE_CHECKING:
    from .conftest import Place


@pytest.fixture
def services() -> SimpleNamespace:
    store = MemoryObjectStore()
    journal = IncidentJournal(store)
    for day in ("2024-01-02", "2024-01-05", "2024-01-09"):
        error = SourceUnavailable(f"503 for {day}")
        journal.append("bf-1", day, 1, [Incident.from_error(error, source="s", partition=day)])
    journal.append(
        "bf-1", "x", 1, [Incident.from_error(CoverageLow("2 of 3 rows"), source="s", partition="2024-02-01")]
    )
    return SimpleNamespace(store=store)


def test_a_cause_gives_back_exactly_its_dates_by_number_and_by_fingerprint(services):
    groups = group_incidents(IncidentJournal(services.store).read("bf-1")).groups
    assert keys_of_cause(services, "bf-1", "C1") == ["2024-01-02", "2024-01-05", "2024-01-09"]
    assert keys_of_cause(services, "bf-1", "C2") == ["2024-02-01"]
    for group in groups:
        assert keys_of_cause(services, "bf-1", group.fingerprint) == sorted(group.partitions)


def test_all_that_a_retry_may_heal_is_one_word_and_leaves_out_what_needs_a_repair(services):
    broken = SourceContractError("no list at data")
    incidents = [Incident.from_error(broken, source="s", partition="2024-03-01")]
    IncidentJournal(services.store).append("bf-1", "y", 1, incidents)
    retryable = ["2024-01-02", "2024-01-05", "2024-01-09", "2024-02-01"]
    assert keys_of_cause(services, "bf-1", ALL_RETRYABLE) == retryable


def test_an_unknown_cause_names_the_known_ones(services):
    with pytest.raises(ConfigurationError, match="it has C1, C2"):
        keys_of_cause(services, "bf-1", "C9")
    with pytest.raises(ConfigurationError, match="it has none"):
        keys_of_cause(services, "bf-other", "C1")


def test_every_kind_of_channel_can_be_reached_by_a_setting(tmp_path):
    settings = Settings(
        smtp_host="127.0.0.1",
        mail_to="you@example.org",
        mail_folder=str(tmp_path),
        apprise_urls=["json://127.0.0.1:9/one", "json://127.0.0.1:9/two"],
        console_only=True,
    )
    names = [channel.name for channel in build_channels(settings)]
    assert sorted(names) == ["apprise", "apprise-2", "file", "log", "smtp"]


def test_a_critical_mail_goes_to_everybody_and_to_those_on_call():
    given = {"smtp_host": "127.0.0.1", "mail_to": "a@example.org, b@example.org"}
    (smtp,) = build_channels(Settings(**given, mail_to_critical="oncall@example.org,a@example.org"))
    assert smtp.by_severity == {"CRITICAL": ("oncall@example.org", "a@example.org", "b@example.org")}
    assert smtp.recipients == ("a@example.org", "b@example.org")
    (smtp,) = build_channels(Settings(**given))
    assert smtp.by_severity["CRITICAL"] == smtp.recipients


@pytest.mark.parametrize(
    ("tries", "minutes", "at_once", "sent"),
    [(4, 0, False, True), (5, 4, False, False), (5, 6, False, True), (6, 9, False, False), (6, 9, True, True)],
)
def test_the_watchdog_lets_a_mail_rest_that_failed_and_whoever_asks_for_it_does_not(
    services, tries, minutes, at_once, sent
):
    now = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)
    owed = OutboxEntry("bf-1", finished_at=now, message_id="<a@b>", failed_tries=tries, failed_at=now)
    Outbox(services.store).update("bf-1", lambda entry: entry, create=lambda: owed)
    services.channels = (LogChannel(),)
    closed = close_dead_runs(services, now + dt.timedelta(minutes=minutes), at_once=at_once)
    assert closed == (["bf-1"] if sent else [])


def test_mails_beside_the_summary_are_off_unless_chosen():
    quiet = build_alert_settings(Settings())
    assert (quiet.start_mail, quiet.progress_mail_hours) == (False, None)
    told = build_alert_settings(Settings(start_mail=True, progress_mail_hours=24))
    assert (told.start_mail, told.progress_mail_hours) == (True, 24)


def test_a_mail_server_that_is_down_refuses_the_run_with_a_next_step_before_anything_is_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import backfill
    from flows.wiring import build_services

    before = place.objects()
    # Port 9 is discard: nothing listens there.
    monkeypatch.setenv("GAPLESS_SMTP_PORT", "9")
    asked = Asked(source="bdl_box_scores", start_date=dt.date(2025, 1, 1), end_date=dt.date(2025, 1, 2))
    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(backfill.run_backfill(build_services(), asked, "bf-1", PlainOrchestrator()))
    assert "no channel could report how the run ends" in str(refused.value)
    assert "Nothing was done" in str(refused.value)
    assert "gapless test-alert" in refused.value.hint
    assert place.objects() == before


def asked_for_january() -> Asked:
    return Asked(source="bdl_box_scores", start_date="2025-01-01", end_date="2025-01-31", reason="errors")


@pytest.fixture
def from_a_deployment(monkeypatch: pytest.MonkeyPatch, inbox: InboxClient) -> None:
    monkeypatch.setattr(mailing, "deployment", SimpleNamespace(id="d-1"))
    monkeypatch.setattr(mailing, "flow_run", SimpleNamespace(id="f-1", tags=[]))
    settings = Settings(
        smtp_host="127.0.0.1", smtp_port=inbox.smtp_port, smtp_security="none", mail_to="ops@example.org"
    )
    monkeypatch.setattr(mailing, "build_services", lambda: Services(settings))


def test_a_refused_run_that_nobody_follows_is_mailed_with_the_command_for_the_same_again(
    from_a_deployment: None, inbox: InboxClient
) -> None:
    held = LeaseHeld("bf-1 works on it", source="bdl_box_scores", hint="wait for it")
    mailing.tell_refused(asked_for_january(), "bf-2", held)
    (found,) = inbox.messages()
    mail = inbox.message(found["id"])
    assert mail["subject"] == "[backfill][REFUSED] bdl_box_scores 2025-01-01…2025-01-31 · LeaseHeld"
    said = " ".join(mail["text"].replace("\\\n", "").split())
    assert "bf-1 works on it. Nothing was done. Do this: wait for it" in said
    assert "prefect deployment run 'backfill/bdl_box_scores' -p start_date=2025-01-01 -p end_date=2025-01-31" in said
    assert "-p wait_for_lease_s=21600" in said


def test_a_refusal_of_what_was_asked_says_what_to_ask_for_and_not_the_same_again(
    from_a_deployment: None, inbox: InboxClient
) -> None:
    asked = Asked(source="bdl_box_scores", start_date="2025-01-31", end_date="2025-01-01", reason="errors")
    scraper = mailing.build_services().source_kit("bdl_box_scores").scraper
    swapped = Selection(asked.start_date, asked.end_date)
    with pytest.raises(ConfigurationError) as refused:
        requested_partitions(scraper, swapped, dt.datetime(2025, 6, 1, tzinfo=dt.UTC))
    mailing.tell_refused(asked, "bf-4", refused.value)
    text = inbox.message(inbox.messages()[0]["id"])["text"]
    assert "start_date 2025-01-31 is after end_date 2025-01-01. Nothing was done. Do this: swap them" in " ".join(
        text.split()
    )
    assert "prefect deployment run" not in text


@pytest.mark.parametrize(("deployment_id", "tags"), [("", []), ("d-1", [mailing.FOLLOWED])])
def test_a_refusal_that_somebody_reads_at_a_terminal_is_not_mailed(
    from_a_deployment: None, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch, deployment_id: str, tags: list[str]
) -> None:
    monkeypatch.setattr(mailing, "deployment", SimpleNamespace(id=deployment_id))
    monkeypatch.setattr(mailing, "flow_run", SimpleNamespace(id="f-1", tags=tags))
    mailing.tell_refused(asked_for_january(), "bf-2", LeaseHeld("bf-1 works on it"))
    assert inbox.messages() == []


def test_a_refused_run_of_a_family_is_mailed_too(from_a_deployment: None, inbox: InboxClient) -> None:
    asked = AskedFamily(family="nba", period="2024-25", skip=("bdl_games",), reason="errors")
    mailing.tell_refused(asked, "bf-5", LeaseHeld("bf-1 works on it", source="nba"))
    mail = inbox.message(inbox.messages()[0]["id"])
    assert mail["subject"] == "[backfill][REFUSED] nba 2024-25 · LeaseHeld"
    said = " ".join(mail["text"].replace("\\\n", "").split())
    assert "prefect deployment run 'backfill/nba' -p period=2024-25" in said
    assert "bdl_games" in said


@pytest.mark.parametrize(("ends_in", "mails"), [("refuse_without_mail", ["LandingUnavailable"]), ("_work", [])])
def test_a_run_that_has_begun_is_never_called_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch, ends_in: str, mails: list[str]
) -> None:
    from flows import backfill as flow

    def away(*_: object) -> None:
        raise LandingUnavailable("the bucket does not answer", source="bdl_box_scores")

    told = list[str]()
    monkeypatch.setattr(flow, ends_in, away)
    monkeypatch.setattr(flow, "tell_refused", lambda _asked, _id, error: told.append(type(error).__name__))
    asked = Asked(source="bdl_box_scores", start_date="2025-01-01", end_date="2025-01-01", reason="errors")
    state = asyncio.run(flow.run_asked(asked))
    assert state.is_failed()
    assert "the bucket does not answer" in state.message
    assert told == mails


def test_without_a_transport_a_refusal_is_only_logged(from_a_deployment: None, monkeypatch, caplog) -> None:
    monkeypatch.setattr(mailing, "build_services", lambda: Services(Settings()))
    mailing.tell_refused(asked_for_january(), "bf-2", LeaseHeld("bf-1 works on it"))
    assert "nobody was told of the refusal" in caplog.text


def test_a_refused_run_of_a_source_that_is_asked_by_entity_is_mailed_with_its_entities(
    from_a_deployment: None, inbox: InboxClient
) -> None:
    asked = Asked(source="civic_band", entities="alameda.ca~agendas", mode="full", reason="stale")
    mailing.tell_refused(asked, "bf-3", LeaseHeld("bf-1 works on it", source="civic_band"))
    mail = inbox.message(inbox.messages()[0]["id"])
    assert mail["subject"] == "[backfill][REFUSED] civic_band alameda.ca~agendas · LeaseHeld"
    said = shlex.split(mail["text"].replace("\\\n", "").partition("run it again:")[2].partition("At:")[0])
    assert said[:4] == ["prefect", "deployment", "run", "backfill/civic_band"]
    assert set(said[5::2]) == {
        "entities=alameda.ca~agendas", "mode=full", "reason=stale", "wait_for_lease_s=21600"
    }  # fmt: skip


@pytest.mark.parametrize("note", ["2024", "true", 'say "why"', "a \\ b", "{odd", "it's late: 50 %", "plain words"])
def test_prefect_reads_the_command_for_the_same_again_as_it_was_asked(note: str) -> None:
    asked = Asked(
        source="bdl_box_scores",
        start_date="2025-01-01",
        end_date="2025-01-31",
        accept_shrink=True,
        max_calls=5,
        breaker=False,
        note=note,
    )
    words = shlex.split(mailing._same_again(asked))
    read = load_json_key_values([value for mark, value in pairwise(words) if mark == "-p"], "parameter")
    schema = parameter_schema(backfill).model_dump(exclude_unset=True)
    validate(read, schema, raise_on_error=True, preprocess=True, ignore_required=True)
    assert Asked.model_validate({"source": "bdl_box_scores", **read}) == asked.model_copy(
        update={"wait_for_lease_s": 21_600.0}
    )


@pytest.mark.parametrize(
    "error",
    [
        LeaseHeld("bf-1 works on it; nothing was done", source="bdl_box_scores"),
        ConfigurationError("bdl_box_scores blocked bf-1; it is in cooldown until 03:30 UTC", hint="wait"),
    ],
    ids=["by another run", "by a cooldown"],
)
def test_a_daily_run_that_is_refused_tells_who_waits_for_it(
    place: Place, inbox: InboxClient, error: ConfigurationError | LeaseHeld
) -> None:
    from flows import daily

    state = daily._refused("bdl_box_scores", error)
    assert state.is_failed()
    (found,) = inbox.messages()
    assert found["subject"] == f"[gapless] CRITICAL bdl_box_scores: {type(error).__name__}"
    assert error.message in " ".join(inbox.message(found["id"])["text"].split())


def test_a_daily_run_that_is_refused_without_a_transport_still_ends_with_its_reason(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import daily

    monkeypatch.setenv("GAPLESS_BUCKET", "NOT A BUCKET")
    state = daily._refused("bdl_box_scores", LeaseHeld("bf-1 works on it"))
    assert "bf-1 works on it" in (state.message or "")
