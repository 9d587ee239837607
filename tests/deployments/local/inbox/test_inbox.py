from __future__ import annotations

import errno
import os
import smtplib
import threading
import urllib.error
import urllib.request
from email.message import EmailMessage
from pathlib import Path

import pytest

from deployments.local.inbox import store
from deployments.local.inbox.server import InboxClient
from deployments.local.inbox.smtp import SmtpServer, Troubles
from deployments.local.processes import free_port


def _mail(subject: str = "Backfill done", html: str = "<p>31 of 31</p>") -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = subject, "gapless@example.org", "ops@example.org"
    mail["Message-ID"] = "<one@example.org>"
    mail.set_content("31 of 31 loaded\n")
    mail.add_alternative(html, subtype="html")
    return mail


def _send(inbox: InboxClient, mail: EmailMessage, to: list[str] | None = None) -> None:
    with smtplib.SMTP(inbox.smtp_host, inbox.smtp_port, timeout=10) as smtp:
        smtp.send_message(mail, to_addrs=to)


def _get(url: str) -> tuple[bytes, dict[str, str]]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read(), dict(answer.headers)


def test_a_mail_sent_by_smtp_is_listed_and_read_with_both_bodies(inbox: InboxClient) -> None:
    _send(inbox, _mail("Ärger · 3 dates"), to=["ops@example.org", "hidden@example.org"])

    (listed,) = inbox.messages()
    read = inbox.message(listed["id"])

    assert listed["subject"] == "Ärger · 3 dates"
    assert listed["to"] == ["ops@example.org"]
    assert listed["delivered_to"] == ["ops@example.org", "hidden@example.org"]
    assert listed["message_id"] == "<one@example.org>"
    assert read["text"] == "31 of 31 loaded\n"
    assert "<p>31 of 31</p>" in read["html"]


def test_the_list_is_newest_first_and_survives_as_files(inbox: InboxClient) -> None:
    for number in range(3):
        _send(inbox, _mail(f"mail {number}"))

    assert [one["subject"] for one in inbox.messages()] == ["mail 2", "mail 1", "mail 0"]


def test_mails_sent_at_the_same_time_are_all_kept(inbox: InboxClient) -> None:
    threads = [threading.Thread(target=_send, args=(inbox, _mail(f"mail {number}"))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {one["subject"] for one in inbox.messages()} == {f"mail {number}" for number in range(8)}


def test_a_script_in_subject_sender_or_file_name_is_shown_as_text(inbox: InboxClient) -> None:
    attack = "<script>alert(1)</script>"
    mail = _mail(attack)
    mail.replace_header("From", f'"{attack}" <a@example.org>')
    mail.add_attachment(b"x", maintype="text", subtype="csv", filename=f"{attack}.csv")
    _send(inbox, mail)

    (listed,) = inbox.messages()
    pages = [_get(inbox.url)[0], _get(inbox.page_of(listed["id"]))[0]]

    assert all(b"<script" not in page and b"&lt;script&gt;" in page for page in pages)


def test_the_html_of_a_mail_is_served_without_any_right(inbox: InboxClient) -> None:
    _send(
        inbox, _mail(html='<html><head></head><a href="http://127.0.0.1:1/">retry</a><script>alert(1)</script></html>')
    )
    (listed,) = inbox.messages()

    body, headers = _get(inbox.page_of(listed["id"]) + "/html")

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox allow-popups" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert b'<head><base target="_blank">' in body


def test_pictures_inside_a_mail_need_no_request(inbox: InboxClient) -> None:
    mail = _mail(html='<img src="cid:chart">')
    mail.get_payload()[1].add_related(b"\x89PNG", "image", "png", cid="<chart>")  # type: ignore[union-attr, index]
    _send(inbox, mail)
    (listed,) = inbox.messages()

    body, _ = _get(inbox.page_of(listed["id"]) + "/html")

    assert b'<img src="data:image/png;base64,iVBORw==">' in body


def test_attachments_and_the_raw_mail_are_downloads(inbox: InboxClient) -> None:
    mail = _mail()
    mail.add_attachment(b"date,cause\n", maintype="text", subtype="csv", filename="errors.csv")
    _send(inbox, mail)
    (listed,) = inbox.messages()

    data, headers = _get(inbox.page_of(listed["id"]) + "/attachments/1")
    raw, raw_headers = _get(inbox.page_of(listed["id"]) + "/raw")

    assert inbox.message(listed["id"])["attachments"] == [
        {"name": "errors.csv", "content_type": "text/csv", "size_bytes": 11}
    ]
    assert data == b"date,cause\n"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''errors.csv"
    assert headers["Content-Type"] == "application/octet-stream"
    assert b"Message-ID: <one@example.org>" in raw
    assert raw_headers["Content-Type"] == "message/rfc822"


@pytest.mark.parametrize(
    "path", ["/messages/nothing", "/messages/..%2f..%2fetc", "/messages/x/attachments/1", "/favicon"]
)
def test_an_unknown_address_is_404(inbox: InboxClient, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        _get(inbox.url + path)

    assert refused.value.code == 404


def test_a_broken_mail_is_still_readable(inbox: InboxClient) -> None:
    with smtplib.SMTP(inbox.smtp_host, inbox.smtp_port, timeout=10) as smtp:
        head = b"Subject: =?utf-8?q?caf\xc3?=\r\nDate: soon\r\nTo: ,,<\r\nContent-Type: text/html; charset=nope"
        broken = head + b"\r\n\r\n<b>x\xff"
        smtp.sendmail("a@example.org", ["b@example.org"], broken)
    (listed,) = inbox.messages()

    assert "x" in inbox.message(listed["id"])["html"]
    assert _get(inbox.page_of(listed["id"]))[0]


def test_451_defers_once_and_the_retry_is_taken(inbox: InboxClient) -> None:
    inbox.trouble("451", times=1)

    with pytest.raises(smtplib.SMTPDataError) as refused:
        _send(inbox, _mail())
    _send(inbox, _mail())

    assert refused.value.smtp_code == 451
    assert len(inbox.messages()) == 1


def test_a_full_disk_defers_a_mail_and_leaves_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = store.MailStore(tmp_path)
    server = SmtpServer(kept, Troubles(), free_port())
    server.start()
    try:
        with smtplib.SMTP(server.hostname, server.port, timeout=10) as smtp:
            with monkeypatch.context() as disk:
                disk.setattr(store.os, "fsync", full)
                with pytest.raises(smtplib.SMTPDataError, match="No space left on device") as refused:
                    smtp.send_message(_mail())
            assert refused.value.smtp_code == 452
            assert list(tmp_path.iterdir()) == []
            smtp.send_message(_mail())
    finally:
        server.stop()
    assert len(kept.mails()) == 1


def test_a_refused_recipient_gets_550_and_the_others_their_mail(inbox: InboxClient) -> None:
    inbox.trouble("refuse_recipient", recipients=["gone@example.org"])

    _send(inbox, _mail(), to=["ops@example.org", "gone@example.org"])
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        _send(inbox, _mail(), to=["gone@example.org"])

    assert refused.value.recipients["gone@example.org"][0] == 550
    assert [one["delivered_to"] for one in inbox.messages()] == [["ops@example.org"]]


def test_a_server_that_is_down_drops_the_connection(inbox: InboxClient) -> None:
    inbox.trouble("down")

    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        _send(inbox, _mail())

    assert inbox.messages() == []


def test_a_lost_answer_keeps_the_mail_and_breaks_the_connection(inbox: InboxClient) -> None:
    inbox.trouble("lost_answer", times=1)

    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        _send(inbox, _mail())

    assert len(inbox.messages()) == 1


def test_a_hanging_server_runs_into_the_timeout_of_the_sender(inbox: InboxClient) -> None:
    inbox.trouble("hang")

    with (
        pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected), match="timed out"),
        smtplib.SMTP(inbox.smtp_host, inbox.smtp_port, timeout=0.5) as smtp,
    ):
        smtp.send_message(_mail())

    assert inbox.messages() == []


def test_an_unknown_trouble_is_refused_with_the_reason(inbox: InboxClient) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        inbox.trouble("earthquake")

    assert refused.value.code == 400
