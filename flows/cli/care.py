"""The commands that decide and tidy up: approve, reject, release-lease, lift-cooldown, accept-open, first-date,
cleanup, reconcile, test-alert, send-owed.
"""

from __future__ import annotations

import datetime as dt
import getpass
import socket
from typing import Annotated

import typer

from alerting.delivery import owed_summaries
from alerting.instant import utc_now
from alerting.wording import plural
from flows.cli.output import Json, Source, Why, check_range, day, finish, say, show, table
from flows.coordination.cooldown import lift_by_hand
from flows.coordination.intervention import Intervention
from flows.ledger.cooldowns import cooling_until
from flows.ledger.reviews import named_review
from flows.planning.known_first_date import FirstDate, read_first_date
from flows.planning.refused_tier import lift_refusal
from flows.planning.requested import Selection
from flows.truth.accepting import accept_open
from flows.truth.cleanup import find_leftovers, remove_leftovers
from flows.truth.find_first_date import find_first_date, forget_first_date, refuse_without_first_date
from flows.truth.reconcile import rebuild_ledger
from flows.wiring import build_services

app = typer.Typer()
Apply = Annotated[bool, typer.Option("--apply", help="Do it; otherwise only list.")]

_COLUMNS = ("partition", "is_there", "status", "said")


def who() -> str:
    """The person at this terminal, for audits."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"unknown@{socket.gethostname()}"


@app.command("release-lease")
def release_lease(
    source: Source,
    reason: Why,
    run: Annotated[
        str, typer.Option("--run", metavar="ID", help="Id of the holder, as shown by status.", show_default=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Even if the holder may be alive.")] = False,
    as_json: Json = False,
) -> None:
    """Free the lease of a dead run. Refuses while the holder may be alive; logged under audit/."""
    from flows.cli.release_lease import release_by_hand

    services = build_services()
    services.source_kit(source)
    found = release_by_hand(services, source, run, Intervention(who(), reason, utc_now()), force=force)
    show(found, [f"released {source} from {run}; kept in {found['audit']}"], as_json)


@app.command("lift-cooldown")
def lift_cooldown(
    source: Source,
    reason: Why,
    site: Annotated[str, typer.Option("--site", metavar="SITE", help="Only this site of the source.")] = "",
    as_json: Json = False,
) -> None:
    """Allow runs of a blocked source again. Also of one that the account's plan excluded; logged under audit/."""
    services, by = build_services(), Intervention(who(), reason, utc_now())
    refused = None if site else lift_refusal(services.source_kit(source), who=by.who, reason=by.reason, at=by.at)
    if refused is not None and cooling_until(services.store, source, by.at) is None:
        show(refused, [f"{source} may ask again for the tier {refused['tier']}; kept in {refused['audit']}"], as_json)
        return
    found = lift_by_hand(services.store, source, by, site)
    line = f"{site or source} is free; it was in cooldown until {found['cooldown']['until']}; kept in {found['audit']}"
    show(found, [line], as_json)


@app.command("accept-open")
def accept_open_items(
    source: Source,
    partitions: Annotated[
        list[str], typer.Argument(metavar="DATE", help="Dates, as listed by audit.", show_default=False)
    ],
    reason: Why,
    as_json: Json = False,
) -> None:
    """Accept that open items will never become final. Logged under audit/."""
    services = build_services()
    services.source_kit(source)
    found = accept_open(services, source, partitions, who=who(), reason=reason, now=utc_now())
    rows = [{"partition": one.partition, "open_items": one.open_items, "accepted": one.open_accepted} for one in found]
    show(rows, table(rows, ("partition", "open_items", "accepted")), as_json)


ReviewId = Annotated[str, typer.Argument(metavar="ID", help="Id of the review: bf-...", show_default=False)]


@app.command()
def approve(
    review: ReviewId,
    reason: Annotated[str, typer.Option("--reason", "-r", metavar="WHY", help="Why, in your own words.")] = "",
    as_json: Json = False,
) -> None:
    """Publish a review, then verify it. Refused if the tables have changed."""
    _decide(review, reason, as_json, publish=True)


@app.command()
def reject(review: ReviewId, reason: Why, as_json: Json = False) -> None:
    """Drop a review; tables and verdicts stay as they are."""
    _decide(review, reason, as_json, publish=False)


def _decide(review_id: str, reason: str, as_json: bool, *, publish: bool) -> None:
    from flows.closing import review as reviewing

    services, by = build_services(), Intervention(who(), reason, utc_now())
    closed = (reviewing.approve if publish else reviewing.reject)(services, review_id, by)
    review = named_review(services.store, review_id)
    verdict = closed.facts.verdict if closed else ""
    line = f"{review.state.value}: {plural(len(review.keys), 'partition')} of {review.source} ({review.ranges})"
    data = {**review.model_dump(mode="json", exclude={"diff"}), "verdict": verdict}
    show(data, [f"{line}; {verdict}" if publish else line], as_json)
    finish(not publish or verdict == "COMPLETE")


@app.command()
def cleanup(
    source: Source,
    apply: Apply = False,
    min_age_hours: Annotated[
        float, typer.Option("--older-than-hours", min=1, max=876_600, help="Keep what is younger.")
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """List or delete abandoned attempts and staging."""
    services, now = build_services(), utc_now()
    services.source_kit(source)
    found = (remove_leftovers if apply else find_leftovers)(services, source, now, dt.timedelta(hours=min_age_hours))
    removed = len(found) if apply else 0
    rows = [one.to_dict() for one in found]
    verb = f"{removed} removed" if apply else "nothing was removed; --apply removes them"
    head = f"{plural(len(found), 'leftover')} older than {plural(min_age_hours, 'hour')}"
    head += f"; {verb}" if found else ""
    data = {"source": source, "applied": apply, "removed": removed, "leftovers": rows}
    show(data, [head, *table(rows, ("kind", "name", "objects", "size_bytes", "why"))], as_json)


@app.command()
def reconcile(source: Source, apply: Apply = False, as_json: Json = False) -> None:
    """Rebuild lost ledger entries. Uses manifests, receipts and a recount; readable entries stay."""
    services = build_services()
    services.source_kit(source)
    rows = [one.to_dict() for one in rebuild_ledger(services, source, utc_now(), apply)]
    verb = "rebuilt" if apply else "can be rebuilt; --apply writes them" if rows else "to rebuild"
    data = {"source": source, "applied": apply, "entries": rows}
    show(
        data,
        [f"{plural(len(rows), 'ledger entry')} {verb}", *table(rows, ("partition", "was", "verdict", "attempt"))],
        as_json,
    )


@app.command("test-alert")
def send_test_alert(as_json: Json = False) -> None:
    """Send a test mail through every channel. Exit code 1 if one fails."""
    problems = build_services().alerts.test_alert()
    lines = [f"{name}: {problem or 'accepted'}" for name, problem in problems.items()]
    show({"channels": problems, "passed": not any(problems.values())}, lines, as_json)
    finish(not any(problems.values()))


@app.command("send-owed")
def send_owed(as_json: Json = False) -> None:
    """Send pending mails and close dead runs. The watchdog does it, too: after five minutes, then ever more seldom."""
    from flows.closing.close import close_dead_runs

    services, now = build_services(), utc_now()
    closed = close_dead_runs(services, now, at_once=True)
    left = [{"backfill_id": one.backfill_id, "why": one.why} for one in owed_summaries(services.store, now)]
    say(as_json, f"{len(closed)} handled: {', '.join(closed) or 'nothing was pending'}")
    show({"handled": closed, "still_open": left}, table(left, ("backfill_id", "why")), as_json)
    finish(not any(one["why"] in ("stale", "unsent", "resting") for one in left))


@app.command("first-date")
def first_date(
    source: Source,
    start: Annotated[dt.date | None, typer.Argument(parser=day, metavar="START", help="First date to look at.")] = None,
    end: Annotated[dt.date | None, typer.Argument(parser=day, metavar="END", help="Last date to look at.")] = None,
    rest_days: Annotated[
        int,
        typer.Option("--rest-days", min=0, max=2000, help="Longest off-season in days; 0: the source's own, else 154."),
    ] = 0,
    forget: Annotated[bool, typer.Option("--forget", help="Forget the result; plans include all dates again.")] = False,
    as_json: Json = False,
) -> None:
    """Find the first date with rows. Takes a few dozen calls; plans then skip earlier dates.

    Without dates, show the last result. Lands nothing.
    """
    services = build_services()
    if forget:
        there = forget_first_date(services, source)
        text = "forgotten; plans ask for every date again" if there else "nothing was recorded"
        show({"source": source, "forgotten": there}, [f"{source}: {text}"], as_json)
        finish(True)
    if start is None or end is None:
        if start or end:
            raise typer.BadParameter("both are needed", param_hint="START END")
        refuse_without_first_date(services.source_kit(source).scraper)
        known = read_first_date(services.store, source)
        show(known.model_dump() if known else {"source": source, "first_date": None}, _lines(known, source), as_json)
        finish(True)
    check_range(start, end)
    found = find_first_date(services, source, Selection(start, end), who=who(), rest_days=rest_days)
    recorded = found.first_date > found.start_date
    lines = _lines(found, source) if recorded else [
        f"{source} has rows at {found.first_date} already; nothing was recorded: search from an earlier START"
    ]  # fmt: skip
    show({**found.model_dump(), "recorded": recorded}, lines, as_json)


def _lines(found: FirstDate | None, source: str) -> list[str]:
    if found is None:
        return [f"{source}: not searched for yet: gapless first-date {source} START END"]
    head = f"{source} has rows from {found.first_date} on: {plural(found.calls, 'call')}, "
    head += f"{plural(len(found.looks), 'date')} known"
    before = [look for look in found.looks if look.partition < found.first_date.isoformat()]
    rows = [{name: getattr(look, name) for name in _COLUMNS} for look in before[-7:]]
    return [head, found.evidence, *table(rows, _COLUMNS)]
