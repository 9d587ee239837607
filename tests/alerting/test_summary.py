from __future__ import annotations

import datetime as dt
import gzip
import html
import json
import os
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import errors
from alerting.incident import Incident
from alerting.message import from_bytes, summary_mail, to_bytes
from alerting.outbox import OutboxEntry
from alerting.ranges import expand_dates
from alerting.run_facts import Command, RunFacts, TableFacts
from alerting.summary import MAX_ATTACHMENT_BYTES, MAX_HTML_BYTES, RenderedMail, encoded_size, render

GOLDEN = Path(__file__).parent / "golden"
AT = dt.datetime(2026, 1, 10, 2, 0, tzinfo=dt.UTC)
DAYS = [str(dt.date(2021, 1, 1) + dt.timedelta(days=offset)) for offset in range(1826)]
TEMPLATE = "prefect deployment run 'backfill/orders' -p source={source} -p 'dates={ranges}' -p reason='retry {cause}'"


def incident(kind: str, message: str, partition: str, **rest) -> Incident:
    known = {"SourceUnavailable": True, "CoverageLow": True}
    given = {"source": "orders_api", "stage": "scrape", "occurred_at": AT, "incident_id": partition}
    given |= {"retryable": known.get(kind, False), **rest}
    return Incident(error_type=kind, message=message, partition=partition, **given)


def facts(failed: set[str], **rest) -> RunFacts:
    calendar = {day: "failed_retryable" if day in failed else "verified" for day in DAYS}
    rows = 660 * (len(DAYS) - len(failed))
    given = {
        "backfill_id": "orders-2021-2025",
        "source": "orders_api",
        "title": "Orders of all shops",
        "start_date": DAYS[0],
        "end_date": DAYS[-1],
        "zone": "Europe/Berlin",
        "reason": "data_loss",
        "requested_by": "maria@example.org",
        "ticket": "DATA-1412",
        "code_version": "0.1.0+5bac1ac",
        "started_at": AT - dt.timedelta(hours=2),
        "finished_at": AT,
        "planned": len(DAYS),
        "verdict_counts": dict(Counter(calendar.values())),
        "calendar": calendar,
        "calls": 1826,
        "calls_budget": 10_000,
        "calls_left": 8_174,
        "budget_resets_at": AT + dt.timedelta(hours=22),
        "bytes_landed": 812_000_000,
        "bigquery_jobs": 9,
        "wall_s": 7_200.0,
        "waited_for_limits_s": 600.0,
        "estimate": {"calls": 1826, "wall_s": 6_000},
        "tables": [
            TableFacts("orders", rows, rows, rows, rows),
            TableFacts("order_items", 4 * rows, 4 * rows, 4 * rows, 4 * rows),
        ],
        "links": {"Prefect run": "http://127.0.0.1:4200/runs/flow-run/1", "Ledger": "gs://b/ledger/source=orders_api/"},
        "retry_command_template": TEMPLATE,
        "cause_command_template": "gapless retry-failed {source} --run {backfill_id} --cause {cause}",
    }
    return RunFacts(**{**given, **rest})


def three_causes() -> tuple[RunFacts, list[Incident]]:
    first = [
        incident("SourceUnavailable", f"GET /v1/orders?date={day} answered 503", day, status=503) for day in DAYS[60:76]
    ]
    second = [
        incident("CoverageLow", f"expected {1000 + n} rows, got {n}", day, stage="verify")
        for n, day in enumerate(DAYS[5::97])
    ]
    third = [
        incident(
            "SourceContractError",
            f"expected a list at data.orders, got <script>alert({n})</script>",
            day,
            severity="CRITICAL",
            traceback="processors/sources/orders.py:41 in rows\n    for row in body['orders']:",
            hint="fix the row model",
        )
        for n, day in enumerate(DAYS[900:903])
    ]
    found = [*first, *second, *third]
    return facts({each.partition for each in found}, outcome="FAILED", verdict="ACCEPTABLE"), found


def one_cause() -> tuple[RunFacts, list[Incident]]:
    found = [incident("SourceUnavailable", f"connection refused on {day}", day) for day in DAYS[:3]]
    return facts(set(DAYS[:3]), outcome="OK-WITH-GAPS"), found


def all_failed() -> tuple[RunFacts, list[Incident]]:
    kinds = ("SourceUnavailable", "CoverageLow", "TypeError")
    words = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta")
    found = [
        incident(kinds[n % 3], f"{words[n % 7]} failed at id {n * 7919} on {day}", day) for n, day in enumerate(DAYS)
    ]
    return facts(set(DAYS), outcome="STOPPED", verdict="ABORTED(red_flag)"), found


def right_to_left() -> tuple[RunFacts, list[Incident]]:
    found = [
        incident("SourceUnavailable", "שגיאה בשרת: לא נמצא דף 😀🔥 «עמוד»", DAYS[0]),
        incident("CoverageLow", "الخادم لا يستجيب — 模式不匹配 \u202eabc\u202c", DAYS[1]),
    ]
    return facts(set(DAYS[:2]), outcome="FAILED", title="Ünïcode 🏀"), found


def huge_message() -> tuple[RunFacts, list[Incident]]:
    error = errors.SourceContractError(
        "bad body: " + "<td>nonsense</td> " * 6000, source="orders_api", partition=DAYS[9]
    )
    made = Incident.from_error(error, occurred_at=AT)
    return facts({DAYS[9]}, outcome="FAILED"), [made]


def crashed() -> tuple[RunFacts, list[Incident]]:
    """What a run that was killed in its tenth month leaves behind, as the watchdog writes it."""
    failed = set(DAYS[10:13])
    calendar = dict.fromkeys(DAYS[:270], "verified")
    calendar |= dict.fromkeys(DAYS[270:300], "landed") | dict.fromkeys(DAYS[300:365], "planned")
    calendar |= dict.fromkeys(failed, "failed_retryable")
    found = [
        incident("SourceUnavailable", f"the source answered 503: request for {day}", day) for day in sorted(failed)
    ]
    known = facts(
        failed,
        outcome="STOPPED",
        verdict="ABORTED(crashed)",
        calendar=calendar,
        verdict_counts=dict(Counter(calendar.values())),
        planned=365,
        end_date=DAYS[364],
        calls=306,
        owner="process 4409 on worker-3",
        tables=[TableFacts("orders", 196_020, 196_020, 176_220, 176_220)],
        finished_at=AT + dt.timedelta(minutes=4),
        notes=["red_flag:error_rate: 11 of the last 100 dates failed"],
    )
    return known, found


CASES = {
    "0_causes": lambda: (facts(set(), outcome="OK"), []),
    "1_cause": one_cause,
    "3_causes": three_causes,
    "1826_errors": all_failed,
    "rtl_and_emoji": right_to_left,
    "100_kb_message": huge_message,
    "crashed_run": crashed,
    "killed_run": lambda: (RunFacts(backfill_id="b1", source="nba", started_at=AT, outcome="STOPPED"), one_cause()[1]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_mail_is_the_one_that_was_looked_at(case):
    """Golden files; after a wanted change: GAPLESS_GOLDEN=write pytest, look at the pages, commit."""
    mail = render(*CASES[case]())
    for suffix, content in (("txt", f"{mail.subject}\n\n{mail.text}"), ("html", mail.html)):
        path = GOLDEN / f"{case}.{suffix}"
        if os.environ.get("GAPLESS_GOLDEN") == "write":
            path.write_text(content, encoding="utf-8")
        assert content == path.read_text(encoding="utf-8"), f"{path.name} differs"


@pytest.mark.parametrize("case", CASES)
def test_no_line_of_the_text_is_wider_than_78_columns_except_an_address(case):
    for line in render(*CASES[case]()).text.splitlines():
        assert len(line) <= 78 or "://" in line, line


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_under_80_kb_has_no_remote_image_and_no_open_script(case):
    mail = render(*CASES[case]())
    assert encoded_size(mail.html) <= MAX_HTML_BYTES
    assert "<img" not in mail.html
    assert "<script" not in mail.html
    assert "prefers-color-scheme" in mail.html


def commands_in(text: str) -> list[list[str]]:
    """The commands as a shell would see them: from a line that begins with the program to the end of its quotes."""
    blocks = re.findall(r"^prefect deployment run .*?(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(block.replace("\\\n", "")) for block in blocks]


def test_the_commands_parsed_out_of_the_mail_name_exactly_the_failed_days_of_each_cause():
    run, found = three_causes()
    days_of: dict[str, set[str]] = {}
    for each in found:
        days_of.setdefault(each.error_type, set()).add(each.partition)
    commands = commands_in(render(run, found).text)
    assert len(commands) == 3
    asked = [
        set(expand_dates(word.removeprefix("dates=")))
        for command in commands
        for word in command
        if word.startswith("dates=")
    ]
    assert sorted(map(sorted, asked)) == sorted(map(sorted, days_of.values()))
    assert commands[-1][-1] == "reason=retry C1"


@pytest.mark.parametrize("case", ["1_cause", "3_causes", "1826_errors", "crashed_run"])
def test_the_page_has_the_same_commands_as_the_text_and_a_shell_reads_them_alike(case):
    mail = render(*CASES[case]())
    blocks = [html.unescape(block) for block in re.findall(r'<pre class="code"[^>]*>(.*?)</pre>', mail.html, re.DOTALL)]
    shown = [shlex.split(block.replace("\\\n", "")) for block in blocks if block.startswith(("prefect ", "gapless "))]
    pasted = re.findall(r"^(?:prefect|gapless) .*?(?=\n\n|\Z)", mail.text, re.DOTALL | re.MULTILINE)
    assert shown
    assert shown == [shlex.split(block.replace("\\\n", "")) for block in pasted]


def test_the_first_screen_decides_verdict_before_commands_before_causes():
    text = render(*three_causes()).text
    order = [
        "1,788 of 1,826 days loaded and verified. 38 missing, 3 causes.",
        "Resuming needs 38 calls, about 2 minutes",
        "DO THIS NEXT",
        "CAUSES (3)",
        "DATA",
        "COVERAGE",
        "COST AND PACE",
        "WHO AND WHY",
        "LINKS",
    ]
    found = [" ".join(text.split()).find(part) for part in order]
    assert -1 not in found
    assert found == sorted(found)


def test_the_subject_is_stable_short_and_says_what_happened():
    subject = render(*three_causes()).subject
    assert subject == "[backfill][FAILED, 38 of 1,826 missing] orders_api 2021-01-01…2025-12-31 · 3 causes · 3 actions"


def test_a_killed_run_says_that_it_does_not_know():
    mail = render(*CASES["killed_run"]())
    assert "without a last word" in mail.text
    assert mail.subject == "[backfill][STOPPED, at least 3 missing] nba · 1 cause"


def test_a_crashed_run_says_so_and_gives_one_command_for_what_was_never_begun_or_finished():
    known, found = crashed()
    mail = render(known, found)
    assert "It crashed" in mail.text
    _, rest = (step for step in re.split(r"^\d\. ", mail.text.partition("CAUSES")[0], flags=re.MULTILINE)[1:])
    dates = re.search(r"'dates=([^']*)'", rest.replace("'\\\n'", ""))[1]
    assert set(expand_dates(dates)) == set(DAYS[270:365])
    assert "30 are landed and cost no call" in rest


def test_many_causes_give_one_command_for_all_that_heals_and_then_only_what_needs_a_repair():
    text = render(*all_failed()).text
    section = text.partition("DO THIS NEXT")[2].partition("CAUSES")[0]
    commands = re.findall(r"^gapless .*$", section, re.MULTILINE)
    assert [command.rpartition(" ")[2] for command in commands] == ["all-retryable", "C1", "C3"]
    assert section.count("Repair first") == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (TableFacts("orders", 10, 10, 7, 7), "orders: 3 not loaded"),
        (TableFacts("orders", 10, 4, 4, 4), "orders: 6 not landed"),
        (TableFacts("orders", 10, 10, 10, 9), "orders: 1 not found again"),
        (TableFacts("orders", 10, 10, 12, 12), "orders: 2 too many loaded"),
        (TableFacts("orders", 10, 10, 10, None), "orders: not recounted"),
        (TableFacts("orders", 10, 10, 10, 10, mismatching=["2021-01-01"]), "orders: differs"),
    ],
)
def test_a_run_that_calls_itself_whole_while_a_table_is_not_says_so_before_anything_else(table, said):
    mail = render(facts(set(), outcome="OK", tables=[table]), [])
    top = " ".join(mail.text.partition("DATA")[0].split())
    assert f"But look at the rows: {said}." in top
    assert "ALL THERE, BUT ROW COUNTS DIFFER" in top
    assert 'class="good"' not in mail.html
    assert said in mail.text.partition("DATA")[2]


def test_nothing_at_all_is_still_a_mail():
    mail = render(RunFacts(), [])
    assert mail.outcome == "OK"
    assert mail.text.strip()


def test_zero_work_says_so():
    mail = render(RunFacts(source="nba", planned=0), [])
    assert "NOTHING TO DO" in mail.text
    assert "nothing was asked" in mail.text


def test_a_day_that_was_not_attempted_is_no_error():
    run, found = one_cause()
    skipped = [incident("NotAttempted", "breaker open", day) for day in DAYS[10:20]]
    text = render(run, [*found, *skipped]).text
    assert "NOT ATTEMPTED" in text
    assert "2021-01-11…2021-01-20 (10 days)" in text
    assert "1 cause" in text


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


def test_a_command_too_long_to_paste_names_the_cause_instead():
    found = [incident("SourceUnavailable", "down", day) for day in DAYS[::2]]
    run = facts(set(DAYS[::2]), cause_command_template="gapless retry-failed {backfill_id} --cause {fingerprint}")
    text = render(run, found).text
    assert re.search(r"^gapless retry-failed orders-2021-2025 --cause v1:[0-9a-f]{16}$", text, re.MULTILINE)


def test_own_commands_come_first_and_three_are_the_most():
    run, found = three_causes()
    run.commands = [Command("gapless resume orders-2021-2025", units=38, why="Everything that is missing.")]
    text = render(run, found).text
    section = text.partition("DO THIS NEXT")[2].partition("CAUSES")[0]
    assert section.index("gapless resume") < section.index("prefect deployment run")
    assert "3. " in section
    assert "4. " not in section
    assert text.partition("CAUSES")[2].count("prefect deployment run") == 1


def test_the_estimate_stands_against_what_happened():
    text = render(*three_causes()).text
    assert "2 h (estimate 1 h 40 min, +20%)" in text
    assert "8,174, reset 2026-01-11 00:00 UTC (01:00 Berlin)" in text


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


def test_provisional_days_drift_and_the_slowest_step_are_told():
    run = facts(
        set(),
        outcome="OK",
        provisional={"2025-12-30…2025-12-31": "fetched again from 2026-01-07 on"},
        schema_drift=["orders.items.colour: new, not loaded (1,826 pages)"],
        slowest_step="load of 2025-12, 4 min",
    )
    mail = render(run, [])
    for told in ("fetched again from 2026-01-07 on", "orders.items.colour: new", "load of 2025-12, 4 min"):
        assert told in mail.html
        assert told in " ".join(mail.text.split())


def test_samples_are_ten_at_most_and_spread_over_the_causes():
    found = [incident(f"Error{n % 4}", f"word {n % 4}: {n} of {n * n}", DAYS[n]) for n in range(80)]
    text = render(facts({each.partition for each in found}), found).text
    blocks = re.split(r"^C\d+  ", text.partition("CAUSES")[2], flags=re.MULTILINE)[1:]
    assert [1 + block.count("    also:") for block in blocks] == [2, 2, 2, 2]


def test_facts_survive_json():
    run, _ = three_causes()
    assert RunFacts.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert len(json.dumps(run.to_dict())) < 8_000


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
