"""The `gapless` command: exit codes, JSON, text, and what it never does."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import typer
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from alerting.instant import utc_now
from flows.cli.command import app
from flows.cli.examples import EXAMPLES
from flows.coordination.lease import Holder, Lease, read_lease
from flows.views.server_checks import server_checks
from flows.wiring import build_services
from scrapers.rate import Rate
from scrapers.registry import sources

SOURCE = "bdl_box_scores"
VERBS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)  # type: ignore[union-attr]
LOOKING = {
    "status": [SOURCE],
    "calendar": [SOURCE],
    "runs": [],
    "errors": [],
    "gaps": [SOURCE],
    "verify": [SOURCE],
    "audit": [SOURCE],
    "plan": [SOURCE, "2025-01-01", "2025-01-03"],
    "estimate": [SOURCE, "2025-01-01", "2025-01-03"],
    "cleanup": [SOURCE],
    "reconcile": [SOURCE],
    "preflight": [SOURCE],
    "send-owed": [],
}


def test_every_verb_of_the_contract_is_there() -> None:
    assert {
        *("first-date", "calendar"),
        *("run", "plan", "estimate", "preflight", "canary", "status", "runs", "errors", "gaps", "verify", "audit"),
        *("repair", "retry-failed", "reprocess", "release-lease", "cleanup", "record", "reconcile"),
        *("test-alert", "send-owed", "lift-cooldown", "accept-open"),
    } <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_takes_json(verb: str, gapless: Any) -> None:
    answered = gapless(verb, "--help")
    assert answered.code == 0
    assert "--json" in answered.out


@pytest.mark.parametrize(
    "line",
    [
        ["nonsense"],
        ["gaps"],
        ["gaps", SOURCE, "yesterday"],
        ["run", SOURCE, "2025-01-01", "2025-01-02"],  # no reason
        ["run", SOURCE, "2025-02-30", "2025-03-02", "--reason", "test"],
        ["status", "--unknown"],
        ["release-lease", SOURCE, "--reason", "x"],
        ["lift-cooldown", SOURCE],  # no reason
        ["run", SOURCE, "2025-01-01", "2025-01-02", "--reason", "test", "--max-concurrency", "0"],
        ["plan", SOURCE, "2025-01-01", "2025-01-02", "--mode", "sideways"],
    ],
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(line: list[str], gapless: Any) -> None:
    answered = gapless(*line)
    assert answered.code == 2
    assert "Traceback" not in answered.err + answered.out
    assert "Error" in answered.err


def test_d06_looking_makes_no_call_and_no_write_and_gives_one_json_document_without_a_secret(
    place: Any, gapless: Any
) -> None:
    place.fill("2025-01-01", 2)
    before, calls = place.objects(), place.upstream.calls.report()["total"]
    key = place.services.settings.source_secrets["bdl_api_key"].get_secret_value()
    for verb, arguments in LOOKING.items():
        answered = gapless(verb, *arguments, "--json")
        assert isinstance(answered.data, dict | list), verb
        text = gapless(verb, *arguments)
        assert (text.code, bool(text.out)) == (answered.code, True), verb
        assert key not in text.out + text.err + answered.out, verb
    assert place.objects() == before
    assert place.upstream.calls.report()["total"] == calls


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_ends_with_examples_that_it_understands(verb: str, gapless: Any) -> None:
    said = gapless(verb, "-h").out
    given = [line.split("#")[0].split() for line in said.splitlines() if line.strip().startswith(f"gapless {verb}")]
    assert len(given) == len(EXAMPLES[verb]) > 0
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    for arguments in EXAMPLES[verb]:
        assert f"  gapless {verb} {arguments}".rstrip() in said
        # Raises for whatever the command would refuse as wrong usage.
        command.make_context(verb, shlex.split(arguments))


@pytest.mark.usefixtures("place")
def test_missing_dates_can_be_added_as_the_refusal_writes_them(gapless: Any) -> None:
    line = ["plan", "coffee_shops", "--entities", "all"]
    refused = gapless(*line, "--json").data
    assert refused["message"] == "start_date and end_date are needed. Nothing was done"
    again = gapless(*line, *shlex.split(refused["next"].removeprefix("add ")), "--json").data
    assert again["message"].startswith("no entity of coffee_shops is known"), "past the dates"


def test_the_list_of_verbs_cuts_no_line(gapless: Any) -> None:
    listed = gapless("-h").out.partition("Commands:")[2]
    assert [line for line in listed.splitlines() if line.endswith("...")] == []
    assert len(listed.strip().splitlines()) == len(VERBS)


def test_a_shell_completes_verbs_options_and_sources() -> None:
    # One start of the command, as a start takes seconds: each asks for its own completion, as a shell does.
    asked = ["gapless repr", "gapless gaps bdl_box", "gapless run --fr"]
    program = (
        "import contextlib, os, sys, gapless\n"
        "for words in sys.argv[1:]:\n"
        "    os.environ.update(_GAPLESS_COMPLETE='complete_bash', COMP_WORDS=words, COMP_CWORD=str(words.count(' ')))\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        gapless.main()\n"
        "    print('\\0', end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *asked], capture_output=True, text=True, timeout=60, check=False
    )
    verbs, names, options, _ = (said.split() for said in done.stdout.split("\0"))
    assert verbs == ["reprocess"]
    assert names == [SOURCE]
    assert "--from-file" in options


def test_status_of_all_is_a_line_a_source_and_watches_at_a_terminal_alone(
    place: Any, gapless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill("2025-01-03", 2)
    place.fail("2025-01-05")
    lines = gapless("status").out.splitlines()
    assert len(lines) == 1 + len(sources())
    (mine,) = [line for line in lines if line.startswith(SOURCE)]
    assert mine.split()[1:5] == ["idle", "2", "of", "3"]
    assert mine.endswith(f"gapless retry-failed {SOURCE} --reason errors")
    assert set(gapless("status", "--json").data) == set(sources())
    refused = gapless("status", "--watch")
    assert (refused.code, refused.out) == (2, "")
    assert "needs a terminal" in refused.err

    looks: list[float] = []

    def ended_by_hand(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("flows.cli.looking.time.sleep", ended_by_hand)
    monkeypatch.setattr("flows.cli.looking.sys.stdout.isatty", lambda: True, raising=False)
    watched = gapless("status", SOURCE, "--watch")
    assert watched.code == 130
    assert watched.out.count("15. Can it wait until morning?") == 2


def test_the_calendar_has_a_letter_a_day_in_text_and_as_a_page(place: Any, gapless: Any, tmp_path: Path) -> None:
    place.fill("2025-01-03", 2)
    place.fail("2025-01-05")
    text = gapless("calendar", SOURCE).out
    assert text.startswith(f"{SOURCE}: 2 of 3 partitions done, 2025-01-03 to 2025-01-05\n")
    assert "  Jan    vvF" in text
    assert "1 partition failed_retryable (SourceUnavailable): 2025-01-05" in text
    assert "nothing is known yet" in gapless("calendar").out
    file = tmp_path / "calendar.html"
    answered = gapless("calendar", "--html", str(file))
    assert (answered.code, answered.out) == (0, f"written: {file}\n")
    assert "<b>vv</b><b class=F>F</b>" in file.read_text()
    refused = gapless("calendar", "--html", str(tmp_path))
    assert (refused.code, refused.err.count("cannot be written")) == (1, 1)


def test_which_days_of_a_month_are_missing_anywhere_is_one_command(place: Any, gapless: Any) -> None:
    place.fill("2025-01-03", 2)
    place.fail("2025-01-05")
    lines = gapless("calendar", "--in", "2025-01").out.splitlines()
    mine = lines[lines.index(f"{SOURCE}: 2 of 31 partitions done, 2025-01-01 to 2025-01-31") :][1:3]
    assert mine == [
        "  28 partitions planned (never requested): 2025-01-01…2025-01-02, 2025-01-06…2025-01-31",
        "  1 partition failed_retryable (SourceUnavailable): 2025-01-05",
    ]
    assert "bdl_games: 0 of 31 partitions done, 2025-01-01 to 2025-01-31" in lines
    data = gapless("calendar", SOURCE, "--in", "2025-01", "--json").data
    assert (data["partitions"], data["need_attention"]) == (31, 29)
    # A season, which some sources do not have, is the same dates for all.
    season = gapless("calendar", "--in", "2024-25").out
    for name in ("nba_gamelog", "racing_cards"):
        assert re.search(rf"^{name}: .* partitions done.*, 2024-10-01 to 2025-06-30$", season, re.M), name
    assert "bdl_injuries: 273 of 273 partitions done, 273 of them not at the source" in season
    assert "racing_cards: begins 2023-01-23" in gapless("calendar", "--in", "2019").out
    refused = gapless("calendar", "--in", "last year")
    assert (refused.code, "is not a period" in refused.err) == (2, True)


def test_n14_what_cannot_be_done_is_exit_code_1_and_one_line_that_says_what_to_do(place: Any, gapless: Any) -> None:
    before = place.objects()
    for line, said in (
        (["run", SOURCE, "2031-01-01", "2031-01-02", "--reason", "test"], "not over and settled"),
        (["record", "bf-unknown"], "no record.md"),
        (["retry-failed", SOURCE, "--run", "bf-unknown"], "there is no backfill 'bf-unknown'"),
        (["retry-failed", SOURCE, "--run", "bf-unknown", "--cause", "C1"], "there is no backfill 'bf-unknown'"),
        (
            ["run", SOURCE, "2025-01-01", "2025-01-02", "--reason", "test", "-p", "failed_of=bf-unknown"],
            "there is no backfill 'bf-unknown'",
        ),
        (["release-lease", SOURCE, "--run", "bf-x", "--reason", "why"], "does not hold"),
        (["lift-cooldown", SOURCE, "--reason", "why"], "there is no cooldown"),
    ):
        answered = gapless(*line)
        assert (answered.code, answered.out) == (1, ""), line
        assert answered.err.startswith("error: ")
        assert said in answered.err
        assert answered.err.count("\n") == 1
        as_json = gapless(*line, "--json")
        assert (as_json.code, bool(as_json.data["error"])) == (1, True)
    assert place.objects() == before


def test_a_source_that_does_not_exist_and_swapped_dates_are_wrong_usage_exit_code_2(place: Any, gapless: Any) -> None:
    before = place.objects()
    for line, said in (
        (["status", "nosuch"], "there is no source 'nosuch'"),
        (["lift-cooldown", "nosuch", "--reason", "why"], "there is no source 'nosuch'"),
        (["release-lease", "nosuch", "--run", "bf-1", "--reason", "why"], "there is no source 'nosuch'"),
        (["runs", "--source", "nosuch"], "there is no source 'nosuch'"),
        (["errors", "--source", "nosuch"], "there is no source 'nosuch'"),
        (["reviews", "--source", "nosuch"], "there is no source 'nosuch'"),
        (["run", "nosuch", "2025-01-01", "2025-01-03", "--reason", "test"], "there is no source 'nosuch'"),
        (["plan", SOURCE, "2025-01-03", "2025-01-01"], "after"),
        (["run", SOURCE, "2025-01-03", "2025-01-01", "--reason", "test"], "after"),
        (["gaps", SOURCE, "2025-01-03", "2025-01-01"], "after"),
        (["plan", SOURCE, "2024-13"], "'2024-13' is not a period"),
    ):
        answered = gapless(*line)
        assert (answered.code, answered.out) == (2, ""), line
        assert answered.err.startswith("error: ")
        assert said in answered.err
        as_json = gapless(*line, "--json")
        assert (as_json.code, bool(as_json.data["error"])) == (2, True)
    assert place.objects() == before


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "2025-02-30"])
def test_a_simulated_day_outside_the_calendar_is_wrong_usage(gapless: Any, day: str) -> None:
    answered = gapless("simulate", SOURCE, "2025-01-01", "2025-01-01", "--today", day, "--schedules", "1")
    assert (answered.code, answered.out) == (2, "")
    assert day in answered.err


@pytest.mark.parametrize("line", [("runs", "--last"), ("simulate", SOURCE, "--processes"), ("errors", "--hours")])
def test_a_number_beyond_all_measure_is_wrong_usage(gapless: Any, line: tuple[str, ...]) -> None:
    answered = gapless(*line, "9" * 21)
    assert (answered.code, answered.out) == (2, "")
    assert "less than or equal to" in answered.err


@pytest.mark.parametrize("given", ["nosuch", "nosuch=1"])
def test_a_parameter_that_does_not_exist_is_answered_with_those_that_do(gapless: Any, given: str) -> None:
    answered = gapless("run", SOURCE, "2025-01-01", "2025-01-02", "--reason", "test", "-p", given)
    assert answered.code == 2
    said = "".join(answered.err.replace("\u2502", "").split())
    for name in ("max_concurrency", "wait_for_lease_s", "order"):
        assert name in said


def test_first_date_of_a_source_that_was_never_searched_is_a_document_and_not_null(place: Any, gapless: Any) -> None:
    assert gapless("first-date", SOURCE, "--json").data == {"source": SOURCE, "first_date": None}


def test_status_without_storage_ends_in_10_s_with_the_next_command(
    gapless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPLESS_CONSOLE_ONLY", "true")
    monkeypatch.setenv("GAPLESS_PROJECT", "p")
    # Port 9 is discard: nothing listens there.
    for service in ("STORAGE", "BIGQUERY"):
        monkeypatch.setenv(f"{service}_EMULATOR_HOST", "http://127.0.0.1:9")
    answered = gapless("status", SOURCE)
    assert (answered.code, answered.out) == (1, "")
    assert "cannot be reached at http://127.0.0.1:9" in answered.err
    assert "make up" in answered.err
    calling = build_services(for_a_person=True).store._calling
    assert calling["retry"].timeout + max(calling["timeout"]) < 10


def test_without_a_prefect_server_none_is_started_and_the_next_step_is_said(place: Any, gapless: Any) -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        answered = gapless("run", SOURCE, "2025-01-01", "2025-01-02", "--reason", "test")
    assert answered.code == 1
    assert "PREFECT_API_URL is not set" in answered.err


def test_an_unreachable_prefect_server_is_said_in_one_line(place: Any, gapless: Any) -> None:
    # Port 9 is discard: nothing listens there.
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        answered = gapless("run", SOURCE, "2025-01-01", "2025-01-02", "--reason", "test")
    assert answered.code == 1
    assert "the Prefect API did not do it" in answered.err
    assert "gapless preflight" in answered.err
    assert "Traceback" not in answered.err


class _AsksForAPassword(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_health = self.path.endswith("/health")
        self.send_response(200 if is_health else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"true" if is_health else b'{"exception_message": "Unauthorized"}')

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_refuses_the_password_is_said_with_the_name_of_the_variable(place: Any, gapless: Any) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _AsksForAPassword)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/api"
    try:
        with temporary_settings({PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: 0}):
            answered = gapless("run", SOURCE, "2025-01-01", "2025-01-02", "--reason", "test")
            checked = {one.name: one for one in server_checks(SOURCE, Rate())}["prefect api"]
    finally:
        server.shutdown()
        server.server_close()
    assert answered.code == 1
    assert "PREFECT_API_AUTH_STRING is not the server's" in answered.err
    assert checked.result == "fail"
    assert "PREFECT_API_AUTH_STRING is not the server's" in checked.detail


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GAPLESS_SMTP_PORT", "hunter2-secret"),
        ("GAPLESS_SOURCE_SECRETS", '{"bdl_api_key": ["hunter2-secret"]}'),
        ("GAPLESS_SOURCE_SECRETS", "hunter2-secret"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_without_its_value(
    variable: str, value: str, gapless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    answered = gapless("status", SOURCE)
    assert answered.code == 1
    assert variable.removeprefix("GAPLESS_").lower() in answered.err
    assert "hunter2" not in answered.err + answered.out


def test_d08_ctrl_c_is_exit_code_130_and_leaves_what_was_done(place: Any) -> None:
    place.fill("2025-01-01", 1)
    before = place.objects()
    code = (
        "import sys, flows.cli.checking as views\n"
        "def forever(*given, **named):\n"
        "    print('looking', flush=True)\n"
        "    import time\n"
        # In short naps: Python 3.14 begins a long one without looking for a signal that has just come.
        "    while True:\n"
        "        time.sleep(0.05)\n"
        "views.read_inventory = forever\n"
        "from flows.cli.command import main\n"
        f"sys.exit(main(['gaps', '{SOURCE}']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "looking\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert place.objects() == before


def test_without_a_terminal_nothing_is_ever_asked(place: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "run", SOURCE, "2015-01-01", "2024-12-31", "--reason", "test"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "3,653 to fetch" in done.stdout
    assert "?" not in done.stdout


def test_h05_h14_d06_a_plan_says_how_much_is_done_and_how_much_is_left(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 2)
    place.land("2025-01-03")
    found = gapless("plan", SOURCE, "2025-01-01", "2025-01-05", "--json").data
    assert {name: count for name, count in found["counts"].items() if count} == {"skip": 2, "reload": 1, "fetch": 2}
    text = gapless("plan", SOURCE, "2025-01-01", "2025-01-05").out
    for part in ("2 to fetch", "1 to load from landed payloads", "2 done already", "2025-01-04…2025-01-05"):
        assert part in text
    recounted = found["bigquery_dry_run"].pop("recount_bytes")  # of games that may not stand on these dates as well
    assert found["bigquery_dry_run"] == {"partitions": 3, "replace_bytes": 0}
    assert recounted > 0
    again = gapless("plan", SOURCE, "2025-01-01", "2025-01-02", "--mode", "full")
    (line,) = (line for line in again.out.splitlines() if line.startswith("dry run"))
    assert re.fullmatch(r"dry run    [1-9][\d.]* \w+ read to replace and [1-9][\d.]* \w+ to recount 2 partitions", line)


def test_sources_without_dates_are_not_compared(gapless: Any) -> None:
    answered = gapless("coverage", "civic_band", "2024")
    assert (answered.code, answered.out) == (2, "")
    assert "civic_band has no dates to compare" in answered.err


def test_v11_h24_verify_prints_five_lines_and_its_exit_code_is_the_result(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 3)
    before, calls = place.objects(), place.upstream.calls.report()["total"]
    good = gapless("verify", SOURCE, "2025-01-01", "2025-01-03")
    assert good.code == 0, good.out
    assert (place.objects(), place.upstream.calls.report()["total"]) == (before, calls), "it makes no run and no call"
    assert [line[:4] for line in good.out.splitlines()[:5]] == ["PASS"] * 5
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-02'")
    bad = gapless("verify", SOURCE, "2025-01-01", "2025-01-03", "--json")
    assert bad.code == 1
    assert "SHORT" in bad.data["problems"]["2025-01-02"] or "few" in bad.data["problems"]["2025-01-02"]
    assert {check["name"]: check["passed"] for check in bad.data["checks"]}["recount agrees"] is False
    assert set(bad.data["tables"]) == {"nba_bdl_games", "nba_bdl_player_stats"}


def test_a_family_is_planned_and_looked_at_as_a_whole_and_a_period_serves_a_single_source_too(
    place: Any, gapless: Any
) -> None:
    before = place.objects()
    plan = gapless(
        "plan", "racing", "2024-02", "--skip", "racing_reference", "-p", "ignore_requires=true", "--json"
    ).data
    assert [step["source"] for step in plan["steps"]] == ["racing_cards", "racing_results"]
    assert (plan["start_date"], plan["end_date"]) == ("2024-02-01", "2024-02-29")
    assert plan["left_out"] == {"racing_reference": "skipped"}
    assert plan["steps"][0]["counts"] == {"fetch": 29}
    shown = gapless("estimate", "nba", "2024-25").out
    assert "1. nba_schedule" in shown
    assert "nba 2024-10-01..2025-06-30: " in shown.splitlines()[-1]
    members = gapless("status", "racing", "--json").data
    assert list(members) == ["racing_cards", "racing_reference", "racing_results"]
    assert len(gapless("status", "racing").out.splitlines()) == 1 + len(members)
    assert place.objects() == before

    month = gapless("plan", SOURCE, "2025-01", "--json").data
    assert month["counts"] == {"fetch": 31}
    for line, told in (
        (["plan", SOURCE, "2025-01", "--skip", "bdl_games"], "--skip: for a family (hemnet, nba, odds, racing), and"),
        (["plan", "racing", "2025-01", "2025-01-31"], "2025-01 is a period; an END needs"),
        (["plan", "racing", "2025-01", "--dates", "2025-01-03"], "--dates: for one source, and racing is a family"),
        (["run", "racing", "--reason", "test"], "a period (2024-25, 2024, 2024-03), or START and END, are needed"),
    ):
        refused = gapless(*line)
        assert refused.code == 2, line
        assert told in " ".join(refused.err.replace("│", " ").split()), refused.err


def test_a_family_is_reviewed_source_by_source_and_the_refusal_has_their_commands_in_order(
    place: Any, gapless: Any
) -> None:
    before = place.objects()
    line = ("2025-01-01", "2025-01-31", "--mode", "full", "--publish", "after_approval", "--reason", "corrupted")
    refused = gapless("run", "nba", *line)
    assert refused.code == 2
    assert "Nothing was done" in refused.err
    commands = [one.split() for one in refused.err.splitlines() if one.startswith("  gapless run ")]
    assert [one[2] for one in commands][:2] == ["nba_schedule", "bdl_games"]
    assert {tuple(one[-6:]) for one in commands} == {line[2:]}
    assert commands[0][3:5] == ["--entities", "2024-25"]
    assert commands[1][3:5] == list(line[:2])
    assert place.objects() == before

    first, second = (gapless("plan", *one[2 : one.index("--publish")]) for one in commands[:2])
    assert first.code == 0
    assert "nba_schedule is not done with" in second.err, "in this order, and in no other"


def test_d20_a_month_shows_its_coverage_its_rows_and_how_many_lines_a_game_has(place: Any, gapless: Any) -> None:
    place.fill("2025-01-31", 2)
    ratio = "nba_bdl_player_stats_per_nba_bdl_games"
    months = gapless("verify", SOURCE, "2025-01-31", "2025-02-01", "--json").data["by_month"]
    assert {month: (one["partitions"], one["done"], one["percent"]) for month, one in months.items()} == {
        "2025-01": (1, 1, 100.0),
        "2025-02": (1, 1, 100.0),
    }
    january = months["2025-01"]
    assert january[ratio] == round(january["nba_bdl_player_stats"] / january["nba_bdl_games"], 2) > 15
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-31' AND MOD(player_id, 2) = 0")
    shown = gapless("verify", SOURCE, "2025-01-31", "2025-02-01", "--by-month").out
    (header,) = [line.split() for line in shown.splitlines() if line.startswith("period")]
    (line,) = [line.split() for line in shown.splitlines() if line.startswith("2025-01 ")]
    assert float(line[header.index(ratio)]) < january[ratio]


def test_h16_the_numbers_of_status_are_those_of_the_tables(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 3)
    found = gapless("status", SOURCE, "--json").data
    (rows,) = place.sql("SELECT COUNT(*) AS n FROM {lines}")
    assert found["rows"]["nba_bdl_player_stats"] == rows["n"]
    assert (found["partitions"], found["verdicts"], found["done"]) == (3, {"verified": 3}, "2025-01-01…2025-01-03")
    assert found["last_update"]


def test_release_lease_refuses_a_living_holder_and_keeps_who_and_why(place: Any, gapless: Any) -> None:
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=600)
    line = ("release-lease", SOURCE, "--run", "bf-1", "--reason", "host burned down")
    refused = gapless(*line)
    assert refused.code == 1
    assert "may be alive" in refused.err
    assert gapless("release-lease", SOURCE, "--run", "bf-2", "--reason", "x").code == 1
    assert gapless(*line, "--force").code == 0
    held = read_lease(place.store, SOURCE)
    assert held is not None
    assert (held.state, held.released_reason) == ("released", "host burned down")
    (trace,) = place.store.list("audit/leases/")
    kept = json.loads(place.store.read(trace.name)[0])
    assert kept["forced"] is True
    assert kept["released_by"] == held.released_by != ""
    assert kept["lease"]["backfill_id"] == "bf-1"


def test_v17_an_expired_lease_is_released_without_force(
    place: Any, gapless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Written now, as if it were two hours ago.
    monkeypatch.setattr("alerting.store_clock.StoreClock.written_at", lambda *_: None)
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now() - dt.timedelta(hours=2), ttl_s=60)
    assert gapless("release-lease", SOURCE, "--run", "bf-1", "--reason", "gone").code == 0


def test_trap_09_a_test_alert_arrives_and_a_dead_mail_server_is_exit_code_1(
    place: Any, gapless: Any, inbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gapless("test-alert").code == 0
    assert len(inbox.messages()) == 1
    inbox.trouble("451")
    bad = gapless("test-alert", "--json")
    assert bad.code == 1
    assert bad.data["passed"] is False


def test_every_documented_command_is_a_real_one() -> None:
    pages = sorted((Path(__file__).parents[3] / "docs").glob("*.md"))
    named = set(re.findall(r"^\s*(?:\$ )?gapless ([a-z-]+)", "".join(page.read_text() for page in pages), re.MULTILINE))
    assert named
    assert named <= set(VERBS)


@pytest.mark.usefixtures("place")
def test_v09_the_command_plans_one_kind_of_documents_of_one_town_and_of_all(gapless: Any) -> None:
    one = gapless("plan", "civic_band", "--entities", "alameda.ca~minutes", "--json")
    assert (one.code, [item["partition"] for item in one.data["items"]]) == (0, ["alameda.ca~minutes"]), one.err
    agendas, both = (gapless("plan", "civic_band", "--entities", names, "--json") for names in ("all~agendas", "all"))
    assert 2 * len(agendas.data["items"]) == len(both.data["items"]) > 2
    assert both.data["counts"] == {"fetch": len(both.data["items"])}
    wrong = gapless("plan", "civic_band", "--entities", "alameda.ca~videos")
    assert wrong.code == 1
    assert "names no known kind of document (known: agendas, minutes)" in wrong.err
