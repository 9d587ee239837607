"""The scheduled flows with something to do: the daily run reads late changes, its alerts are live, one digest a day."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
SOURCE = "bdl_box_scores"
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")


def daily(bench: Bench) -> tuple[Any, list[str]]:
    """One daily run, and the dates it says it read."""
    ended = bench.wait(bench.start_deployment(f"daily/{SOURCE}", days_back=3, wait_for_lease_s=120))
    return ended, re.findall(r"\d{4}-\d{2}-\d{2}", ended.message.partition(")")[0])


def ledger(dates: list[str]) -> dict[str, Any]:
    """Everything that is known about the dates."""
    from flows.ledger.ledger import Ledger
    from flows.wiring import build_services

    entries = Ledger(build_services().store, SOURCE).refresh(dates[0], dates[-1])
    return {key: dataclasses.asdict(entry) for key, entry in entries.items()}


def rows(bench: Bench, date: str) -> dict[str, tuple[int, str]]:
    return {table: bench.table_hash(table, date, date) for table in TABLES}


def all_mails(bench: Bench) -> list[dict[str, Any]]:
    """Every mail there is, newest first, those of no backfill too."""
    import urllib.request

    inbox = bench.stack.urls()["inbox"]

    def read(path: str) -> Any:
        with urllib.request.urlopen(f"{inbox}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    return [read(f"/api/messages/{one['id']}") | one for one in read("/api/messages")]


@pytest.fixture
def window(bench: Bench) -> list[str]:
    """The dates of the daily run, as if nobody had ever asked for them."""
    from flows.daily import settled_window
    from flows.wiring import build_services

    dates = [one.key for one in settled_window(build_services().source_kit(SOURCE).scraper, 3, dt.datetime.now(dt.UTC))]
    bench.forget(dates[0], dates[-1])
    return dates


def test_unchanged_dates_are_read_and_not_loaded_again_a_late_change_is_and_a_loss_is_not(
    bench: Bench, window: list[str]
) -> None:
    first, dates = daily(bench)
    assert dates == window, "the newest settled dates of the source's own zone"
    assert first.message.endswith("3 loaded, 0 unchanged, 0 not well"), first.message
    known, loaded = ledger(dates), {date: rows(bench, date) for date in dates}

    bench.forget_calls()
    second, _ = daily(bench)
    assert second.message.endswith("0 loaded, 3 unchanged, 0 not well"), second.message
    assert bench.calls()["by_date"] == dict.fromkeys(dates, 1)
    assert ledger(dates) == known, "no receipt, no verdict, no attempt of an unchanged date is touched"

    changed = dates[1]
    bench.trouble({"kind": "late_game", "dates": [changed]})
    third, _ = daily(bench)
    assert third.message.endswith("1 loaded, 2 unchanged, 0 not well"), third.message
    assert rows(bench, changed)[TABLES[0]][0] == loaded[changed][TABLES[0]][0] + 1
    after = ledger(dates)
    assert [date for date in dates if after[date] != known[date]] == [changed]
    assert after[changed]["verdict"] == "verified"

    with_late_game = {date: rows(bench, date) for date in dates}
    bench.trouble({"kind": "one_game", "dates": [changed]})
    fourth, _ = daily(bench)
    assert fourth.state_type == "FAILED"
    assert fourth.message.endswith(f"0 loaded, 2 unchanged, 1 not well: {changed}"), fourth.message
    assert ledger(dates)[changed]["verdict"] == "shrunk"
    assert {date: rows(bench, date) for date in dates} == with_late_game, "what was verified stays"

    bench.trouble({"kind": "late_game", "dates": [changed]})
    fifth, _ = daily(bench)
    assert fifth.message.endswith("1 loaded, 2 unchanged, 0 not well"), fifth.message
    assert {date: rows(bench, date) for date in dates} == with_late_game
    assert ledger(dates)[changed]["verdict"] == "verified"


def test_alerts_of_a_daily_run_are_live_a_repeat_cools_down_and_the_digest_tells_of_both(
    bench: Bench, window: list[str]
) -> None:
    first, dates = daily(bench)
    assert first.state_type == "COMPLETED", first.message
    before, loaded = len(all_mails(bench)), rows(bench, dates[1])

    # Words of its own make a cause that nobody was told of yet.
    cause = f"closed for stocktaking {uuid.uuid4().hex[:6]}"
    bench.trouble({"kind": "status", "code": 503, "text": cause, "dates": [dates[1]]})
    failed, _ = daily(bench)
    assert failed.state_type == "FAILED"
    assert failed.message.endswith(f"2 unchanged, 1 not well: {dates[1]}"), failed.message
    assert rows(bench, dates[1]) == loaded, "what was there stays"
    alerts = all_mails(bench)[: len(all_mails(bench)) - before]
    assert len(alerts) == 1, [mail["subject"] for mail in alerts]
    assert dates[1] in alerts[0]["text"]
    assert "X-Backfill-Id" not in alerts[0]["headers"], "an alert, not a summary"

    again, _ = daily(bench)
    assert again.state_type == "FAILED"
    assert again.message.endswith(f"2 unchanged, 1 not well: {dates[1]}"), again.message
    alerts = all_mails(bench)[: len(all_mails(bench)) - before]
    assert len(alerts) == 1, f"the same cause is told once an hour: {[mail['text'] for mail in alerts]}"

    other = f"moved to another house {uuid.uuid4().hex[:6]}"
    bench.trouble({"kind": "status", "code": 503, "text": other, "dates": [dates[1]]})
    third, _ = daily(bench)
    assert third.message.endswith(f"2 unchanged, 1 not well: {dates[1]}"), third.message
    newest, first_told, *_ = all_mails(bench)
    assert len(all_mails(bench)) == before + 2, "another cause is told within the hour of the first"
    assert (other in newest["text"], cause in newest["text"]) == (True, False), newest["text"]
    assert (other in first_told["text"], cause in first_told["text"]) == (False, True), first_told["text"]

    bench.trouble()
    healed, _ = daily(bench)
    assert healed.state_type == "COMPLETED", healed.message
    assert len(all_mails(bench)) == before + 2

    sent = bench.wait(bench.start_deployment("digest/digest"))
    assert (sent.state_type, sent.message) == ("COMPLETED", "sent")
    digest, *others = all_mails(bench)
    assert len(others) == before + 2
    assert "digest" in digest["subject"]
    (told,) = re.findall(rf"^C\d+ .*×(\d+)\n.*{dates[1]}.*{cause}|^C\d+ .*×(\d+)\n.*{cause}", digest["text"], re.M)
    assert "2" in told, digest["text"]

    nothing = bench.wait(bench.start_deployment("digest/digest", hours=0.0001))
    assert nothing.message == "no alert in 0.0001 hours, no mail"
    assert len(all_mails(bench)) == before + 3


def test_the_schedule_of_the_season_that_is_on_is_read_every_morning_by_a_deployment_of_its_own(bench: Bench) -> None:
    """No dates are asked for: a season is an entity."""
    deployment = bench.api("/deployments/name/daily/nba_schedule")
    assert [one["schedule"]["cron"] for one in deployment["schedules"]] == ["10 7 * * *"]
    first = bench.wait(bench.start_deployment("daily/nba_schedule"))
    assert first.state_type == "COMPLETED", first.message
    assert re.fullmatch(r"1 entity read \(20\d\d-\d\d\): 1 loaded, 0 unchanged, 0 not well", first.message)
