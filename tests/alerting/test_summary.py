from __future__ import annotations

import html
import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from summary_cases import AT, CASES, DAYS, all_failed, crashed, facts, incident, one_cause, three_causes

from alerting.advice import estimate
from alerting.errors import LeaseHeld
from alerting.limiter import Limiter
from alerting.memory_store import MemoryObjectStore
from alerting.message import text_of
from alerting.outbox import OutboxEntry
from alerting.ranges import expand_dates
from alerting.refused_mail import Refusal, send_refusal
from alerting.run_facts import Command, RunFacts, TableFacts
from alerting.summary import MAX_HTML_BYTES, encoded_size, render

GOLDEN = Path(__file__).parent / "golden"


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
    assert len(commands) == 4
    asked = [
        set(expand_dates(word.removeprefix("dates=")))
        for command in commands
        for word in command
        if word.startswith("dates=")
    ]
    healing = days_of["SourceUnavailable"] | days_of["CoverageLow"]
    assert asked[0] == healing
    assert sorted(map(sorted, asked[1:])) == sorted(map(sorted, days_of.values()))
    assert [command[-1].rpartition(" ")[2] for command in commands] == ["all-retryable", "C1", "C2", "C3"]


def test_two_causes_that_a_retry_heals_need_one_paste_for_the_whole_range_without_what_needs_a_repair():
    run, found = three_causes()
    run.range_command = "prefect deployment run 'backfill/orders' -p start_date=2021-01-01 -p end_date=2025-12-31"
    section = render(run, found).text.partition("DO THIS NEXT")[2].partition("CAUSES")[0]
    (command,) = commands_in(section)
    repairs = {each.partition for each in found if each.error_type == "SourceContractError"}
    assert command[:8] == [
        *("prefect", "deployment", "run", "backfill/orders", "-p", "start_date=2021-01-01", "-p"),
        "end_date=2025-12-31",
    ]
    assert set(expand_dates(command[-1].removeprefix("exclude="))) == repairs
    assert "Excludes what needs a fix first" in " ".join(section.split())


@pytest.mark.parametrize("repair", [[], ["2021-02-01"]], ids=["both heal", "beside one that needs a repair"])
def test_three_dates_of_two_causes_that_heal_need_one_paste(repair):
    found = [incident("SourceUnavailable", "GET /v1/orders answered 503", day, status=503) for day in DAYS[:2]]
    found += [incident("CoverageLow", "expected 9 rows, got 8", DAYS[4], stage="verify")]
    found += [incident("SourceContractError", "no list at data", day) for day in repair]
    section = render(facts({each.partition for each in found}), found).text.partition("DO THIS NEXT")[2]
    (command,) = commands_in(section.partition("CAUSES")[0])
    (dates,) = [word.removeprefix("dates=") for word in command if word.startswith("dates=")]
    assert expand_dates(dates) == [DAYS[0], DAYS[1], DAYS[4]]


def test_a_run_that_goes_on_by_itself_says_so_first_and_shows_commands_only_to_go_sooner():
    mail = render(*CASES["paused_run"]())
    assert mail.subject == (
        "[backfill][PAUSED, 12 of 31 done] orders_api 2021-01-01…2021-01-31 · resumes 2026-01-11 00:01 UTC · 1 cause"
    )
    first = " ".join(mail.text.split("TO RESUME SOONER")[0].split())
    assert first.startswith("PAUSED, RESUMES AT 2026-01-11 00:01 UTC (01:01 BERLIN): NOTHING TO DO")
    assert "It resumes automatically as flow run amber-otter." in first
    assert "DO THIS NEXT" not in mail.text
    sooner = mail.text.partition("TO RESUME SOONER")[2].partition("CAUSES")[0]
    assert len(re.findall(r"^prefect ", sooner, re.MULTILINE)) == 1
    assert "To resume sooner" in mail.html
    card = mail.text.partition("CAUSES (1)")[2].partition("DATA")[0]
    assert "needs a fix first" not in card
    assert "retryable when the budget resets" in card
    assert "CRITICAL" not in card
    assert "prefect " not in card, "the run itself retries it"
    assert (mail.outcome, mail.critical) == ("PAUSED", False)


@pytest.mark.parametrize("case", ["1_cause", "3_causes", "1826_errors", "crashed_run"])
def test_the_page_has_the_same_commands_as_the_text_and_a_shell_reads_them_alike(case):
    mail = render(*CASES[case]())
    blocks = [html.unescape(block) for block in re.findall(r'<pre class="code"[^>]*>(.*?)</pre>', mail.html, re.DOTALL)]
    shown = [shlex.split(block.replace("\\\n", "")) for block in blocks if block.startswith(("prefect ", "gapless "))]
    pasted = re.findall(r"^(?:prefect|gapless) .*?(?=\n\n|\Z)", mail.text, re.DOTALL | re.MULTILINE)
    assert shown
    assert shown == [shlex.split(block.replace("\\\n", "")) for block in pasted]


@pytest.mark.parametrize(
    ("counts", "calls", "failed", "told"),
    [
        ({"verified": 10, "failed_retryable": 3}, 22, 12, "3 calls"),
        ({"verified": 10, "failed_retryable": 3}, 32, 12, "6 calls"),
        ({"failed_retryable": 3}, 12, 12, "3 calls"),
        ({"verified": 10, "planned": 3}, 20, None, "6 calls"),
    ],
    ids=["one call a date", "two calls a date", "none was answered", "nothing failed"],
)
def test_what_a_resume_needs_leaves_out_calls_that_failed_and_were_repeated(
    counts: dict[str, int], calls: int, failed: int | None, told: str
) -> None:
    facts = RunFacts(source="s", verdict_counts=counts, calls=calls, calls_failed=failed)
    assert estimate(facts, 3) == told


def test_what_a_resume_needs_is_not_divided_by_what_was_done_before_or_without_a_call():
    counts = {"verified": 364, "failed_retryable": 1}
    facts = RunFacts(source="s", verdict_counts=counts, calls=14, calls_failed=4, wall_s=60)
    worked_on, fetched = {**counts, "verified": 9}, {**counts, "verified": 5}
    known = replace(facts, work_counts=worked_on, fetch_counts=fetched)
    assert estimate(known, 10) == "20 calls, about 1 minute"
    assert estimate(replace(facts, work_counts={}, fetch_counts={}), 10) == ""


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


def filled_in(url: str) -> dict[str, object]:
    return dict(json.loads(parse_qs(urlsplit(url).query)["parameters"][0]))


def test_links_stand_before_commands_and_the_form_of_the_retry_is_filled_in_as_the_first_command_says():
    known, found = one_cause()
    template = "prefect deployment run 'backfill/orders' -p start_date=2021-01-01 -p end_date=2025-12-31 "
    template += "-p dates='{ranges}' -p reason=errors -p wait_for_lease_s=21600"
    mail = render(replace(known, retry_command_template=template, range_command=""), found)
    assert mail.text.index("Open run:") < mail.text.index("Retry in the form:") < mail.text.index("Coverage:")
    assert mail.text.index("Coverage:") < mail.text.index("DO THIS NEXT")
    links = [html.unescape(one) for one in re.findall(r'<a class="line" href="([^"]+)"', mail.html)]
    assert [urlsplit(one).path for one in links] == [
        "/runs/flow-run/1",
        "/v2/deployments/deployment/7/run",
        "/artifacts/key/calendar-orders-api",
    ]
    assert filled_in(links[1]) == {
        "source": "orders_api",
        "start_date": "2021-01-01",
        "end_date": "2025-12-31",
        "dates": "2021-01-01..2021-01-03",
        "reason": "errors",
        "wait_for_lease_s": 21600,
    }
    assert links[1] in mail.text


def test_what_is_too_long_for_a_link_is_asked_for_by_its_run_and_a_good_run_has_nothing_to_retry():
    known, found = all_failed()
    (link,) = re.findall(r'href="([^"]+parameters[^"]+)"', render(known, found).html)
    assert len(link) < 2_000
    assert filled_in(html.unescape(link)) == {
        "source": "orders_api",
        "start_date": DAYS[0],
        "end_date": DAYS[-1],
        "reason": "errors",
        "advanced": {"failed_of": "orders-2021-2025"},
    }
    good = render(*CASES["0_causes"]())
    assert "Retry in the form" not in good.html + good.text
    assert "Open run" in good.html


def test_the_subject_is_stable_short_and_says_what_happened():
    subject = render(*three_causes()).subject
    assert subject == "[backfill][FAILED, 38 of 1,826 missing] orders_api 2021-01-01…2025-12-31 · 3 causes · 1 action"


def test_a_killed_run_says_that_it_does_not_know():
    mail = render(*CASES["killed_run"]())
    assert "died without a report" in mail.text
    assert mail.subject == "[backfill][STOPPED, at least 3 missing] nba · 1 cause"


def test_a_crashed_run_says_so_and_gives_one_command_for_what_was_never_begun_or_finished():
    known, found = crashed()
    mail = render(known, found)
    assert "It crashed" in mail.text
    (rest,) = re.split(r"^\d\. ", mail.text.partition("CAUSES")[0], flags=re.MULTILINE)[1:]
    dates = re.search(r"'dates=([^']*)'", rest.replace("'\\\n'", ""))[1]
    assert set(expand_dates(dates)) == {*DAYS[270:365], *DAYS[10:13]}
    assert "30 are landed and cost no call" in " ".join(rest.split())


def test_a_red_flag_that_was_raised_again_is_told_once_with_its_last_numbers_and_every_other_note_is_kept():
    flag = "red flag, error rate: 6 of the last 23 dates failed; in {} s one date is tried again"
    others = ["2025-01-01: fetched again", "2025-01-02: fetched again"]
    run, found = three_causes()
    notes = [flag.format(30), others[0], flag.format(60), others[1], flag.format(120)]
    told = " ".join(render(replace(run, notes=notes), found).text.split())
    assert told.count("red flag, error rate") == 1
    assert f"{flag.format(120)} (3 times)" in told
    assert all(note in told for note in others)


def test_while_the_source_is_in_cooldown_every_command_says_from_when_it_works_and_what_frees_it():
    mail = render(*CASES["blocked_run"]())
    commands = len(re.findall(r"^prefect deployment run ", mail.text, re.MULTILINE))
    assert commands == 2
    told = " ".join(mail.text.split())
    assert told.count("Works from 2026-01-10 03:30 UTC (04:30 Berlin) on; before that:") == commands
    assert len(re.findall(r"^ +gapless lift-cooldown orders_api --reason WHY$", mail.text, re.MULTILINE)) == commands
    assert mail.html.count("Works from 2026-01-10 03:30 UTC (04:30 Berlin) on") == commands
    assert "Works from" not in render(*crashed()).text


def test_many_causes_give_one_command_for_all_that_heals_and_then_only_what_needs_a_repair():
    text = render(*all_failed()).text
    section = text.partition("DO THIS NEXT")[2].partition("CAUSES")[0]
    commands = re.findall(r"^gapless .*$", section, re.MULTILINE)
    assert [command.rpartition(" ")[2] for command in commands] == ["all-retryable", "C1", "C3"]
    assert section.count("Fix first") == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (TableFacts("orders", 10, 10, 7, 7), "orders: 3 not loaded"),
        (TableFacts("orders", 10, 4, 4, 4), "orders: 6 not landed"),
        (TableFacts("orders", 10, 10, 10, 9), "orders: 1 not verified"),
        (TableFacts("orders", 10, 10, 12, 12), "orders: 2 too many loaded"),
        (TableFacts("orders", 10, 10, 10, None), "orders: not recounted"),
        (TableFacts("orders", 10, 10, 10, 10, mismatching=["2021-01-01"]), "orders: differs"),
    ],
)
def test_a_run_that_calls_itself_whole_while_a_table_is_not_says_so_before_anything_else(table, said):
    mail = render(facts(set(), outcome="OK", tables=[table]), [])
    top = " ".join(mail.text.partition("DATA")[0].split())
    assert f"Row counts differ: {said}." in top
    assert "COMPLETE, BUT ROW COUNTS DIFFER" in top
    assert 'class="good"' not in mail.html
    assert said in mail.text.partition("DATA")[2]


def test_rows_that_a_source_does_not_announce_are_said_so_in_words():
    mail = render(facts(set(), outcome="OK", tables=[TableFacts("orders", None, 1_234, 1_234, 1_234)]), [])
    assert re.search(r"^  orders +not announced +1,234 +1,234 +1,234$", mail.text, re.MULTILINE)
    assert ">not announced</td>" in mail.html


def test_nothing_at_all_is_still_a_mail():
    mail = render(RunFacts(), [])
    assert mail.outcome == "OK"
    assert mail.text.strip()


def test_zero_work_says_so():
    mail = render(RunFacts(source="nba", planned=0), [])
    assert "NOTHING TO DO" in mail.text
    assert "no call, no write" in mail.text


def test_a_day_that_was_not_attempted_is_no_error():
    run, found = one_cause()
    skipped = [incident("NotAttempted", "breaker open", day) for day in DAYS[10:20]]
    text = render(run, [*found, *skipped]).text
    assert "NOT ATTEMPTED" in text
    assert "2021-01-11…2021-01-20 (10 days)" in text
    assert "1 cause" in text


def test_a_command_too_long_to_paste_names_the_cause_instead():
    found = [incident("SourceUnavailable", "down", day) for day in DAYS[::2]]
    run = facts(set(DAYS[::2]), cause_command_template="gapless retry-failed {backfill_id} --cause {fingerprint}")
    text = render(run, found).text
    assert re.search(r"^gapless retry-failed orders-2021-2025 --cause v2:[0-9a-f]{16}$", text, re.MULTILINE)


def test_own_commands_come_first_and_one_for_all_that_heals_follows():
    run, found = three_causes()
    run.commands = [Command("gapless resume orders-2021-2025", units=38, why="Everything that is missing.")]
    text = render(run, found).text
    section = text.partition("DO THIS NEXT")[2].partition("CAUSES")[0]
    assert section.index("gapless resume") < section.index("prefect deployment run")
    assert re.findall(r"^\d\.", section, re.MULTILINE) == ["1.", "2."]
    assert text.partition("CAUSES")[2].count("prefect deployment run") == 3


def test_the_estimate_stands_against_what_happened():
    text = render(*three_causes()).text
    assert "2 h (estimate 1 h 40 min, +20%)" in text
    assert "8,174, reset 2026-01-11 00:00 UTC (01:00 Berlin)" in text


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


def test_the_mail_of_a_refused_run_is_the_one_that_was_looked_at(channel):
    """Golden file; see above."""
    place = "orders_api 2021-01-01…2021-12-31"
    held = LeaseHeld(
        "backfill bf-71d0c2a4e9b3 (2021-01-01..2021-12-31) has worked on orders_api since 2026-01-10 00:00 UTC, last "
        "heartbeat 01:59:50 UTC; nothing was done",
        hint="wait for its end: gapless status orders_api",
    )
    again = (
        "prefect deployment run 'backfill/orders_api' -p start_date=2021-01-01 -p end_date=2021-12-31 -p reason=errors"
    )
    links = {"Prefect run": "http://127.0.0.1:4200/runs/flow-run/2"}
    entry = OutboxEntry("bf-9c1e55d0a7f2", source="orders_api", facts=RunFacts(links=links).to_dict())
    assert send_refusal([channel], entry, Refusal(place, held, again), Limiter(MemoryObjectStore(), lambda: AT), AT)
    (mail,) = channel.mails
    content = f"{mail['Subject']}\n\n{text_of(mail)}"
    path = GOLDEN / "refused_run.txt"
    if os.environ.get("GAPLESS_GOLDEN") == "write":
        path.write_text(content, encoding="utf-8")
    assert content == path.read_text(encoding="utf-8"), f"{path.name} differs"
    (command,) = commands_in(content)
    assert command == shlex.split(again)


@pytest.mark.parametrize(
    ("counts", "subject", "headline", "sentence"),
    [
        (
            {"verified": 2, "shrunk": 1},
            "[backfill][FAILED, 1 of 3 shrunk]",
            "1 day shrunk, old rows kept",
            "1 shrunk at the source, old rows kept, 1 cause.",
        ),
        (
            {"shrunk": 1, "failed_retryable": 2},
            "[backfill][FAILED, 2 of 3 missing, 1 shrunk]",
            "2 days missing, 1 shrunk, old rows kept",
            "2 missing, 1 cause. 1 shrunk at the source, old rows kept.",
        ),
        (
            {"verified": 1, "failed_retryable": 2, "not_renewed": 2},
            "[backfill][FAILED, 2 of 3 not renewed]",
            "2 days not renewed, old rows kept",
            "2 not renewed, old rows kept, 1 cause.",
        ),
        (
            {"shrunk": 1, "failed_retryable": 2, "not_renewed": 1},
            "[backfill][FAILED, 1 of 3 missing, 1 shrunk, 1 not renewed]",
            "1 day missing, 1 shrunk, 1 not renewed, old rows kept",
            "1 missing, 1 cause. 1 shrunk at the source, old rows kept. 1 not renewed, old rows kept.",
        ),
    ],
    ids=["alone", "beside missing ones", "nothing came", "all of it"],
)
def test_a_date_whose_old_rows_are_kept_is_not_called_missing(counts, subject, headline, sentence):
    days = ["2025-01-01", "2025-01-02", "2025-01-03"]
    told = RunFacts(
        backfill_id="bf-1",
        source="orders_api",
        planned=3,
        verdict_counts={verdict: count for verdict, count in counts.items() if verdict != "not_renewed"},
        not_renewed=counts.get("not_renewed", 0),
        calendar=dict.fromkeys(days, "shrunk"),
    )
    mail = render(told, [incident("Shrunk", "fewer rows than before", days[0])])
    assert mail.subject.startswith(subject)
    assert mail.text.startswith(headline.upper())
    assert sentence in " ".join(mail.text.split())


@pytest.mark.parametrize(("days", "said"), [(1, "attempts: 6"), (2, "attempts: 6 on average")])
def test_the_attempts_at_a_single_date_are_a_number_and_those_at_several_an_average(days, said):
    failed = [incident("SourceUnavailable", "busy", f"2025-01-0{day}", attempts=6) for day in range(1, days + 1)]
    mail = render(RunFacts(backfill_id="bf-1", source="orders_api"), failed)
    assert said in [line.strip() for line in mail.text.splitlines()]
