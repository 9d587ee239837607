"""What the mail never is: too big, too much, or more than it may say."""

from __future__ import annotations

import gzip
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from summary_cases import AT, DAYS, facts, incident, three_causes

from alerting.incident import Incident
from alerting.message import from_bytes, summary_mail, to_bytes
from alerting.outbox import OutboxEntry
from alerting.run_facts import Command, RunFacts, TableFacts
from alerting.summary import MAX_ATTACHMENT_BYTES, MAX_HTML_BYTES, RenderedMail, encoded_size, render


def test_every_incident_is_attached_as_a_line_of_json():
    run, found = three_causes()
    (attached,) = render(run, found).attachments
    lines = [json.loads(line) for line in attached.data.splitlines()]
    assert {line["partition"] for line in lines} == {each.partition for each in found}


def many(count: int):
    # Far more causes, partitions and text than any run has, and incompressible ids.
    for number in range(count):
        yield incident(
            f"Error{number % 60}",
            f"cause {'abcdefghij'[number % 10] * (number % 60 + 1)} id {number * 7919}",
            DAYS[number % 1826],
            incident_id=f"{number:x}",
            fingerprint=f"v1:{number % 60}",
            traceback="x.py:1 in f\n" * 20,
        )


def test_100_000_incidents_give_a_page_under_80_kb_that_says_what_it_left_out():
    mail = render(facts(set(DAYS), outcome="FAILED"), many(100_000))
    assert encoded_size(mail.html) <= MAX_HTML_BYTES
    assert sum(len(attached.data) for attached in mail.attachments) <= MAX_ATTACHMENT_BYTES


def test_what_does_not_fit_is_dropped_in_the_documented_order_and_said():
    found = [incident(f"Error{n}", "€" * 650, DAYS[n], traceback="x.py:1 in f: ключ\n" * 20) for n in range(45)]
    tables = [TableFacts("t" * 200, n, n, n, n) for n in range(60)]
    mail = render(facts(set(DAYS), tables=tables), found)
    assert encoded_size(mail.html) <= MAX_HTML_BYTES
    assert mail.left_out[0] == "tracebacks"
    assert "x.py:1" not in mail.html
    assert "Left out here" in mail.html
    assert "x.py:1" in mail.text


def test_a_list_that_is_too_long_to_attach_plainly_is_attached_packed():
    mail = render(facts(set(DAYS)), many(5_000))
    (attached,) = mail.attachments
    assert attached.filename == "incidents.ndjson.gz"
    assert len(gzip.decompress(attached.data).splitlines()) == 5_000


PLANTED = "pl4nted-S3cret-value"


def test_no_secret_and_no_open_tag_from_facts_reaches_the_mail():
    run = RunFacts(
        source="<b>nba</b>",
        backfill_id="b<script>",
        reason=f"password={PLANTED}",
        notes=[f"apiKey={PLANTED}"],
        links={"run": f"https://u:{PLANTED}@x.test/?token={PLANTED}", "js": "javascript:alert(1)"},
        flags={"api_key": PLANTED},
        commands=[Command(f"curl -H 'Authorization: {PLANTED}'")],
        contacts={"a": "<i>"},
        slowest_step="<script>x</script>",
    )
    bad = Incident.from_mapping(
        {
            "scraper": "nba",
            "error": f"Cookie: s={PLANTED}",
            "details": {f"apiKey={PLANTED}": f"sig={PLANTED}"},
            "url": f"https://x.test/a?key={PLANTED}",
            "hint": f"Bearer {PLANTED}",
            "date": "2024-01-01",
        }
    )
    mail = render(run, [bad])
    entry = OutboxEntry("b", source="x\r\nBcc: evil@example.org")
    wire = to_bytes(summary_mail(entry, mail, AT)).decode()
    everything = mail.subject + mail.text + mail.html + wire + "".join(a.data.decode() for a in mail.attachments)
    assert PLANTED not in everything
    assert "<script" not in mail.html
    assert 'href="javascript' not in mail.html
    assert from_bytes(wire.encode())["Bcc"] is None


def test_the_mail_is_multipart_with_the_text_first_and_the_headers_of_its_thread():
    run, found = three_causes()
    entry = OutboxEntry("orders 2021/2025", attempt=2, source="orders_api", mail_host="mail.example.org")
    mail = from_bytes(to_bytes(summary_mail(entry, render(run, found), AT)))
    assert mail["Message-ID"] == "<gapless.orders-2021-2025.2.final@mail.example.org>"
    assert mail["References"] == mail["In-Reply-To"] == "<gapless.orders-2021-2025.root@mail.example.org>"
    assert (mail["List-Id"], mail["X-Auto-Response-Suppress"]) == ("<backfill.orders-api>", "All")
    assert mail["Date"] == "Sat, 10 Jan 2026 02:00:00 +0000"
    alternative = next(part for part in mail.walk() if part.get_content_type() == "multipart/alternative")
    assert [part.get_content_type() for part in alternative.iter_parts()] == ["text/plain", "text/html"]


def test_the_mail_can_be_filtered_by_backfill_source_and_outcome():
    run, found = three_causes()
    mail = summary_mail(OutboxEntry("orders-1", source="orders_api"), render(run, found), AT)
    shown = {name: mail[f"X-Backfill-{name}"] for name in ("Id", "Source", "Outcome")}
    assert shown == {"Id": "orders-1", "Source": "orders_api", "Outcome": "FAILED"}
    assert mail["Auto-Submitted"] == "auto-generated"


messages = st.text(max_size=200)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["A", "AuthenticationError", "RateLimited"]), messages, st.sampled_from(DAYS)),
        max_size=30,
    ),
    st.builds(
        RunFacts,
        source=messages,
        title=messages,
        reason=messages,
        planned=st.none() | st.integers(0, 10**6),
        verdict_counts=st.dictionaries(st.sampled_from(["verified", "planned", "odd"]), st.integers(0, 10**6)),
    ),
)
def test_any_facts_and_any_incidents_render_within_all_limits(rows, run):
    mail: RenderedMail = render(run, [incident(kind, message, day) for kind, message, day in rows])
    assert "\n" not in mail.subject
    assert "\r" not in mail.subject
    assert encoded_size(mail.html) <= MAX_HTML_BYTES
    to_bytes(summary_mail(OutboxEntry("b", source=run.source), mail, AT))
