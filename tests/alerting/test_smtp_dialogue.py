"""A mail server on a socket that says what a test wants, word by word."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import email
import email.policy
import hmac
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smtp_channels import smtp_channel

from alerting.channels import DeliveryFailed, MessageRefused, SmtpChannel
from alerting.delivery import owed_summaries, send_owed_summary
from alerting.errors import ConfigurationError
from alerting.message import header_text, plain_mail
from alerting.outbox import Outbox
from alerting.run_facts import RunFacts
from alerting.transports import try_channels

NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)
USER, PASSWORD = "jörg", "pässword1"
Answer = Callable[[str], str]


class Talker:
    """Answers by verb (``answers["QUIT"]``); "" hangs up. ``taken`` are the mails that it has.

    ``cut_after_data`` is all that it says to one before it hangs up, ``silence_s`` how long it looks at one.
    """

    def __init__(self) -> None:
        self.extensions = ["8BITMIME", "SIZE 0"]
        self.answers: dict[str, str | Answer] = {}
        self.max_bytes = 10**9
        self.cut_after_data: bytes | None = None
        self.silence_s = 0.0
        self.too_big = "552 5.3.4 message too big"
        self.said: list[str] = []
        self.taken: list[tuple[list[str], bytes]] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        self.connection = connection
        lines, recipients, login = connection.makefile("rb"), list[str](), list[str]()

        def say(answer: str) -> bool:
            connection.sendall(answer.encode() + b"\r\n")
            return bool(answer)

        say("220 hello")
        while raw := lines.readline():
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            verb = line.split(" ")[0].upper()
            self.said.append(line)
            given = self.answers.get(verb)
            if given is not None:
                answer = given if isinstance(given, str) else given(line)
                if not answer:
                    return
                if verb == "RCPT" and answer[0] == "2":
                    recipients.append(line)
                say(answer)
                if verb == "QUIT":
                    return
            elif verb == "EHLO":
                say("\r\n".join(["250-me", *(f"250-{word}" for word in self.extensions), "250 HELP"]))
            elif verb == "AUTH":
                kind, _, first = line.removeprefix("AUTH ").partition(" ")
                asked = {"LOGIN": ["334 VXNlcg==", "334 UGFzcw=="], "CRAM-MD5": ["334 PDEyMz4="], "PLAIN": []}[kind]
                login = [base64.b64decode(first).decode()] if first else []
                for question in asked:
                    say(question)
                    login.append(base64.b64decode(lines.readline()).decode())
                digest = hmac.new(PASSWORD.encode(), b"<123>", "md5").hexdigest()
                good = ([f"\0{USER}\0{PASSWORD}"], [USER, PASSWORD], [f"{USER} {digest}"])
                say("235 welcome" if login in good else "535 no")
            elif verb == "MAIL":
                recipients = []
                say("250 OK")
            elif verb == "RCPT":
                recipients.append(line)
                say("250 OK")
            elif verb == "DATA":
                say("354 go on")
                data = b""
                while (part := lines.readline()) not in (b".\r\n", b""):
                    data += part.removeprefix(b".")
                if len(data) > self.max_bytes:
                    say(self.too_big)
                    continue
                self.taken.append((recipients, data))
                time.sleep(self.silence_s)
                if self.cut_after_data is not None:
                    connection.sendall(self.cut_after_data)
                    return
                say("250 2.0.0 queued as 4711")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 OK")

    def close(self) -> None:
        # A blocked accept() does not notice that its socket is closed, and takes one connection more.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def channel(self, **options: object) -> SmtpChannel:
        return smtp_channel(self.port, **options)

    @property
    def to(self) -> list[list[str]]:
        return [[line.partition("<")[2].partition(">")[0] for line in recipients] for recipients, _ in self.taken]


@pytest.fixture
def talker() -> Iterator[Talker]:
    server = Talker()
    yield server
    server.close()


def mail(text: str = "body", subject: str = "Hello"):
    return plain_mail(subject, text, now=NOW)


def parsed(data: bytes):
    return email.message_from_bytes(data, policy=email.policy.default)


# -- accepted is sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["250 OK", "220 hello", "451 not now", "nonsense"])
def test_data_that_is_not_asked_for_is_not_sent_whatever_the_server_says_instead(talker, answer):
    talker.answers["DATA"] = answer
    with pytest.raises(DeliveryFailed):
        talker.channel().send(mail())
    assert talker.taken == []


@pytest.mark.parametrize("goodbye", ["421 4.3.2 closing", "500 what?", "", "250 OK", "nonsense"])
def test_accepted_after_the_data_is_sent_whatever_quit_answers(talker, goodbye, running, store, clock, tmp_path):
    talker.answers["QUIT"] = goodbye
    smtp = talker.channel()
    smtp.preflight()
    sending = {"now": clock(), "spool_folder": tmp_path / "spool"}
    assert send_owed_summary(store, [smtp], "nba-2024", **sending).status == "sent"
    assert send_owed_summary(store, [smtp], "nba-2024", **sending).status == "already_sent"
    assert len(talker.taken) == 1
    assert owed_summaries(store, clock()) == []


def test_a_server_that_says_nothing_to_quit_costs_seconds_and_no_second_mail(talker):
    hung_up = threading.Event()

    def silent(_: str) -> str:
        hung_up.wait(10)
        return ""

    talker.answers["QUIT"] = silent
    talker.channel(timeout_s=0.3).send(mail())
    hung_up.set()
    assert len(talker.taken) == 1


def test_a_goodbye_without_an_end_is_not_heard_out(talker):
    """Whoever is killed meanwhile has not yet marked the mail as sent."""
    heard_out = []

    def talking(_: str) -> str:
        with contextlib.suppress(OSError):
            for _ in range(60):
                talker.connection.sendall(b"221-bye\r\n")
                time.sleep(0.05)
            heard_out.append(True)
        return ""

    talker.answers["QUIT"] = talking
    talker.channel(timeout_s=0.2).send(mail())
    talker.close()
    assert len(talker.taken) == 1
    assert heard_out == []


def test_a_server_that_keeps_talking_and_never_answers_is_given_up(talker):
    """The time-out is one per read, and each of these lines comes in time."""

    def talking(_: str) -> str:
        with contextlib.suppress(OSError):
            while not given_up.wait(0.01):
                talker.connection.sendall(b"250-one moment\r\n")
        return ""

    given_up = threading.Event()
    talker.answers["DATA"] = talking
    with pytest.raises(DeliveryFailed):
        talker.channel(timeout_s=0.05).send(mail())
    given_up.set()
    assert talker.taken == []


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [(b"250-2.0.0 queued\r\n", True), (b"250-2.0.0 que", True), (b"451-4.3.0 busy\r\n", False), (b"", False)],
)
def test_a_server_that_hangs_up_while_it_says_that_it_has_the_mail_gets_no_second_one(talker, said, is_taken):
    talker.cut_after_data = said
    if is_taken:
        assert talker.channel().send(mail()).refused == {}
    else:
        with pytest.raises(DeliveryFailed):
            talker.channel().send(mail())
    assert len(talker.taken) == 1


def test_a_server_that_looks_at_the_message_for_long_is_not_sent_it_again(talker):
    talker.silence_s = 0.5
    assert talker.channel(timeout_s=0.1).send(mail()).refused == {}
    assert len(talker.taken) == 1


def test_a_cut_reply_to_anything_but_the_message_itself_is_a_failure(talker):
    def cut(_: str) -> str:
        talker.connection.sendall(b"250-2.0.0 go on\r\n")
        return ""

    for verb in ("MAIL", "DATA"):
        talker.answers = {verb: cut}
        with pytest.raises(DeliveryFailed):
            talker.channel().send(mail())
    assert talker.taken == []


# -- what a server can carry ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=90), st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=40))
def test_any_subject_and_name_cross_a_server_without_8bitmime(talker, subject, name):
    talker.extensions, talker.taken = [], []
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    talker.channel(sender=f'"{quoted}" <gapless@example.org>').send(mail("…·漢\n" * 3, subject))
    ((_, data),) = talker.taken
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    arrived = parsed(data)
    assert arrived["Subject"] == header_text(subject)
    (address,) = arrived["From"].addresses
    assert " ".join(address.display_name.split()) == " ".join(name.split())
    assert arrived.get_content().splitlines() == ["…·漢"] * 3


def test_names_and_domains_outside_ascii_reach_any_server(talker):
    smtp = talker.channel(sender="Größe, Ops <ops@münchen.example>", recipients=["Jörg <j@straße.example>", "b@x.org"])
    smtp.preflight()
    assert smtp.send(mail()).refused == {}
    assert talker.to == [["j@xn--strae-oqa.example", "b@x.org"]]
    assert "MAIL FROM:<ops@xn--mnchen-3ya.example> SIZE=" in next(line for line in talker.said if "MAIL" in line)
    assert [str(each) for each in parsed(talker.taken[0][1])["To"].addresses] == [
        "Jörg <j@xn--strae-oqa.example>",
        "b@x.org",
    ]


def test_a_local_part_outside_ascii_travels_by_smtputf8_in_a_mail_of_its_own(talker):
    talker.extensions = ["8BITMIME", "SMTPUTF8"]
    smtp = talker.channel(recipients=["ops@example.org", "ösi@example.org"])
    smtp.preflight()
    assert smtp.send(mail()).refused == {}
    assert talker.to == [["ops@example.org"], ["ösi@example.org"]]
    assert [line for line in talker.said if line.startswith("MAIL")] == [
        "MAIL FROM:<gapless@example.org>",
        "MAIL FROM:<gapless@example.org> SMTPUTF8 BODY=8BITMIME",
    ]


def test_preflight_refuses_in_one_line_whom_the_server_cannot_carry_and_a_send_reaches_the_others(talker):
    smtp = talker.channel(recipients=["ops@example.org", "ösi@example.org"])
    with pytest.raises(
        ConfigurationError, match=r"cannot carry ösi@example\.org: it does not offer SMTPUTF8"
    ) as caught:
        smtp.preflight()
    assert "\n" not in str(caught.value)
    delivery = smtp.send(mail())
    assert talker.to == [["ops@example.org"]]
    assert delivery.refused == {"ösi@example.org": "needs SMTPUTF8, which the server does not offer"}
    with pytest.raises(DeliveryFailed, match="needs SMTPUTF8"):
        talker.channel(recipients=["ösi@example.org"]).send(mail())


# -- login ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", ["PLAIN", "LOGIN", "CRAM-MD5", "LOGIN PLAIN CRAM-MD5 XOAUTH2"])
def test_user_and_password_outside_ascii_log_in_as_utf_8(talker, offered):
    talker.extensions.append(f"AUTH {offered}")
    smtp = talker.channel(username=USER, password=PASSWORD)
    smtp.preflight()
    smtp.send(mail())
    assert len(talker.taken) == 1


def test_a_refused_login_outside_ascii_is_one_line_without_the_password(talker):
    talker.extensions.append("AUTH PLAIN")
    with pytest.raises(DeliveryFailed, match=r"refused the login \(535\); user or password is outside ASCII") as caught:
        talker.channel(username=USER, password="geheimé").preflight()
    assert "geheimé" not in str(caught.value)


def test_a_server_without_a_known_login_says_what_it_offers(talker):
    talker.extensions.append("AUTH XOAUTH2")
    with pytest.raises(DeliveryFailed, match="it offers XOAUTH2"):
        talker.channel(username=USER, password=PASSWORD).preflight()


@pytest.mark.parametrize("answer", ["454 4.7.0 temporary failure", "421 too many logins", "432 in transition"])
def test_a_login_that_is_refused_for_now_blames_no_password(talker, answer):
    talker.extensions.append("AUTH PLAIN")
    talker.answers["AUTH"] = answer
    with pytest.raises(DeliveryFailed, match="refused the login for now") as caught:
        talker.channel(username=USER, password=PASSWORD).send(mail())
    assert "password" not in str(caught.value)


def test_a_server_that_asks_for_the_login_after_the_command_gets_it(talker):
    talker.extensions.append("AUTH PLAIN")
    asked: list[str] = []
    talker.answers["AUTH"] = lambda line: asked.append(line.split(" ")[2]) or "334 "
    talker.answers[base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode().upper()] = "235 welcome"
    talker.channel(username=USER, password=PASSWORD).send(mail())
    assert len(talker.taken) == len(asked) == 1


@pytest.mark.parametrize(
    ("security", "answers"),
    [("starttls", {}), ("tls", {}), ("none", {"MAIL": "530 5.7.0 Must issue a STARTTLS command first"})],
)
def test_what_is_wrong_with_the_encryption_is_said_with_the_port_to_try(talker, security, answers):
    talker.answers |= answers
    with pytest.raises(DeliveryFailed, match="Next: check port and encryption"):
        talker.channel(security=security).send(mail())


# -- recipients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["550 no such user", "553 bad", "450 later", "421 4.7.0 go away", ""])
def test_one_bad_recipient_stops_nobody_else(talker, answer):
    talker.answers["RCPT"] = lambda line: answer if "bad" in line else "250 OK"
    delivery = talker.channel(recipients=["a@x.org", "bad@x.org", "c@x.org"]).send(mail())
    assert talker.to == [["a@x.org", "c@x.org"]]
    assert list(delivery.refused) == ["bad@x.org"]


def test_who_is_told_not_now_gets_the_mail_later_and_the_others_not_twice(talker, running, store, clock, tmp_path):
    answers = ["451 4.7.1 greylisted", "451 4.7.1 still greylisted", "250 OK"]
    talker.answers["RCPT"] = lambda line: (
        answers.pop(0) if "new@" in line else "550 no such user" if "gone@" in line else "250 OK"
    )
    smtp = talker.channel(recipients=["ops@x.org", "new@x.org", "gone@x.org"])
    first = send(store, [smtp], clock, tmp_path)
    assert first.status == "sent"
    assert first.waiting == ("new@x.org is tried again: 451 4.7.1 greylisted",)
    assert first.refused == {"gone@x.org": "550 no such user"}
    assert [owed.why for owed in owed_summaries(store, clock())] == ["unsent"]
    assert send(store, [smtp], clock, tmp_path).waiting == ("new@x.org is tried again: 451 4.7.1 still greylisted",)
    assert send(store, [smtp], clock, tmp_path).waiting == ()
    assert send(store, [smtp], clock, tmp_path).status == "already_sent"
    assert talker.to == [["ops@x.org"], ["new@x.org"]]
    assert len({parsed(data)["Message-ID"] for _, data in talker.taken}) == 1
    assert owed_summaries(store, clock()) == []
    assert list(Outbox(store).read("nba-2024").delivered["smtp"].refused) == ["gone@x.org"]


@pytest.mark.parametrize("ends_by", ["a refusal for good", "a day of asking"])
def test_who_is_told_not_now_is_not_asked_for_ever(talker, running, store, clock, tmp_path, ends_by):
    answers = ["450 later"]
    talker.answers["RCPT"] = lambda line: (answers.pop(0) if answers else "550 never") if "new@" in line else "250 OK"
    smtp = talker.channel(recipients=["ops@x.org", "new@x.org"])
    assert send(store, [smtp], clock, tmp_path).waiting
    answers.extend(["450 later"] * (ends_by == "a day of asking"))
    assert bool(send(store, [smtp], clock, tmp_path).waiting) == bool(ends_by == "a day of asking")
    if ends_by == "a day of asking":
        clock.tick(hours=25)
        assert send(store, [smtp], clock, tmp_path).waiting == ()
    assert owed_summaries(store, clock()) == []
    assert talker.to == [["ops@x.org"]]


def test_a_human_who_is_told_not_now_is_told_with_the_next_sign_of_life(talker, make_manager, clock):
    answers = ["451 greylisted", "250 OK"]
    talker.answers["RCPT"] = lambda line: answers.pop(0) if "new@" in line else "250 OK"
    manager = make_manager(talker.channel(recipients=["ops@x.org", "new@x.org"]))
    manager.enable_backfill_mode("nba-2025", source="nba")
    manager.record_error({"scraper": "nba", "error": "boom", "severity": "CRITICAL"})
    manager.heartbeat()
    manager.heartbeat()
    assert talker.to == [["ops@x.org"], ["new@x.org"]]


def test_recipients_beyond_the_servers_number_get_a_transaction_of_their_own(talker):
    def full(_: str) -> str:
        since_mail = talker.said[::-1].index(next(line for line in talker.said[::-1] if line.startswith("MAIL")))
        return "250 OK" if since_mail <= 2 else "452 4.5.3 too many recipients"

    talker.answers["RCPT"] = full
    people = [f"p{number}@x.org" for number in range(5)]
    assert talker.channel(recipients=people).send(mail()).refused == {}
    assert talker.to == [people[:2], people[2:4], people[4:]]


def test_who_has_not_the_mail_when_the_connection_breaks_gets_it_later_and_the_others_not_twice(talker):
    talker.answers["RCPT"] = lambda line: "452 4.5.3 too many" if "b@" in line and not talker.taken else "250 OK"
    talker.answers["MAIL"] = lambda _: "" if talker.taken else "250 OK"
    smtp = talker.channel(recipients=["a@x.org", "b@x.org"])
    delivery = smtp.send(mail())
    assert delivery.later == {"b@x.org"}
    del talker.answers["MAIL"]
    smtp.send(mail(), only=delivery.later)
    assert talker.to == [["a@x.org"], ["b@x.org"]]


def test_a_server_that_hangs_up_at_everybody_is_a_failure_and_not_silence(talker):
    talker.answers["RCPT"] = "421 too busy"
    with pytest.raises(DeliveryFailed, match="421"):
        talker.channel(recipients=["a@x.org", "b@x.org"]).send(mail())
    assert talker.taken == []


def test_who_is_named_twice_gets_the_mail_once(talker):
    talker.channel(recipients=["ops@x.org", "The team <ops@X.org>", "Ops@x.org"]).send(mail())
    assert talker.to == [["ops@X.org", "Ops@x.org"]]


def test_the_answer_of_a_server_steers_no_terminal_and_forges_no_line(talker, caplog):
    talker.answers["RCPT"] = lambda line: "550-no\r\n550 \x1b[2J\x07really" if "bad" in line else "250 OK"
    delivery = talker.channel(recipients=["a@x.org", "bad@x.org"]).send(mail())
    for text in (*delivery.refused.values(), caplog.records[-1].getMessage()):
        assert text.isprintable()
        assert "550 no [2J really" in text


# -- refused for good ----------------------------------------------------------------------------------------


def send(store, channels, clock, tmp_path):
    return send_owed_summary(store, channels, "nba-2024", now=clock(), spool_folder=tmp_path / "spool")


@pytest.mark.parametrize("where", ["after the data", "at MAIL, by its size"])
def test_a_mail_that_is_too_big_goes_out_smaller_with_a_critical_note(
    talker, running, store, clock, tmp_path, caplog, where
):
    limit = 3_000
    if where == "after the data":
        talker.max_bytes = limit
    else:
        talker.extensions = [f"SIZE {limit}"]
        talker.answers["MAIL"] = lambda line: (
            "552 5.3.4 too big" if int(line.rpartition("SIZE=")[2]) > limit else "250 OK"
        )
    result = send(store, [talker.channel()], clock, tmp_path)
    assert result.status == "sent"
    assert "552" in result.cut["smtp"]
    ((_, data),) = talker.taken
    arrived = parsed(data)
    assert len(data) <= limit
    assert arrived["Message-ID"] == result.message_id
    assert arrived["X-Backfill-Id"] == "nba-2024"
    text = arrived.get_content()
    assert text.startswith("CRITICAL: the mail server refused the whole mail")
    assert result.mail_object in text.replace("\n", "")
    assert store.read(result.mail_object)[0]
    assert any(record.levelname == "CRITICAL" and "552" in record.message for record in caplog.records)
    assert owed_summaries(store, clock()) == []
    assert "552" in Outbox(store).read("nba-2024").delivered["smtp"].cut


def test_a_mail_that_is_refused_in_any_size_is_given_up_with_a_critical_note_and_kept(
    talker, running, store, clock, tmp_path, caplog
):
    talker.max_bytes, talker.too_big = 0, "554 5.7.1 content refused"
    result = send(store, [talker.channel()], clock, tmp_path)
    assert (result.status, result.delivered) == ("refused", False)
    assert owed_summaries(store, clock()) == []
    tried = len([line for line in talker.said if line == "DATA"])
    assert send(store, [talker.channel()], clock, tmp_path).status == "refused"
    assert len([line for line in talker.said if line == "DATA"]) == tried
    assert store.read(result.mail_object)[0]
    assert any(record.levelname == "CRITICAL" and "2024-01-02" in record.message for record in caplog.records)


def test_a_refusing_server_does_not_cost_the_other_channels_their_mail(
    talker, running, store, clock, tmp_path, channel
):
    talker.max_bytes = 0
    assert send(store, [talker.channel(), channel], clock, tmp_path).status == "sent"
    assert len(channel.mails) == 1
    assert channel.mails[0].is_multipart()


def test_a_temporary_refusal_of_the_message_is_tried_again_whole(talker, running, store, clock, tmp_path):
    talker.max_bytes, talker.too_big = 0, "451 later"
    assert send(store, [talker.channel()], clock, tmp_path).status == "failed"
    talker.max_bytes = 10**9
    assert send(store, [talker.channel()], clock, tmp_path).status == "sent"
    assert parsed(talker.taken[0][1]).is_multipart()


@pytest.mark.parametrize(
    "answer",
    [
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        "554 Message rejected: Email address is not verified",
        "550 The from address does not match a verified Sender Identity",
        "550 5.7.26 Unauthenticated email is not accepted due to the domain's DMARC policy",
        "550 5.4.5 Daily user sending limit exceeded",
        "552 5.2.2 mailbox full",
    ],
)
def test_what_is_no_fault_of_the_message_is_owed_until_it_is_put_right(talker, running, store, clock, tmp_path, answer):
    talker.max_bytes, talker.too_big = 0, answer
    first = send(store, [talker.channel()], clock, tmp_path)
    assert (first.status, answer[:3] in first.errors[0]) == ("failed", True)
    talker.max_bytes = 10**9
    assert send(store, [talker.channel()], clock, tmp_path).status == "sent"
    assert parsed(talker.taken[0][1]).is_multipart()


def test_an_answer_in_a_line_that_is_too_long_to_read_is_one_by_its_code(talker):
    for code, is_taken in (("250", True), ("451", False)):
        talker.max_bytes, talker.too_big = 0, f"{code} {'x' * 9_000}"
        if is_taken:
            assert talker.channel().send(mail()).refused == {}
        else:
            with pytest.raises(DeliveryFailed):
                talker.channel().send(mail())


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("530 5.7.57 Client was not authenticated to send anonymous mail", "set the mail user and password"),
        ("530 5.7.0 Must issue a STARTTLS command first", "check port and encryption"),
    ],
)
def test_a_server_that_takes_no_mail_yet_says_what_is_wanted(talker, said, hint):
    talker.answers["MAIL"] = said
    with pytest.raises(DeliveryFailed, match=f"Next: {hint}"):
        talker.channel().send(mail())


def test_a_refused_login_is_told_by_the_code_behind_its_code_and_nothing_that_it_echoes(talker):
    talker.extensions.append("AUTH LOGIN")
    talker.answers["AUTH"] = "535 5.7.139 SmtpClientAuthentication is disabled for planted-user"
    with pytest.raises(DeliveryFailed, match=r"refused the login \(535 5\.7\.139\)") as caught:
        talker.channel(username="planted-user", password="planted-password").send(mail())
    assert "planted" not in str(caught.value)


def test_a_test_alert_tells_of_the_refusal(talker):
    talker.max_bytes = 0
    assert "552" in try_channels([talker.channel()], "[gapless]", NOW)["smtp"]
    with pytest.raises(MessageRefused, match="for good: 552"):
        talker.channel().send(mail())


def test_alerts_and_notices_that_are_too_big_go_out_smaller_too(talker, make_manager):
    talker.max_bytes = 2_500
    manager = make_manager(talker.channel())
    manager.send_alert("nba", "y" * 6_000, "CRITICAL")
    manager.enable_backfill_mode("nba-2025", source="nba", facts=RunFacts(contacts={"on call": "z" * 6_000}))
    manager.record_error({"scraper": "nba", "error": "boom", "severity": "CRITICAL"})
    assert len(talker.taken) == 2
    assert all(parsed(data).get_content().startswith("CRITICAL: the mail server") for _, data in talker.taken)
