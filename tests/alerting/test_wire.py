"""What stands on the wire, read back by the standard library. Needs no fixture: runs alone on any interpreter."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import re
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import ConfigurationError
from alerting.headers import mailbox, wire_bytes
from alerting.incident import Incident
from alerting.message import backfill_mail, from_bytes, header_text, plain_mail, summary_mail, to_bytes
from alerting.outbox import OutboxEntry
from alerting.run_facts import RunFacts
from alerting.summary import render

NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)
SUBJECT = "[backfill][FAILED 3/31] bdl_box_scores 2025-01-01…2025-01-31 · 3 causes · 3 actions"
HOSTILE = [
    "=?utf-8?q?=0D=0ABcc=3A_evil=40x.org?=",
    "=?utf-8?b?DQpCY2M6IGV2aWxAeC5vcmcNCg0KYm9keQ==?=",
    "=?utf-8?q?=0D=0A=0D=0Abody?=",
    "=?iso-8859-1?q?=0A=20x?= =?utf-8?q?=0D?=",
    "=?utf-8*en?q?=0D=0ABcc=3Ax?=",
    "=?utf-8?q?caf=C3=A9?=",
    "=?",
    "?=",
    "\r\nBcc: evil@x.org",
    "\x00\x0b\x0c\x1c\x1d\x85\u2028\u2029",
    " ",
    "  ",
    "…·–",
    "漢字" * 30,
    "😀👩\u200d👩\u200d👧",
    "e\u0301",
    "\ud800",
    "a" * 70,
    '"\\',
    "<>@,;:()[]",
]
text = st.one_of(
    st.text(max_size=120),
    st.lists(st.sampled_from(HOSTILE) | st.text(max_size=20), max_size=6).map("".join),
)
many = settings(max_examples=150, deadline=None)


def read_back(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)


def names_of(data: bytes) -> list[str]:
    """Header names as any program that knows only lines sees them."""
    head = data.partition(b"\r\n\r\n")[0]
    return [line.partition(b":")[0].decode() for line in re.split(rb"\r\n(?![ \t])", head)]


def is_sound(data: bytes) -> None:
    lines = data.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert data.isascii()
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)


@pytest.mark.parametrize("subject", [SUBJECT, "…", "·", "– ", "Größe 😀", "a" * 400, "漢" * 300, "=?utf-8?q?x?="])
def test_a_subject_arrives_as_it_left(subject):
    data = to_bytes(plain_mail(subject, "body", now=NOW))
    is_sound(data)
    assert read_back(data)["Subject"] == header_text(subject)


@many
@given(text)
def test_any_subject_survives_every_reader(subject):
    mail = plain_mail(subject, "body", now=NOW)
    data = to_bytes(mail)
    is_sound(data)
    expected = header_text(subject)
    assert str(mail["Subject"]) == expected
    assert read_back(data)["Subject"] == expected
    assert from_bytes(data)["Subject"] == expected
    assert to_bytes(from_bytes(data)) == data
    old = email.message_from_bytes(data)["Subject"]
    assert re.sub(r"\r?\n ", " ", str(make_header(decode_header(old)))) == expected


@many
@given(text)
def test_any_display_name_survives_every_reader(name):
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    try:
        box = mailbox(f'"{quoted}" <ops@example.org>')
    except ConfigurationError:
        assert re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800]", name) or len(name.encode()) > 600
        return
    expected = re.sub(r" \s+", " ", name).strip(" ")
    assert box.name == expected
    data = f"From: {box.header}\r\n\r\n".encode()
    is_sound(data)
    (address,) = read_back(data)["From"].addresses
    assert (address.display_name, address.addr_spec) == (expected, "ops@example.org")
    old_name, old_address = parseaddr(email.message_from_bytes(data)["From"])
    assert (str(make_header(decode_header(old_name))), old_address) == (expected, "ops@example.org")


@settings(max_examples=50, deadline=None)
@given(text, text, text, text)
def test_no_text_from_outside_is_ever_header_syntax(error_type, source, backfill_id, message):
    entry = OutboxEntry(backfill_id, source=source, mail_host=error_type)
    found = Incident.from_mapping({"error_type": error_type, "scraper": source, "error": message})
    facts = RunFacts(backfill_id=backfill_id, source=source, title=message, reason=error_type)
    plain = ["Subject", "Date", "Auto-Submitted", "X-Auto-Response-Suppress", "List-Id"]
    content = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    thread = ["Message-ID", "In-Reply-To", "References", "X-Backfill-Id", "X-Backfill-Outcome", "X-Backfill-Source"]
    alert = plain_mail(f"{error_type} {source}", message, source=source, now=NOW)
    human = backfill_mail(entry, f"{source} · {error_type}", message, role="human", outcome=error_type, now=NOW)
    summary = summary_mail(entry, render(facts, [found]), NOW)
    for mail, expected in ((alert, plain), (human, plain + thread), (summary, plain + thread)):
        data = to_bytes(mail)
        is_sound(data)
        assert sorted(names_of(data)) == sorted(expected + (content if mail is not summary else content[::2]))
        again = from_bytes(data)
        assert sorted(names_of(to_bytes(again))) == sorted(names_of(data))
        if mail is not alert:
            assert read_back(data)["X-Backfill-Id"] == header_text(backfill_id)
            assert read_back(data)["X-Backfill-Source"] == header_text(source)
    assert read_back(to_bytes(summary)).get_body(("plain",)) is not None


@many
@given(text)
def test_a_mail_of_somebody_elses_making_travels_as_soundly(words):
    theirs = EmailMessage()
    words = header_text(words)
    try:
        theirs["Subject"] = words
    except (ValueError, IndexError, AttributeError):  # what their own policy makes of encoded words, and its faults
        return
    theirs.set_content(f"{words}\nü" + "x" * 2000)
    data = wire_bytes(theirs)
    is_sound(data)
    assert set(names_of(data)) == {"Subject", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert read_back(data).get_content().splitlines()[-1] == "ü" + "x" * 2000


@pytest.mark.parametrize("body", ["ü" * 5000, "plain", "…\n" * 50, "x" * 3000, "=?utf-8?q?=0D?=\n.\n..\nFrom me\n"])
def test_every_part_is_7_bit_and_its_text_is_the_same_afterwards(body):
    data = to_bytes(plain_mail("s", body, now=NOW))
    is_sound(data)
    assert read_back(data).get_content().splitlines() == body.splitlines()


@pytest.mark.parametrize(
    ("typed", "name", "address"),
    [
        ("ops@example.org", "", "ops@example.org"),
        ("ops@münchen.example", "", "ops@xn--mnchen-3ya.example"),
        ("ops@straße.example", "", "ops@xn--strae-oqa.example"),
        ("Jörg Müller <j@x.org>", "Jörg Müller", "j@x.org"),
        ("Müller, Jörg <j@x.org>", "Müller, Jörg", "j@x.org"),
        ('"Müller, Jörg" <j@x.org>', "Müller, Jörg", "j@x.org"),
        (r'"a \"b\" \\c" <j@x.org>', r'a "b" \c', "j@x.org"),
        ("=?utf-8?q?J=C3=B6rg?= <j@x.org>", "Jörg", "j@x.org"),
        ('"=?utf-8?q?J=C3=B6rg?=" <j@x.org>', "=?utf-8?q?J=C3=B6rg?=", "j@x.org"),
        ("<j@localhost>", "", "j@localhost"),
        ('"a b"@x.org', "", '"a b"@x.org'),
        ("ops@[127.0.0.1]", "", "ops@[127.0.0.1]"),
        ("ösi@x.org", "", "ösi@x.org"),
        ("ops@x.org\n", "", "ops@x.org"),
    ],
)
def test_an_address_is_read_as_people_write_it(typed, name, address):
    box = mailbox(typed)
    assert (box.name, box.address) == (name, address)


@pytest.mark.parametrize(
    "typed",
    [
        *("", "nobody", "a@", "@x.org", "a b@x.org", "a@x.org, b@x.org", "a@x.org\r\nBcc: b@x.org", "a@x..münchen"),
        *("\ud800@x.org", "=?utf-8?q?=0D=0ABcc=3Ax?= <a@x.org>", f"a@{'ü' * 300}.example", f"{'é' * 400} <a@x.org>"),
        *("a\u200b@x.org", "\u202eops@x.org", "a@x..org", "a@.org", f"a@{'x' * 64}.org"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(typed):
    with pytest.raises(ConfigurationError, match="not one mail address") as caught:
        mailbox(typed)
    assert "\n" not in str(caught.value)
