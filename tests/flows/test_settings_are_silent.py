"""Secrets in the settings: in no representation, in no dump, in no error, and masked from the first moment on."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_SERVER_API_AUTH_STRING, temporary_settings
from pydantic import SecretStr

from alerting.errors import ConfigurationError
from alerting.incident import Incident
from alerting.redaction import redact, redact_value
from flows.cli.command import main
from flows.server_password import register_server_passwords
from flows.settings import Settings
from flows.views import preflight
from scrapers.addressing import mask_cookies

PLANTED = "pl4nted-S3cret-value"
HOOK = f"jsons://hooks.example.org/services/T0/B0/{PLANTED}"
APPRISE = f"discord://1234567/{PLANTED}"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPLESS_APPRISE_URLS", json.dumps([HOOK, APPRISE]))
    monkeypatch.setenv("GAPLESS_SMTP_PASSWORD", f"mail-{PLANTED}")
    monkeypatch.setenv("GAPLESS_SOURCE_SECRETS", json.dumps({"bdl_api_key": f"key-{PLANTED}"}))


def test_no_representation_and_no_dump_of_the_settings_shows_a_secret() -> None:
    settings = Settings()
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {redact_value(settings)}"
    assert PLANTED not in shown
    assert settings.apprise_urls[0].get_secret_value() == HOOK
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_secrets_are_masked_as_soon_as_there_are_settings() -> None:
    Settings(
        apprise_urls=[SecretStr(url) for url in (HOOK, APPRISE, "json://127.0.0.1:8099/gapless")],
        source_secrets={"k": SecretStr("only words here")},
    )
    assert (
        redact(f"a mail-{PLANTED} b key-{PLANTED} c {HOOK} d {APPRISE} e only words here")
        == "a *** b *** c *** d *** e ***"
    )
    assert redact("gapless run bdl_box_scores; the hook at 127.0.0.1:8099") == (
        "gapless run bdl_box_scores; the hook at 127.0.0.1:8099"
    )
    assert redact("no json://127.0.0.1:8099/gapless") == "no ***"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GAPLESS_SOURCE_SECRETS", f"wr0ng-{PLANTED}"),
        ("GAPLESS_SOURCE_SECRETS", f'["wr0ng-{PLANTED}"]'),
        ("GAPLESS_SOURCE_SECRETS", f'{{"wr0ng-{PLANTED}": 1}}'),
        ("GAPLESS_SOURCE_SECRETS", f'{{"bdl_api_key": ["wr0ng-{PLANTED}"]}}'),
        ("GAPLESS_WEBHOOK_URLS", f"https://x.test/wr0ng-{PLANTED}"),
        ("GAPLESS_APPRISE_URLS", f'{{"a": "slack://wr0ng-{PLANTED}"}}'),
        ("GAPLESS_SMTP_PORT", f"wr0ng-{PLANTED}"),
        ("GAPLESS_SMTP_SECURITY", f"wr0ng-{PLANTED}"),
        ("GAPLESS_MAIL_CONTACTS", f'["wr0ng-{PLANTED}"]'),
    ],
)
def test_a_wrongly_shaped_value_is_named_by_its_variable_and_reaches_no_incident(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert variable in str(caught.value)
    incident = Incident.from_error(caught.value)
    logging.getLogger("x").exception("no settings", exc_info=caught.value)
    code = main(["status", "bdl_box_scores", "--json"])
    said = capsys.readouterr()
    assert code == 1
    assert variable in said.out
    told = f"{caught.value!r} {caught.value} {incident} {incident.to_json()!r} {caplog.text} {said.out} {said.err}"
    assert PLANTED not in told
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_preflight_warns_of_a_password_on_an_unencrypted_connection() -> None:
    for security, user, expected in (("none", "me", "warn"), ("starttls", "me", "pass"), ("none", "", "pass")):
        password = SecretStr(f"mail-{PLANTED}" if user else "")
        settings = Settings(smtp_host="mail.test", smtp_security=security, smtp_user=user, smtp_password=password)
        alerts = SimpleNamespace(preflight=lambda: None)
        services = SimpleNamespace(settings=settings, alerts=alerts, channels=[SimpleNamespace(name="smtp")])
        found = preflight._mail(services, test_mail=False)  # type: ignore[arg-type]
        assert (found.result, "unencrypted" in found.detail) == (expected, expected == "warn")
        assert PLANTED not in str(found)


def test_a_cookie_that_a_server_sets_is_masked_and_a_word_is_not() -> None:
    mask_cookies(
        [f"sid={PLANTED}-77; Path=/; HttpOnly", "lang=en-US", "seen=true", "theme=completed", 'a="qu0ted-c00kie-99"']
    )
    told = redact(f"a {PLANTED}-77 b en-US c true d completed e qu0ted-c00kie-99")
    assert told == "a *** b en-US c true d completed e ***"


@pytest.mark.parametrize("variable", ["PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"])
def test_what_opens_the_prefect_api_is_masked_before_anything_of_the_flows_runs(variable: str) -> None:
    shown = f"401 for fleet:{PLANTED}; Basic ZmxlZXQ6cGw0bnRlZC1TM2NyZXQtdmFsdWU=; {PLANTED}; fleet"
    code = "import sys, flows; from alerting.redaction import redact; print(redact(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, shown],
        env={**os.environ, variable: f"fleet:{PLANTED}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "401 for ***; Basic ***; ***; fleet"


def test_what_opens_the_prefect_api_is_masked_from_a_profile_of_prefect_too() -> None:
    given = {PREFECT_API_AUTH_STRING: "fleet:client-pa55word", PREFECT_SERVER_API_AUTH_STRING: "fleet:server-pa55word"}
    with temporary_settings(given):
        register_server_passwords()
    assert redact("a fleet:client-pa55word b server-pa55word c fleet") == "a *** b *** c fleet"
