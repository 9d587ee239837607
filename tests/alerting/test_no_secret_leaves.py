"""Secrets planted wherever one is found in practice, and then looked for in every byte that alerting leaves behind."""

from __future__ import annotations

import base64
import gzip
import logging
import urllib.parse
from pathlib import Path

import pytest

from alerting import errors
from alerting.channels import FileChannel, LogChannel
from alerting.chat_channels import AppriseChannel
from alerting.incident import Incident
from alerting.local_store import FileObjectStore
from alerting.redaction import RedactingFilter, register_secret
from alerting.run_facts import Command, RunFacts, TableFacts

PLANTED = "pl4nted-S3cret-value"
REGISTERED = "Tr0ub4dor&3/+x"


class ForeignError(Exception):
    """As a library raises it: request, headers and body in its text."""


def in_a_url() -> None:
    raise errors.SourceUnavailable(
        f"GET https://me:{PLANTED}@api.test/v4/odds?apiKey={PLANTED}&date=2024-01-01 answered 503",
        source="odds",
        partition="2024-01-01",
        endpoint=f"/v4/odds?api_key={PLANTED}",
        hint=f"curl -H 'Authorization: Bearer {PLANTED}' https://api.test",
        url=f"https://storage.test/o?X-Goog-Signature={PLANTED}",
    )


def in_headers() -> None:
    raise ForeignError(f"refused with headers {{'Authorization': 'Bearer {PLANTED}', 'Cookie': 'sid={PLANTED}'}}")


def in_a_body() -> None:
    raise errors.SourceContractError(
        f'expected a list, got {{"access_token": "{PLANTED}", "data": null}}', source="odds"
    )


def log_in(user: str, password: str) -> None:
    raise ForeignError(f"login of {user} failed, {len(password)} characters")


def in_a_traceback() -> None:
    log_in(user="me", password="pl4nted-S3cret-value")


def in_a_cause() -> None:
    try:
        in_headers()
    except ForeignError as error:
        raise errors.SourceUnavailable(f"token={PLANTED} was refused", source="odds") from error


def registered_and_quoted() -> None:
    encoded = base64.b64encode(REGISTERED.encode()).decode()
    raise ForeignError(f"{REGISTERED} {urllib.parse.quote(REGISTERED, safe='')} {encoded}")


RAISED = (in_a_url, in_headers, in_a_body, in_a_traceback, in_a_cause, registered_and_quoted)
MAPPING = {
    "scraper": f"odds?key={PLANTED}",
    "error": f"Set-Cookie: session={PLANTED}; HttpOnly",
    "error_type": f"token={PLANTED}",
    "date": "2024-01-02",
    "url": f"https://x.test/a?key={PLANTED}",
    "stage": f"password={PLANTED}",
    "details": {
        f"apiKey={PLANTED}": "a key of a dictionary",
        "headers": {"X-Api-Key": PLANTED, "nested": {"cookies": {"s": PLANTED}}},
        "webhook_url": f"https://hooks.slack.com/services/T0/B0/{PLANTED}",
    },
    "traceback": f'File "x.py", line 1\n    requests.get(url, auth=("me", password="{PLANTED}"))',
}
FACTS = RunFacts(
    source="odds",
    owner=f"me:password={PLANTED}",
    reason=f"apiKey={PLANTED}",
    notes=[f"Authorization: Basic {PLANTED}"],
    links={f"sig={PLANTED}": f"https://u:{PLANTED}@x.test/?token={PLANTED}"},
    flags={"api_key": PLANTED, f"secret={PLANTED}": "x"},
    commands=[Command(f"curl 'https://x.test?apiKey={PLANTED}'", why=f"token={PLANTED}", estimate=f"pwd={PLANTED}")],
    contacts={f"key={PLANTED}": f"password={PLANTED}"},
    schema_drift=[f"column token={PLANTED}"],
    slowest_step=f"GET ?apiKey={PLANTED}",
    tables=[TableFacts(f"t?token={PLANTED}", 1, 1, 1, 1)],
)


def everything_below(folder: Path) -> str:
    """Every file, unpacked where it is packed."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            texts.append(
                str(path) + (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8", "replace")
            )
    return "\n".join(texts)


@pytest.mark.parametrize("mode", ["backfill", "live"])
def test_a_secret_reaches_no_mail_no_chat_no_log_no_journal_and_no_file(
    make_manager, mail_server, posts, tmp_path, caplog, mode
):
    caplog.set_level(logging.DEBUG)
    caplog.handler.addFilter(RedactingFilter())
    register_secret(REGISTERED)
    channels = (mail_server.channel(), AppriseChannel(posts.address), FileChannel(tmp_path / "mails"), LogChannel())
    manager = make_manager(*channels, store=FileObjectStore(tmp_path / "store"))
    if mode == "backfill":
        manager.enable_backfill_mode("b", source="odds", facts=FACTS)
    for raising in RAISED:
        try:
            raising()
        except Exception as error:
            manager.record_error(error)
            manager.record_error({"scraper": "odds", "exception": error, "details": {"body": f"sig={PLANTED}"}})
            logging.getLogger("gapless.test").exception("failed with %s", f"apiKey={PLANTED}")
    manager.record_error(MAPPING)
    manager.send_alert("odds", f"refresh_token={PLANTED}", "WARNING", {f"jwt={PLANTED}": {"password": PLANTED}})
    spooled = everything_below(tmp_path / "spool") if (tmp_path / "spool").exists() else ""
    if mode == "backfill":
        manager.heartbeat(FACTS)
        posts.status = 500
        assert manager.disable_backfill_mode(run_facts=FACTS).status == "failed"
        posts.status = 200
        assert manager.disable_backfill_mode(run_facts=FACTS).status == "sent"
    else:
        assert manager.send_digest()

    mails = "".join(part.get_content() for mail in mail_server.inbox.mails for part in mail.walk() if _is_text(part))
    headers = str([list(mail.items()) for mail in mail_server.inbox.mails])
    left_behind = {
        "mail": mails + headers,
        "chat": str(posts.bodies),
        "log": caplog.text + "".join(record.getMessage() for record in caplog.records),
        "spool": spooled,
        "store, outbox, journal and mail files": everything_below(tmp_path),
        "what the caller gets back": str([Incident.of(MAPPING), Incident.of(ForeignError(f"token={PLANTED}"))]),
    }
    assert mails
    if mode == "backfill":
        assert "log_in(user" in mails, "the line of code is shown, without its secret"
    assert "answered 503" in left_behind["store, outbox, journal and mail files"], "the rest of the text is kept"
    for place, text in left_behind.items():
        # Lines of the mail's text are broken anywhere: a secret cut in two is one, too.
        text = "".join(text.split())
        for secret in (PLANTED, REGISTERED, base64.b64encode(REGISTERED.encode()).decode().rstrip("=")):
            position = text.find(secret)
            assert position < 0, f"{place}: ...{text[max(position - 120, 0) : position + 40]}"


def _is_text(part) -> bool:
    return part.get_content_maintype() == "text"
