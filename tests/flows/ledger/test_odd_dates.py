"""One odd date, and a source that has changed: what stops, what goes on, and what the mail says of it."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

from deployments.local.upstreams.season import games_on
from flows.ledger.ledger import Verdict
from flows.run.plain_orchestrator import PlainOrchestrator

if TYPE_CHECKING:
    from .conftest import Place, Ran

FIRST, LAST, DAYS = "2025-01-01", "2025-01-20", 20
ODD = "2025-01-03"


def answer(status: str, body: str | bytes = b"{}", *headers: str) -> str:
    """A whole HTTP answer, as the sample upstream's rule "raw" takes it."""
    data = body.encode() if isinstance(body, str) else body
    # The upstream closes the connection of a raw answer; a client that was not told may send the next request on it.
    head = ["Content-Type: application/json", "Connection: close", *headers, f"Content-Length: {len(data)}"]
    lines = [f"HTTP/1.1 {status}", *head]
    return "\r\n".join(lines) + "\r\n\r\n" + data.decode("latin-1")


def with_a_game_of_the_next_day(date: str) -> str:
    day = dt.date.fromisoformat(date)
    return json.dumps({"data": [*games_on(day), games_on(day + dt.timedelta(days=1))[0]]})


def test_one_date_that_lists_a_game_of_the_next_day_does_not_stop_the_others(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "raw", "raw": answer("200 OK", with_a_game_of_the_next_day(ODD)), "dates": [ODD]})
    run, facts = ran(FIRST, LAST)
    assert run.tally.calls == DAYS
    assert run.stopped_by is None
    assert facts.verdict == "FAILED"
    bad = {key: entry.error_type for key, entry in place.ledger.entries().items() if not entry.verdict.is_good}
    assert bad == {ODD: "SourceContractError"}
    (mail,) = place.inbox.messages()
    text = place.inbox.message(mail["id"])["text"]
    assert "needs a fix first" in text
    assert "DO THIS NEXT" not in text, "a retry does not heal it: its command stands beside the cause"
    assert ODD in text[text.index("CAUSES") :]


def test_an_odd_answer_is_about_its_date_whatever_it_is(place: Place, ran: Ran) -> None:
    odd = {
        "2025-01-01": answer("422 Unprocessable Entity", '{"error":"no such day"}'),
        "2025-01-03": answer("404 Not Found", '{"error":"no such day"}'),
        "2025-01-05": answer("200 OK", '{"data":[{"x":1}]}'),
        "2025-01-07": answer("200 OK", '{"data":[],"data":[]}'),
        "2025-01-09": answer("200 OK", "[" * 2000),
    }
    place.upstream.trouble(*({"kind": "raw", "raw": raw, "dates": [date]} for date, raw in odd.items()))
    run, _ = ran("2025-01-01", "2025-01-10")
    assert run.tally.calls == 10
    assert run.stopped_by is None
    verdicts = {key: entry.verdict for key, entry in place.ledger.entries().items()}
    assert {key for key, verdict in verdicts.items() if not verdict.is_good} == set(odd)
    assert {verdict for key, verdict in verdicts.items() if key not in odd} == {Verdict.VERIFIED}


def test_a_source_that_has_changed_stops_after_five_different_dates_and_says_so(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "raw", "raw": answer("200 OK", '{"games":[]}')})
    run, facts = ran(FIRST, LAST)
    assert facts.verdict == "ABORTED(red_flag)"
    assert 5 <= run.tally.calls <= 5 + 2 * run.asked.concurrency, "as many dates as may be begun at once"
    assert any("5 of the last 5 dates broke the source's contract alike" in note for note in facts.notes)
    assert facts.verdict_counts["planned"] == DAYS - run.tally.calls
    subjects = sorted("NEEDS A HUMAN" in mail["subject"] for mail in place.inbox.messages())
    assert subjects == [False, True], "a person is told once, when it is the source and no date"


def test_without_the_breaker_every_date_is_really_tried(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "raw", "raw": answer("200 OK", '{"games":[]}')})
    run, facts = ran(FIRST, LAST, breaker=False)
    assert run.tally.calls == DAYS
    assert run.stopped_by is None
    assert facts.verdict == "FAILED"


def test_an_empty_or_cut_body_is_tried_again_and_breaks_the_contract_of_its_date_only_when_it_repeats_at_every_try(
    place: Place, ran: Ran
) -> None:
    empty, cut = answer("200 OK", b""), answer("200 OK", '{"data":[{"id":1,')
    once, ever = {"2025-01-03": empty, "2025-01-05": cut}, {"2025-01-07": empty, "2025-01-09": cut}
    place.upstream.trouble(
        *({"kind": "raw", "raw": raw, "dates": [date], "times": 1} for date, raw in once.items()),
        *({"kind": "raw", "raw": raw, "dates": [date]} for date, raw in ever.items()),
    )
    run, _ = ran("2025-01-03", "2025-01-09", orchestrator=PlainOrchestrator(tries_again=True))
    tries = 1 + len(place.services.settings.retry_delays_s)
    between = ("2025-01-04", "2025-01-06", "2025-01-08")
    asked = place.upstream.calls.report()["by_date"]
    assert asked == dict.fromkeys(between, 1) | dict.fromkeys(once, 2) | dict.fromkeys(ever, tries)
    assert run.stopped_by is None, "it is about its date"
    entries = place.ledger.entries()
    for date in (*once, *between):
        assert (entries[date].verdict, entries[date].error_type) == (Verdict.VERIFIED, "")
    for date in ever:
        assert (entries[date].verdict, entries[date].error_type) == (Verdict.FAILED_PERMANENT, "SourceContractError")
        assert f"the same at each of {tries} tries" in entries[date].error


def test_a_body_that_was_cut_at_one_of_several_tries_is_no_broken_contract(place: Place, ran: Ran) -> None:
    busy, cut = answer("503 Service Unavailable", "{}"), answer("200 OK", '{"data":[{"id":1,')
    tries = 1 + len(place.services.settings.retry_delays_s)
    troubles = [
        {"kind": "raw", "raw": raw, "dates": ["2025-01-03"], "times": 1} for raw in [busy] * (tries - 1) + [cut]
    ]
    place.upstream.trouble(*troubles)
    ran("2025-01-03", "2025-01-03", orchestrator=PlainOrchestrator(tries_again=True))
    (entry,) = place.ledger.entries().values()
    assert (entry.verdict, entry.error_type) == (Verdict.FAILED_RETRYABLE, "SourceUnavailable")
    assert "the JSON ends too early" in entry.error
    assert "the same at each" not in entry.error


def test_no_incomplete_answer_is_evidence_of_an_empty_date(place: Place, ran: Ran) -> None:
    part = "Content-Range: bytes 0-10/52000"
    incomplete = {
        "2025-01-03": (answer("202 Accepted", '{"data":[]}'), Verdict.FAILED_RETRYABLE),
        "2025-01-05": (answer("204 No Content", '{"data":[]}'), Verdict.FAILED_RETRYABLE),
        "2025-01-07": (answer("206 Partial Content", '{"data":[]}', part), Verdict.TRUNCATED),
        "2025-01-09": (answer("200 OK", '{"data":[]}', part), Verdict.TRUNCATED),
    }
    place.upstream.trouble(*({"kind": "raw", "raw": raw, "dates": [date]} for date, (raw, _) in incomplete.items()))
    ran("2025-01-03", "2025-01-09")
    entries = place.ledger.entries()
    assert {date: (entries[date].verdict, entries[date].evidence) for date in incomplete} == {
        date: (verdict, "") for date, (_, verdict) in incomplete.items()
    }
    assert {entries[date].verdict for date in ("2025-01-04", "2025-01-06", "2025-01-08")} == {Verdict.VERIFIED}
    place.upstream.trouble()
    ran("2025-01-03", "2025-01-09")
    verdicts = {entry.verdict for entry in place.ledger.entries().values()}
    assert verdicts == {Verdict.VERIFIED}, "the next run gets the whole answers"


def test_the_evidence_of_an_empty_date_names_its_status(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "empty", "dates": [ODD]})
    ran(ODD, ODD)
    assert place.entry(ODD).evidence == '200 {"data":[]}'


def test_labels_that_lie_are_read_and_told_once_as_drift(place: Place, ran: Ran) -> None:
    days = ("2025-01-03", "2025-01-04")
    rules = [
        {
            "kind": "raw",
            "raw": answer(
                "200 OK", json.dumps({"data": games_on(dt.date.fromisoformat(day))}), "Content-Encoding: utf-8"
            ),
            "dates": [day],
        }
        for day in days
    ]
    place.upstream.trouble(*rules)
    _, facts = ran(*days)
    assert facts.verdict == "COMPLETE"
    assert facts.schema_drift == ["plain text is labelled 'utf-8': read as what it is"]
