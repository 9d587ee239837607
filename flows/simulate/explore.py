"""Many schedules, and what is told of them: counts, and of the first that broke the shortest."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from collections import Counter

from alerting.errors import ConfigurationError
from alerting.wording import plural
from flows.ledger.ledger import Verdict
from flows.simulate.invariants import Ending
from flows.simulate.outcome import Broken, Outcome, trace_of
from flows.simulate.processes import LEAST_EACH, outcomes
from flows.simulate.schedule import prepared, truth_of, without_server
from flows.simulate.subject import Subject


@dataclasses.dataclass
class Explored:
    """What came of all schedules.

    Attributes:
        trace: A digest of every operation of every schedule: the same for the same seeds.
    """

    schedules: int = 0
    runs: int = 0
    operations: int = 0
    trace: str = ""
    truth: Ending | None = None
    faults: Counter[str] = dataclasses.field(default_factory=Counter)
    broken: list[Broken] = dataclasses.field(default_factory=list)

    def add(self, one: Outcome) -> None:
        """The next schedule."""
        self.schedules += 1
        self.runs += one.runs
        self.operations += one.operations
        self.trace = hashlib.sha256(f"{self.trace}{one.trace}".encode()).hexdigest()[:16]
        self.faults.update(one.faults)
        self.broken += [one.broken] if one.broken else []

    def lines(self, source: str, arguments: str) -> list[str]:
        """For people; ``arguments`` are those of the command, without seed and number of schedules."""
        told = [
            f"{source}: {plural(self.schedules, 'schedule')}, {plural(self.runs, 'run')}, "
            f"{plural(self.operations, 'operation')} on storage, warehouse, source and mail",
            "faults     " + (", ".join(f"{count:,} {name}" for name, count in self.faults.most_common()) or "none"),
        ]
        if not self.broken:
            return [*told, "nothing broke: every date, row, mail and call was as without faults"]
        told.append(f"BROKEN     after {plural(len(self.broken), 'schedule')}")
        for one in self.broken[:3]:
            told += [f"  seed {one.seed}", *(f"    {text}" for text in one.told)]
            told += [f"    fault at {met}" for met in one.met]
            told += [f"    {line}" for line in trace_of(one)]
            again = f"gapless simulate {shlex.quote(source)} {arguments} --seed {one.seed} --schedules 1"
            told.append(f"  again: {again}")
        return told


def explore(
    subject: Subject, *, seed: int, schedules: int, faults: bool, most_broken: int = 3, processes: int = 1
) -> Explored:
    """Runs ``schedules`` schedules with the seeds from ``seed`` on, and stops early after ``most_broken`` broken ones.

    Without ``faults`` only the order of what is ready at once differs. At most ``processes`` share the work, and what
    is found does not depend on their number. Raises what the run without any fault raises.
    """
    with without_server():
        subject = prepared(subject)
        truth = truth_of(subject)
        _refuse_without_truth(subject, truth)
        found = Explored(truth=truth)
        seeds = range(seed, seed + schedules)
        processes = max(1, min(processes, schedules // LEAST_EACH))
        for outcome in outcomes(subject, truth, seeds, faults=faults, processes=processes):
            found.add(outcome)
            if len(found.broken) >= most_broken:
                break
    return found


def _refuse_without_truth(subject: Subject, truth: Ending) -> None:
    source, done = subject.asked.source, {key for key, verdict in truth.verdicts.items() if Verdict(verdict).is_good}
    if bad := sorted(truth.verdicts.keys() - done):
        raise ConfigurationError(
            f"without any fault {len(bad)} of {plural(len(truth.verdicts), 'date')} cannot be loaded "
            f"({', '.join(f'{key} {truth.verdicts[key]}' for key in bad[:3])}), so there is nothing to compare with",
            source=source,
            stage="simulate",
            hint=f"gapless preflight {source} --canary; if that passes, a run of these dates names the cause",
        )
    if not done:
        why = next((f" {what}" for what in truth.operations if what.startswith("(")), "")
        raise ConfigurationError(
            f"the source has none of these dates: nothing was simulated{why}", source=source, stage="simulate",
            hint=f"gapless plan {source} says which it has",
        )  # fmt: skip
