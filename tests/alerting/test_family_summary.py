"""One mail for a family of sources: what it says, and that it is one whoever dies."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from family_cases import CASES, FAMILY_COMMAND, MARCH, family, step, two_lack_dates_of_one_cause
from summary_cases import incident

from alerting.delivery import owed_summaries, send_owed_summary
from alerting.family_summary import render_family
from alerting.family_view import Section
from alerting.incident import Incident
from alerting.live_alerts import AlertSettings
from alerting.ranges import expand_dates
from alerting.run_facts import RunFacts
from alerting.summary import MAX_HTML_BYTES, encoded_size

GOLDEN = Path(__file__).parent / "golden"
ID = "bf-0f3a5c1e7b1d"
SOURCES = ("racing_reference", "racing_cards", "racing_results")


@pytest.mark.parametrize("case", CASES)
def test_the_family_mail_is_the_one_that_was_looked_at(case):
    """Golden files; after a wanted change: GAPLESS_GOLDEN=write pytest, look at the pages, commit."""
    mail = render_family(*CASES[case]())
    for suffix, content in (("txt", f"{mail.subject}\n\n{mail.text}"), ("html", mail.html)):
        path = GOLDEN / f"{case}.{suffix}"
        if os.environ.get("GAPLESS_GOLDEN") == "write":
            path.write_text(content, encoding="utf-8")
        assert content == path.read_text(encoding="utf-8"), f"{path.name} differs"
    assert [line for line in mail.text.splitlines() if len(line) > 78 and "://" not in line] == []
    assert encoded_size(mail.html) <= MAX_HTML_BYTES
    assert "<script" not in mail.html


def test_the_first_command_is_the_family_s_and_each_section_retries_exactly_what_its_source_lacks():
    text = render_family(*two_lack_dates_of_one_cause()).text
    blocks = re.findall(r"^prefect deployment run .*?(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    commands = [shlex.split(block.replace("\\\n", "")) for block in blocks]
    assert commands[0] == shlex.split(FAMILY_COMMAND)
    asked: dict[str, set[str]] = {}
    for command in commands[1:]:
        (dates,) = [word.removeprefix("dates=") for word in command if word.startswith("dates=")]
        asked.setdefault(command[3].removeprefix("backfill/"), set()).update(expand_dates(dates))
    assert asked == {"racing_cards": set(MARCH[4:7]), "racing_results": {MARCH[5], MARCH[9]}}


def test_a_cause_of_two_sources_counts_once_and_is_told_in_full_once():
    mail = render_family(*two_lack_dates_of_one_cause())
    assert "· 2 causes ·" in mail.subject
    assert "racing_cards (C1, 3 days), racing_results (C2, 1" in mail.text
    assert mail.text.count("The same as C1 of racing_cards.") == 1
    assert sorted(mail.memories) == sorted(SOURCES)


def test_twelve_sources_with_a_hundred_causes_each_still_fit_the_page_and_the_text_counts_them_all():
    def many(source: str) -> Section:
        found = [
            incident(f"{source.title()}Error{at}", "x" * 900, MARCH[at % 31], source=source, traceback="t\n" * 40)
            for at in range(100)
        ]
        facts = step("racing_cards", dict.fromkeys(MARCH, "failed_permanent"))
        return Section(RunFacts(**{**vars(facts), "source": source}), found)

    sections = [many(f"source{at:02}") for at in range(12)]
    mail = render_family(family("FAILED", sections), sections)
    assert encoded_size(mail.html) <= MAX_HTML_BYTES
    assert mail.left_out
    assert mail.text.count("CAUSES (100)") == 12
    assert all(section.facts.source in mail.html for section in sections)


def test_no_secret_of_any_section_leaves():
    secret = "sk-live-4f9d2c7a1b8e6035"
    sections = [
        Section(
            step("racing_cards", {MARCH[0]: "failed_permanent"}, notes=[f"api_key={secret}"]),
            [Incident.of({"scraper": "racing_cards", "date": MARCH[0], "error": f"Authorization: Bearer {secret}"})],
        )
    ]
    mail = render_family(family("FAILED", sections, notes=[f"password={secret}"]), sections)
    whole = mail.subject + mail.text + mail.html + "".join(each.data.decode() for each in mail.attachments)
    assert secret not in whole


# -- one mail, whoever dies ----------------------------------------------------------------------------------------


def planned(source: str) -> RunFacts:
    return RunFacts(
        backfill_id=f"{ID}-{source}",
        source=source,
        start_date=MARCH[0],
        end_date=MARCH[-1],
        planned=31,
        verdict_counts={"planned": 31},
        calendar=dict.fromkeys(MARCH, "planned"),
    )


@pytest.fixture
def begun(make_manager, channel):
    """A family whose first source is done, whose second one is at work, and whose third one never begins."""
    parent = make_manager(channel)
    facts = RunFacts(
        backfill_id=ID, source="racing", start_date=MARCH[0], end_date=MARCH[-1], range_command=FAMILY_COMMAND
    )
    parent.enable_backfill_mode(ID, source="racing", ttl_s=600, facts=facts, covers=[planned(one) for one in SOURCES])
    for source in SOURCES[:2]:
        manager = make_manager(channel)
        manager.enable_backfill_mode(f"{ID}-{source}", source=source, ttl_s=600, facts=planned(source), told_by=ID)
        manager.record_error(Incident(source=source, error_type="CoverageLow", message="7 of 8", partition=MARCH[3]))
        manager.flush("window")
        if source == SOURCES[0]:
            manager.disable_backfill_mode(run_facts=RunFacts(verdict="FAILED", outcome="FAILED"))
    return parent


def test_a_covered_backfill_sends_nothing_and_the_one_mail_has_its_errors(begun, store, channel, clock):
    assert channel.mails == []
    states = {each.backfill_id: each.entry.state for each in owed_summaries(store, clock())}
    assert states == {ID: "open", f"{ID}-racing_cards": "open"}
    begun.disable_backfill_mode(run_facts=RunFacts(verdict="FAILED", outcome="FAILED"))
    (mail,) = channel.mails
    text = mail.get_body(("plain",)).get_content()
    assert mail["X-Backfill-Source"] == "racing"
    assert " ".join(text.split()).count("7 of 8") == 2, "once for both, and with the first; the second refers to it"
    assert "RACING_RESULTS - Not started, 31 days missing" in text
    (attached,) = mail.iter_attachments()
    assert attached.get_content().count(b"CoverageLow") == 2


def test_of_a_family_that_died_anybody_sends_the_one_mail_once(begun, store, channel, clock, tmp_path):
    clock.tick(seconds=601)
    late = {each.backfill_id for each in owed_summaries(store, clock()) if each.is_due}
    assert late == {ID, f"{ID}-racing_cards"}
    sent = [
        send_owed_summary(store, [channel], backfill_id, now=clock(), spool_folder=tmp_path / "spool").status
        for backfill_id in (f"{ID}-racing_cards", ID, f"{ID}-racing_cards", ID)
    ]
    assert sent == ["archived", "sent", "archived", "already_sent"]
    assert len(channel.mails) == 1
    assert owed_summaries(store, clock()) == []


def test_a_family_calls_for_a_human_once_whichever_of_its_sources_needs_one(begun, make_manager, channel):
    for source in SOURCES[1:]:
        manager = make_manager(channel)
        manager.enable_backfill_mode(f"{ID}-{source}", source=source, facts=planned(source), told_by=ID)
        manager.record_error(
            Incident(source=source, error_type="AuthenticationError", message="key refused", severity="CRITICAL")
        )
    (notice,) = channel.mails
    assert notice["Subject"] == "[backfill][NEEDS A HUMAN] racing_cards · AuthenticationError"
    assert f"backfill {ID}, attempt 1" in notice.get_content()


def test_a_covered_backfill_sends_neither_start_nor_progress_mails(make_manager, channel, clock):
    manager = make_manager(channel, settings=AlertSettings(start_mail=True, progress_mail_hours=1.0))
    manager.enable_backfill_mode(f"{ID}-racing_cards", source="racing_cards", told_by=ID, ttl_s=90_000)
    clock.tick(hours=5)
    manager.heartbeat(RunFacts())
    assert channel.mails == []
