"""The first words of the summary: outcome, subject, headline and the verdict sentence. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from alerting.advice import estimate
from alerting.fingerprint import Causes
from alerting.ranges import unit_name
from alerting.redaction import one_line
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.summary_rows import VERDICT_LABELS, removed_rows, table_state
from alerting.wording import cut_items, moment, plural, span


@dataclass(frozen=True, slots=True)
class Tally:
    """Partitions of the plan by what became of them; ``known`` when the run had counted them, ``unit`` singular.

    Of those that are not good some have their old rows: ``shrunk`` ones, for which the source came with fewer, and
    those that are ``not_renewed``, as nothing new could be had.
    """

    planned: int
    good: int
    missing: int
    known: bool
    unit: str
    shrunk: int = 0
    not_renewed: int = 0

    @property
    def lost(self) -> int:
        """Those without rows, as far as anybody knows."""
        return self.missing - self.shrunk - self.not_renewed


def tally_of(facts: RunFacts, touched: set[str]) -> Tally:
    """Counts from the run's verdicts; without any, ``touched`` partitions are what is missing for certain."""
    counts = facts.verdict_counts
    planned = facts.planned if facts.planned is not None else sum(counts.values()) or len(facts.calendar)
    good = sum(counts.get(verdict, 0) for verdict in GOOD_VERDICTS)
    known = bool(counts) or facts.planned == 0
    missing = max(planned - good, 0) if known else len(touched)
    unit = unit_name(list(facts.calendar) or touched or ["2000-01-01"], 1)
    if not known:
        return Tally(planned, good, missing, known, unit)
    shrunk = min(counts.get("shrunk", 0), missing)
    return Tally(planned, good, missing, known, unit, shrunk, min(facts.not_renewed, missing - shrunk))


PAUSED = "PAUSED"
"""A run that was stopped and goes on by itself: nobody has to do anything."""
NOT_BEGUN = "ABORTED(not_begun)"
"""The verdict of a backfill that another mail covers, and that was never begun."""


def outcome_of(facts: RunFacts, causes: Causes, tally: Tally) -> str:
    """The word in brackets: as the run said, else derived."""
    if facts.outcome == "STOPPED" and facts.resumes_at:
        return PAUSED
    if facts.outcome:
        return facts.outcome
    if not causes.groups and not tally.missing:
        return "OK"
    return "OK-WITH-GAPS" if facts.verdict == "ACCEPTABLE" else "FAILED"


def subject_of(facts: RunFacts, causes: Causes, outcome: str, tally: Tally, actions: int) -> str:
    """Stable over the attempts of a run (no date of sending), so that threads hold."""
    place = f"{facts.source or facts.backfill_id} {span(facts.start_date, facts.end_date)}"
    parts = [f"[backfill][{outcome}{count_text(outcome, tally)}] {place}".strip()]
    if outcome == PAUSED:
        parts.append(f"resumes {moment(facts.resumes_at)}")
        actions = 0
    if causes.groups:
        parts.append(plural(len(causes.groups), "cause"))
    if facts.warnings:
        parts.append(plural(len(facts.warnings), "warning"))
    if actions:
        parts.append(plural(actions, "action"))
    return one_line(" · ".join(parts))[:200]


def count_text(outcome: str, tally: Tally) -> str:
    """What a glance must not misread: of a run that was cut short how much is done, else how much is missing.

    >>> tally = Tally(31, 12, 19, True, "day")
    >>> [count_text(outcome, tally) for outcome in ("CANCELLED", "FAILED", "OK")]
    [', 12 of 31 done', ', 19 of 31 missing', ' 12/31']
    >>> [count_text("FAILED", Tally(31, 12, 19, True, "day", shrunk)) for shrunk in (19, 2)]
    [', 19 of 31 shrunk', ', 17 of 31 missing, 2 shrunk']
    >>> [count_text("FAILED", Tally(31, 12, 19, True, "day", 2, renewed)) for renewed in (17, 1)]
    [', 2 of 31 shrunk, 17 not renewed', ', 16 of 31 missing, 2 shrunk, 1 not renewed']
    """
    if not tally.known:
        return f", at least {tally.missing:,} missing" if tally.missing else ""
    if outcome == "OK":
        return f" {tally.good}/{tally.planned}"
    if outcome in ("STOPPED", PAUSED, "CANCELLED"):
        return f", {tally.good:,} of {tally.planned:,} done"
    counts = [(tally.lost, "missing"), *((count, what) for count, what, _ in _kept(tally))]
    (first, what), *others = [one for one in counts if one[0]] or counts[:1]
    return f", {first:,} of {tally.planned:,} {what}" + "".join(f", {count:,} {other}" for count, other in others)


def _kept(tally: Tally) -> list[tuple[int, str, str]]:
    """How many have their old rows, why in a word, and in a sentence."""
    found = (
        (tally.shrunk, "shrunk", "shrunk at the source, old rows kept"),
        (tally.not_renewed, "not renewed", "not renewed, old rows kept"),
    )
    return [one for one in found if one[0]]


def _lacking(tally: Tally) -> str:
    """``2 days missing, 1 shrunk, old rows kept``."""
    parts = [f"{plural(tally.lost, tally.unit)} missing"] if tally.lost else []
    for count, what, _ in _kept(tally):
        parts.append(f"{f'{count:,}' if parts else plural(count, tally.unit)} {what}")
    return ", ".join([*parts, *(["old rows kept"] if _kept(tally) else [])])


def headline_of(facts: RunFacts, outcome: str, tally: Tally, differing: bool) -> str:
    """A few words for the top of the page; ``differing`` when a table has not the rows that it should have."""
    warned = bool(facts.warnings)
    if outcome == PAUSED:
        return f"Paused, resumes at {moment(facts.resumes_at, facts.zone)}: nothing to do"
    if tally.known and not tally.planned:
        return "Nothing to do"
    ended = {"STOPPED": "Stopped early", "CANCELLED": "Cancelled"}.get(outcome, "")
    if facts.verdict == "ABORTED(crashed)":
        ended = "Crashed"
    if facts.verdict in ("ABORTED(refused)", NOT_BEGUN):
        ended = "Not started"
    missing = _lacking(tally) if tally.known else ""
    if ended:
        return ", ".join(part for part in (ended, missing) if part)
    if outcome == "OK":
        if differing:
            return "Complete, but row counts differ"
        return "Complete, with a warning" if warned else "Complete"
    if tally.missing:
        return _lacking(tally)
    return "Failed" if outcome == "FAILED" else "Done, with gaps"


def verdict_of(facts: RunFacts, causes: Causes, tally: Tally, outcome: str) -> str:
    """What happened, what is missing, whether anything is broken, and what resuming costs: decide to act or not."""
    counts, said = facts.verdict_counts, []
    if not tally.known and outcome in ("OK", "FAILED"):
        # A script that has no plan to recount: it ended properly, and said what it had to say.
        said.append("This is all that was reported; the number planned is unknown.")
    elif not tally.known:
        said.append("The run died without a report; this is what it had recorded.")
        if tally.missing:
            said.append(f"{plural(tally.missing, tally.unit)} certainly failed; the ledger has the others.")
    elif not tally.planned:
        said.append("Everything was already done: no call, no write.")
    elif counts.get("verified", 0) == tally.good:
        said.append(f"{tally.good:,} of {plural(tally.planned, tally.unit)} loaded and verified.")
    else:
        parts = [f"{counts[verdict]:,} {VERDICT_LABELS[verdict]}" for verdict in GOOD_VERDICTS if counts.get(verdict)]
        said.append(f"{tally.good:,} of {plural(tally.planned, tally.unit)} done ({', '.join(parts)}).")
    waiting = sum(counts.get(verdict, 0) for verdict in ("landed", "loaded"))
    if tally.known and tally.missing:
        said.append(_missing(tally, causes, waiting, sum(counts.get(verdict, 0) for verdict in ("planned", "paused"))))
    elif causes.groups and tally.known:
        said.append(f"{plural(len(causes.groups), 'cause')} of errors along the way.")
    if why := why_it_ended(facts.verdict):
        said.append(why)
    if causes.not_attempted and not tally.known:
        said.append(f"{plural(len(causes.not_attempted), tally.unit)} not attempted.")
    if removed := removed_rows(facts):
        said.append(f"Rows removed: {cut_items(list(removed), 4)}.")
    wrong = [f"{table.name}: {state}" for table in facts.tables if (state := table_state(table))]
    if wrong and tally.known and not tally.missing:
        said.append(f"Row counts differ: {cut_items(wrong, 3)}.")
    if outcome not in ("OK", "OK-WITH-GAPS") and not waiting:
        said.append("Nothing is half-written: a partition is replaced as a whole or stays as it was.")
    if outcome == PAUSED:
        named = f" as flow run {facts.resumes_as}" if facts.resumes_as else ""
        said.append(f"It resumes automatically{named}.")
    if tally.known and tally.missing and (needs := estimate(facts, tally.missing - waiting)):
        said.append(f"Resuming needs {needs}.")
    return " ".join(said)


def _missing(tally: Tally, causes: Causes, waiting: int, untried: int) -> str:
    """``98 missing: 3 failed (1 cause), 30 landed and not yet verified, 65 not attempted.``"""
    failed = tally.lost - waiting - untried
    why = plural(len(causes.groups), "cause") if causes.groups else ""
    because = f", {why}" if why else ""
    if told := " ".join(f"{count:,} {why}." for count, _, why in _kept(tally)):
        if not tally.lost:
            return f"{told[:-1]}{because}."
        lost = replace(tally, missing=tally.lost, shrunk=0, not_renewed=0)
        return f"{_missing(lost, causes, waiting, untried)} {told}"
    if failed == tally.missing:
        return f"{tally.missing:,} missing{because}."
    parts = (
        (failed, f"failed{f' ({why})' if why else ''}"),
        (waiting, "landed and not yet verified"),
        (untried, "not attempted"),
    )
    if untried == tally.missing:
        return f"{tally.missing:,} missing, not attempted."
    return f"{tally.missing:,} missing: {', '.join(f'{count:,} {word}' for count, word in parts if count > 0)}."


_ENDINGS = {
    "crashed": "It crashed; this mail is built from what it had stored.",
    "user": "It was cancelled.",
    "deadline": "It reached its deadline.",
    "budget": "Its budget is used up; a rerun does exactly what it did not start.",
    "red_flag": "It stopped at a red flag.",
    "critical": "It stopped at an error that every date would hit.",
    "refused": "It was refused before it started.",
    "not_begun": "It was not started.",
}


def why_it_ended(verdict: str) -> str:
    """One sentence for ``ABORTED(...)``, "" for a run that came to its end."""
    if not verdict.startswith("ABORTED"):
        return ""
    return _ENDINGS.get(verdict.removeprefix("ABORTED(").removesuffix(")"), f"The run stopped early: {verdict}.")
