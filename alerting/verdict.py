"""The first words of the summary: outcome, subject, headline and the verdict sentence. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from alerting.advice import estimate
from alerting.fingerprint import Causes
from alerting.ranges import unit_name
from alerting.redaction import one_line
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.summary_rows import VERDICT_LABELS
from alerting.wording import plural, span


@dataclass(frozen=True, slots=True)
class Tally:
    """Partitions of the plan by what became of them; ``known`` when the run had counted them, ``unit`` singular."""

    planned: int
    good: int
    missing: int
    known: bool
    unit: str


def tally_of(facts: RunFacts, touched: set[str]) -> Tally:
    """Counts from the run's verdicts; without any, ``touched`` partitions are what is missing for certain."""
    counts = facts.verdict_counts
    planned = facts.planned if facts.planned is not None else sum(counts.values()) or len(facts.calendar)
    good = sum(counts.get(verdict, 0) for verdict in GOOD_VERDICTS)
    known = bool(counts) or facts.planned == 0
    missing = max(planned - good, 0) if known else len(touched)
    return Tally(planned, good, missing, known, unit_name(list(facts.calendar) or touched or ["2000-01-01"], 1))


def outcome_of(facts: RunFacts, causes: Causes, tally: Tally) -> str:
    """The word in brackets: as the run said, else derived."""
    if facts.outcome:
        return facts.outcome
    if not causes.groups and not tally.missing:
        return "OK"
    return "OK-WITH-GAPS" if facts.verdict == "ACCEPTABLE" else "FAILED"


def subject_of(facts: RunFacts, causes: Causes, outcome: str, tally: Tally, actions: int) -> str:
    """Stable over the attempts of a run (no date of sending), so that threads hold."""
    number = tally.good if outcome == "OK" else tally.missing
    count = f" {number}/{tally.planned}" if tally.known else (f" {number}" if number else "")
    place = f"{facts.source or facts.backfill_id} {span(facts.start_date, facts.end_date)}"
    parts = [f"[backfill][{outcome}{count}] {place}".strip()]
    if causes.groups:
        parts.append(plural(len(causes.groups), "cause"))
    if actions:
        parts.append(plural(actions, "action"))
    return one_line(" · ".join(parts))[:200]


def headline_of(outcome: str, tally: Tally) -> str:
    """Three words for the top of the page."""
    if tally.known and not tally.planned:
        return "Nothing to do"
    if outcome == "OK":
        return "All there"
    if outcome == "STOPPED":
        return "Stopped before the end"
    if outcome == "CANCELLED":
        return "Cancelled"
    if tally.missing:
        return f"{plural(tally.missing, tally.unit)} missing"
    return "Failed" if outcome == "FAILED" else "Done, with gaps"


def verdict_of(facts: RunFacts, causes: Causes, tally: Tally, outcome: str) -> str:
    """What happened, what is missing, whether anything is broken, and what resuming costs: decide to act or not."""
    counts, said = facts.verdict_counts, []
    if not tally.known:
        said.append("The run ended without a last word; what follows is what it had written down.")
        if tally.missing:
            said.append(f"{plural(tally.missing, tally.unit)} failed for certain; the ledger knows the others.")
    elif not tally.planned:
        said.append("Every partition of the range was done before; nothing was asked, nothing was written.")
    elif counts.get("verified", 0) == tally.good:
        said.append(f"{tally.good:,} of {plural(tally.planned, tally.unit)} loaded and verified.")
    else:
        parts = [f"{counts[verdict]:,} {VERDICT_LABELS[verdict]}" for verdict in GOOD_VERDICTS if counts.get(verdict)]
        said.append(f"{tally.good:,} of {plural(tally.planned, tally.unit)} done ({', '.join(parts)}).")
    if tally.known and tally.missing:
        why = f", {plural(len(causes.groups), 'cause')}" if causes.groups else ""
        said.append(f"{tally.missing:,} missing{why}.")
    elif causes.groups and tally.known:
        said.append(f"{plural(len(causes.groups), 'cause')} of trouble on the way.")
    if why := _why_it_ended(facts.verdict):
        said.append(why)
    if causes.not_attempted:
        said.append(f"{plural(len(causes.not_attempted), tally.unit)} not attempted.")
    waiting = sum(counts.get(verdict, 0) for verdict in ("landed", "loaded"))
    if waiting:
        said.append(f"{plural(waiting, tally.unit)} landed but not verified.")
    if outcome not in ("OK", "OK-WITH-GAPS") and not waiting:
        said.append("Nothing is half-written: a partition is replaced as a whole or stays as it was.")
    if tally.known and tally.missing and (needs := estimate(facts, tally.missing - waiting)):
        said.append(f"Resuming needs {needs}.")
    return " ".join(said)


_ENDINGS = {
    "crashed": "It crashed; this mail was written from what it had stored.",
    "user": "Somebody cancelled it.",
    "deadline": "It reached its deadline.",
    "budget": "Its calls are used up; it can go on after their reset.",
    "red_flag": "It stopped itself at a red flag, so that nothing gets worse.",
    "critical": "It stopped itself at an error that every further date would meet too.",
}


def _why_it_ended(verdict: str) -> str:
    """One sentence for ``ABORTED(...)``, "" for a run that came to its end."""
    if not verdict.startswith("ABORTED"):
        return ""
    return _ENDINGS.get(verdict.removeprefix("ABORTED(").removesuffix(")"), f"The run stopped early: {verdict}.")
