"""Many schedules, one after the other, and what is told of them: counts, and of the first that broke the shortest."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Callable, Sequence

from alerting.errors import ConfigurationError
from alerting.wording import plural
from flows.ledger.ledger import Verdict
from flows.simulate.faults import Planned, plan_of
from flows.simulate.invariants import Ending
from flows.simulate.schedule import prepared, run_schedule, truth_of, without_server
from flows.simulate.subject import Subject

_SHOWN_OPERATIONS = 12


@dataclasses.dataclass(frozen=True)
class Broken:
    """A schedule after which something did not hold, with as few of its faults as still do it."""

    seed: int
    told: tuple[str, ...]
    met: tuple[str, ...]
    operations: tuple[str, ...]


@dataclasses.dataclass
class Explored:
    """What came of all schedules."""

    schedules: int = 0
    runs: int = 0
    operations: int = 0
    truth: Ending | None = None
    faults: Counter[str] = dataclasses.field(default_factory=Counter)
    broken: list[Broken] = dataclasses.field(default_factory=list)

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
    subject: Subject,
    *,
    seed: int,
    schedules: int,
    faults: bool,
    progress: Callable[[int], None] = lambda _: None,
    most_broken: int = 3,
) -> Explored:
    """Runs ``schedules`` schedules with the seeds from ``seed`` on, and stops early after ``most_broken`` broken ones.

    Without ``faults`` only the order of what is ready at once differs. Raises what the run without any fault raises.
    """
    with without_server():
        subject = prepared(subject)
        truth = truth_of(subject)
        _refuse_without_truth(subject, truth)
        found = Explored(truth=truth)
        for number in range(seed, seed + schedules):
            planned = plan_of(number, truth.operations) if faults else ()
            ending = run_schedule(subject, number, planned, truth=truth)
            found.schedules += 1
            found.runs += ending.runs
            found.operations += len(ending.operations)
            found.faults.update(met.rpartition(": ")[2] for met in ending.met)
            if ending.broken:
                found.broken.append(_shortest(subject, number, planned, ending, truth))
                if len(found.broken) >= most_broken:
                    break
            progress(number)
    return found


def _refuse_without_truth(subject: Subject, truth: Ending) -> None:
    source, done = subject.asked.source, {key for key, verdict in truth.verdicts.items() if Verdict(verdict).is_good}
    if bad := sorted(truth.verdicts.keys() - done):
        raise ConfigurationError(
            f"without any fault {len(bad)} of {plural(len(truth.verdicts), 'date')} do not become good "
            f"({', '.join(f'{key} {truth.verdicts[key]}' for key in bad[:3])}), so there is nothing to compare with",
            source=source,
            stage="simulate",
            hint=f"gapless preflight {source} --canary",
        )
    if not done:
        why = next((f" {what}" for what in truth.operations if what.startswith("(")), "")
        raise ConfigurationError(
            f"the source has none of these dates: nothing was simulated{why}", source=source, stage="simulate",
            hint=f"gapless plan {source} says which it has",
        )  # fmt: skip


def _shortest(subject: Subject, seed: int, planned: Sequence[Planned], ending: Ending, truth: Ending) -> Broken:
    """The same schedule without the faults that it did not need."""
    left = list(planned)
    for one in planned:
        fewer = [other for other in left if other is not one]
        again = run_schedule(subject, seed, fewer, truth=truth)
        if again.broken:
            left, ending = fewer, again
    return Broken(seed, ending.broken, ending.met, ending.operations)


def trace_of(broken: Broken) -> list[str]:
    """The operations around each fault, numbered.

    >>> trace_of(Broken(1, (), ("1 write b: killed after it",), ("read a", "write b", "read c")))
    ['0 read a', '1 write b', '2 read c']
    """
    places = [int(met.split(" ", 1)[0]) for met in broken.met]
    shown = {
        number
        for place in places
        for number in range(max(0, place - _SHOWN_OPERATIONS // 2), place + _SHOWN_OPERATIONS // 2)
        if number < len(broken.operations)
    }
    return [f"{number} {broken.operations[number]}" for number in sorted(shown)]
