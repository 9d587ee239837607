from __future__ import annotations

import datetime as dt
import logging
import socket
from collections.abc import Iterator

import pytest
from smtp_channels import smtp_channel

from alerting.channels import DeliveryFailed, FileChannel, LogChannel
from alerting.chat_channels import MAX_CHAT_CHARACTERS, AppriseChannel
from alerting.errors import ConfigurationError
from alerting.message import from_bytes, plain_mail
from alerting.redaction import redact

NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


def mail(subject: str = "Hello", text: str = "body"):
    return plain_mail(subject, text, now=NOW)


def test_a_mail_arrives_with_every_header_that_stops_loops(mail_server):
    delivery = mail_server.channel().send(mail("Größe 😀"), severity="ERROR")
    (arrived,) = mail_server.inbox.mails
    assert not delivery.refused
    assert arrived["Subject"] == "Größe 😀"
    assert (arrived["From"], arrived["To"]) == ("gapless@example.org", "ops@example.org")
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert arrived["Date"].endswith("+0000")


def test_recipients_follow_the_severity(mail_server):
    channel = mail_server.channel(by_severity={"CRITICAL": ["oncall@example.org", "boss@example.org"]})
    channel.send(mail(), severity="CRITICAL")
    channel.send(mail(), severity="INFO")
    assert mail_server.inbox.recipients == [["oncall@example.org", "boss@example.org"], ["ops@example.org"]]


def test_one_refused_recipient_is_told_and_the_others_have_the_mail(mail_server, caplog):
    mail_server.inbox.refused = {"gone@example.org": "550 no such user"}
    delivery = mail_server.channel(recipients=["ops@example.org", "gone@example.org"]).send(mail())
    assert delivery.refused == {"gone@example.org": "550 no such user"}
    assert mail_server.inbox.recipients == [["ops@example.org"]]
    assert "gone@example.org" in caplog.text


def test_all_recipients_refused_is_a_failure(mail_server):
    mail_server.inbox.refused = {"ops@example.org": "550 no such user"}
    with pytest.raises(DeliveryFailed, match="refused every recipient"):
        mail_server.channel().send(mail())


def test_a_temporary_answer_is_a_failure_and_not_silence(mail_server):
    mail_server.inbox.data_answer = "451 try later"
    with pytest.raises(DeliveryFailed, match="451"):
        mail_server.channel().send(mail())


def test_a_server_that_is_down_fails_preflight_and_sending(mail_server):
    channel = mail_server.channel()
    channel.preflight()
    mail_server.down()
    for attempt in (channel.preflight, lambda: channel.send(mail())):
        with pytest.raises(DeliveryFailed):
            attempt()


def test_starttls_is_not_given_up_silently(mail_server):
    with pytest.raises(DeliveryFailed, match="STARTTLS"):
        mail_server.channel(security="starttls").preflight()


def test_a_refused_login_does_not_show_the_password(mail_server):
    with pytest.raises(DeliveryFailed) as caught:
        mail_server.channel(username="me", password="planted-pass").preflight()
    assert "planted-pass" not in str(caught.value)


def test_nobody_to_tell_is_a_configuration_error(mail_server):
    with pytest.raises(ConfigurationError, match="no recipients"):
        mail_server.channel(recipients=[]).preflight()


@pytest.mark.parametrize(
    "address", ["a@example.org\nBcc: evil@example.org", "a@x.org, b@x.org", "nobody", "a@x.org\r\n\r\nbody"]
)
def test_an_address_that_would_inject_a_header_is_refused(address):
    for given in ({"sender": "a@x.org", "recipients": [address]}, {"sender": address, "recipients": []}):
        with pytest.raises(ConfigurationError):
            smtp_channel(1, **given)


def test_a_subject_with_line_breaks_becomes_one_line(mail_server):
    mail_server.channel().send(mail("one\r\nBcc: evil@example.org\x00two"))
    (arrived,) = mail_server.inbox.mails
    assert arrived["Bcc"] is None
    assert arrived["Subject"] == "one Bcc: evil@example.org two"


def test_the_file_channel_writes_a_mail_that_opens(tmp_path):
    channel = FileChannel(tmp_path / "mails")
    channel.preflight()
    channel.send(mail("Hello"))
    (path,) = (tmp_path / "mails").glob("*.eml")
    assert from_bytes(path.read_bytes())["Subject"] == "Hello"


def test_a_mail_folder_that_cannot_be_written_fails_preflight(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError):
        FileChannel(tmp_path / "file").preflight()


def test_the_log_channel_says_it_at_its_level_and_redacted(caplog):
    caplog.set_level(logging.INFO)
    LogChannel().send(mail("Down", "apiKey=planted-value"), severity="CRITICAL")
    assert caplog.records[-1].levelno == logging.CRITICAL
    assert "planted-value" not in caplog.text


@pytest.mark.parametrize("status", [302, 400, 404, 410, 500])
def test_a_service_that_does_not_answer_2xx_is_a_failure_without_its_address(posts, status):
    posts.status, posts.location = status, posts.url if status == 302 else ""
    with pytest.raises(DeliveryFailed, match="did not take") as caught:
        AppriseChannel(posts.address).send(mail())
    assert "planted-hook-secret" not in str(caught.value)


def test_a_long_mail_is_cut_for_the_chat(posts):
    AppriseChannel(posts.address).send(mail("Hi", "line\n" * 5000))
    assert "[the mail has the rest]" in posts.bodies[0]["message"]
    assert len(posts.bodies[0]["message"]) < MAX_CHAT_CHARACTERS + 100


def test_a_chat_that_takes_less_gets_what_it_takes(posts, monkeypatch):
    channel = AppriseChannel(f"{posts.address}?format=html")
    (target,) = channel._service
    monkeypatch.setattr(target, "body_maxlen", 1_000)
    channel.send(mail("Hi", "a <b> & c\n" * 500))
    (body,) = posts.bodies
    assert body["message"].endswith("[the&nbsp;mail&nbsp;has&nbsp;the&nbsp;rest]")
    assert 500 < len(body["title"]) + len(body["message"]) <= 1_000


def test_what_looks_like_markup_reaches_a_service_of_html_as_text(posts):
    AppriseChannel(f"{posts.address}?format=html").send(mail("Hi", "in <module>"))
    assert posts.bodies[0]["message"] == "in&nbsp;&lt;module&gt;"


@pytest.mark.parametrize(
    "address",
    ["slack://TAAAAAAAA/BAAAAAAAA/AAAAAAAAAAAAAAAAAAAAAAAA/#a/#b", "json://127.0.0.1:9/a, json://127.0.0.1:9/b"],
)
def test_an_address_of_several_targets_is_refused_because_a_repeat_would_flood_the_good_ones(address):
    with pytest.raises(ConfigurationError, match=r"2 targets.* Next: give each target an address of its own"):
        AppriseChannel(address)


def test_apprise_reaches_its_service_and_its_failures_are_errors(posts):
    channel = AppriseChannel(posts.address)
    channel.preflight()
    channel.send(mail("Hi", "there"), severity="CRITICAL")
    assert (posts.bodies[0]["title"], posts.bodies[0]["type"]) == ("Hi", "failure")
    posts.status = 500
    with pytest.raises(DeliveryFailed):
        channel.send(mail())


@pytest.mark.parametrize("url", ["nonsense", "ftp://x.test/a", "file:///etc/passwd", "json://", ""])
def test_apprise_without_a_usable_address_is_refused(url):
    with pytest.raises(ConfigurationError, match="not one that Apprise knows"):
        AppriseChannel(url)


def test_the_tokens_in_an_address_are_masked_and_its_host_and_words_are_not(posts):
    AppriseChannel("json://127.0.0.1:1/services/T0planted/B0-planted-7?format=text")
    assert redact("services at 127.0.0.1 refused T0planted and B0-planted-7") == (
        "services at 127.0.0.1 refused *** and ***"
    )


def test_a_refused_address_teaches_no_secret():
    with pytest.raises(ConfigurationError):
        AppriseChannel("nonsense")
    assert redact("nonsense") == "nonsense"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_server_that_never_answers_costs_a_timeout_and_not_the_run(silent_port):
    smtp = smtp_channel(silent_port, timeout_s=0.2)
    for attempt in (smtp.preflight, lambda: smtp.send(mail())):
        with pytest.raises(DeliveryFailed, match="did not take the mail"):
            attempt()
    with pytest.raises(DeliveryFailed, match="did not take the message"):
        AppriseChannel(f"json://127.0.0.1:{silent_port}/hook?rto=0.2").send(mail())


def test_bounces_go_to_the_envelope_sender(mail_server):
    mail_server.channel(envelope_sender="Bounces <bounces@example.org>").send(mail())
    assert mail_server.inbox.senders == ["bounces@example.org"]
    assert mail_server.inbox.mails[0]["From"] == "gapless@example.org"


@pytest.mark.parametrize(
    "address",
    [
        "slack://TAAAAAAAA/BAAAAAAAA/AAAAAAAAAAAAAAAAAAAAAAAA/#ops",
        "discord://123456789012345678/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "workflows://prod-1.example.logic.azure.com:443/643e69f83c8944/lSDD-AAAAAAAA",
        "ntfy://ops-topic",
        "pagerduty://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@BBBBBBBBBBBBBBBBBBBB/source/component",
        "mailto://user:pass@example.org",
    ],
    ids=["Slack", "Discord", "Teams", "ntfy", "PagerDuty", "mail"],
)
def test_apprise_knows_the_addresses_of_the_services_that_people_use(address):
    AppriseChannel(address).preflight()
