"""``python -m deployments.local.simulate_samples [SOURCE ...]``: `gapless simulate` of sources against their samples.

Each process simulates one source after the other, and the samples run in it, and so on the simulated clock: what keeps
a year has had it on the simulated day.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from multiprocessing.synchronize import Event
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from alerting.wording import plural
from deployments.local.stack_environment import settings_of_sources
from deployments.local.upstreams.worlds import available_worlds, listener_at, serve_worlds
from flows.simulate.interrupts import deaf_to_interrupts
from gapless import INTERRUPTED

_FINALS = ("2025-06-05", "2025-06-07")
"""A date with a game, one without, and one with."""
_RACES = ("2025-01-10", "2025-01-12")
SAMPLES: Mapping[str, tuple[str, ...]] = {
    "bdl_box_scores": _FINALS,
    "bdl_games": _FINALS,
    "bdl_stats": _FINALS,
    "bdl_injuries": ("2024-12-25", "2024-12-25"),
    "bdl_players": ("--entities", "active", "--today", "2025-06-17"),
    "bdl_teams": ("--entities", "all", "--today", "2025-06-17"),
    "bigdataball_playbyplay": _FINALS,
    "civic_band": ("--entities", "temecula.ca~minutes, oak-park.il~agendas", "--today", "2025-06-17"),
    "coffee_shops": ("2025-01-10", "2025-01-10"),
    "hemnet_sales": ("2024-11-01", "2024-12-31"),
    "hemnet_details": ("2024-11-01", "2024-12-31"),
    "nba_schedule": ("--entities", "2024-25", "--today", "2025-06-17"),
    "nba_scoreboard": _FINALS,
    "nba_gamelog": _FINALS,
    "nba_boxscores": _FINALS,
    "nba_playbyplay": _FINALS,
    "odds_events": _FINALS,
    "odds_history": _FINALS,
    "racing_reference": ("--entities", "all", "--today", "2025-06-17"),
    "racing_cards": _RACES,
    "racing_results": _RACES,
}
"""What is simulated of each source: a small range, and with what it takes besides."""
_LARGE = ("bigdataball_playbyplay", "coffee_shops", "hemnet_details", "hemnet_sales", "nba_schedule", "nba_playbyplay",
          "racing_cards", "racing_results")  # fmt: skip
WEIGHTS: Mapping[str, int] = {**dict.fromkeys(SAMPLES, 8), **dict.fromkeys(_LARGE, 1)}
"""Of schedules: with thousands of rows in a run, one takes four times as long as one of another source, or longer."""

_LEAST_OF_A_PART = 100
"""Schedules that pay for beginning a source once more."""
_COUNTS = ("schedules", "runs", "operations")
_HEAD = """| Source | Schedules | Runs | Operations | CPU s | Schedules a minute | Broken |
|---|---|---|---|---|---|---|"""


@contextlib.contextmanager
def samples() -> Iterator[dict[str, str]]:
    """Every sample in threads of this process that end with it; variables that lead sources to them."""
    listeners = {world: listener_at(0) for world in available_worlds()}
    ports = {world: listener.getsockname()[1] for world, listener in listeners.items()}
    with tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=serve_worlds, args=(listeners, Path(folder)), daemon=True).start()
        # Their limits count by a clock that goes back with every schedule.
        for world in ("racing", "odds"):
            _post(ports[world], "limit", {"per_second": 0})
        of_sources = {name: json.dumps(value) for name, value in settings_of_sources(ports).items()}
        yield {"GAPLESS_PROJECT": "p", "GAPLESS_CONSOLE_ONLY": "true", **of_sources}


def simulate(source: str, *options: str) -> dict[str, Any]:
    """What `gapless simulate` says of the source's sample. Raises ``RuntimeError`` when it says nothing."""
    from flows.cli.command import main

    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = main(["simulate", source, *SAMPLES[source], "--faults", "--json", *options])
    if code not in (0, 1) or "schedules" not in said.getvalue():
        raise RuntimeError(f"{source}: {said.getvalue()}{complained.getvalue()}")
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


@dataclass(frozen=True)
class Simulated:
    """What came of a source, and the CPU seconds of that, those of its sample included."""

    source: str
    found: Mapping[str, Any]
    cpu_s: float

    @property
    def line(self) -> str:
        """Of the table."""
        counts = " | ".join(f"{self.found[name]:,}" for name in _COUNTS)
        broken = [f"seed {one['seed']}: {' + '.join(one['told'])}" for one in self.found["broken"]]
        a_minute = self.found["schedules"] * 60 / self.cpu_s
        return f"| {self.source} | {counts} | {self.cpu_s:.0f} | {a_minute:,.0f} | {'; '.join(broken) or 'none'} |"


def shares(sources: Iterable[str], total: int) -> dict[str, int]:
    """At least ``total`` schedules in all, by their `WEIGHTS`.

    >>> shares(["bdl_teams", "nba_schedule"], 100)
    {'bdl_teams': 89, 'nba_schedule': 12}
    """
    weights = {source: WEIGHTS[source] for source in sources}
    return {source: math.ceil(total * weight / sum(weights.values())) for source, weight in weights.items()}


_stopped: Event | None = None
"""Of a worker: nothing more is begun."""


def _serve_samples(stopped: Event) -> None:
    """In a process of its own, to its end."""
    global _stopped
    _stopped = stopped
    serving = contextlib.ExitStack()
    os.environ.update(serving.enter_context(samples()))
    Finalize(None, serving.close, exitpriority=1)


@dataclass(frozen=True)
class Part:
    """Schedules of one source that one process does."""

    source: str
    seed: int
    schedules: int


def parts(schedules: Mapping[str, int], seed: int, processes: int) -> list[Part]:
    """The longest sources first, and the last ones divided among all processes, which then end together.

    >>> parts({"nba_schedule": 10, "bdl_teams": 61}, 0, 1)
    [Part(source='nba_schedule', seed=0, schedules=10), Part(source='bdl_teams', seed=0, schedules=61)]
    >>> parts({"bdl_teams": 201}, 5, 2)
    [Part(source='bdl_teams', seed=5, schedules=101), Part(source='bdl_teams', seed=106, schedules=100)]
    """
    longest_first = sorted(schedules, key=WEIGHTS.__getitem__)
    found = []
    for place, source in enumerate(longest_first, start=1):
        left = schedules[source]
        is_last = place > len(longest_first) - processes
        into = max(1, min(processes, left // _LEAST_OF_A_PART)) if is_last else 1
        begin = seed
        for number in range(into, 0, -1):
            size = math.ceil(left / number)
            found.append(Part(source, begin, size))
            begin, left = begin + size, left - size
    return found


def _simulated(part: Part, options: Sequence[str]) -> Simulated:
    begun_s = _cpu_s()
    which = ("--seed", str(part.seed), "--schedules", str(part.schedules), "--processes", "1")
    with _ended_by_interrupt():
        found = simulate(part.source, *which, *options)
    return Simulated(part.source, found, _cpu_s() - begun_s)


@contextlib.contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """What is done inside ends at the first Ctrl+C. Between such pieces of work a worker hears none."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, end)
    try:
        if _stopped is not None and _stopped.is_set():
            raise KeyboardInterrupt
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def together(source: str, done: Sequence[Simulated]) -> Simulated:
    """The parts of one source as one."""
    found = {name: sum(one.found[name] for one in done) for name in _COUNTS}
    broken = [each for one in done for each in one.found["broken"]]
    return Simulated(source, {**found, "broken": broken}, sum(one.cpu_s for one in done))


def _post(port: int, name: str, document: Any) -> None:
    """To a world that may not listen yet."""
    for seconds_left in range(60, -1, -1):
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            asked.request("POST", f"/gapless/{name}", json.dumps(document))
            asked.getresponse().read()
        except ConnectionError:
            if not seconds_left:
                raise
            time.sleep(1)
        else:
            return
        finally:
            asked.close()


def _cpu_s() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


class _Ended:
    """What has ended, and a line for each source of which all ``parts`` have."""

    def __init__(self, parts: Counter[str]) -> None:
        self._open, self._parts = parts, defaultdict[str, list[Simulated]](list)
        self.done: list[Simulated] = []
        self.is_well = True

    def take(self, future: Future[Simulated]) -> None:
        """The next part, or what was said in place of it."""
        try:
            part = future.result()
        except RuntimeError as error:
            self.is_well = False
            print(f"| {error} |", flush=True)
            return
        self._parts[part.source].append(part)
        if len(self._parts[part.source]) == self._open[part.source]:
            self.done.append(together(part.source, self._parts[part.source]))
            self.is_well = self.is_well and not self.done[-1].found["broken"]
            print(self.done[-1].line, flush=True)


def main() -> int:
    """A line for each source, and one for all; 1 when anything broke or could not be simulated."""
    options = argparse.ArgumentParser(
        prog="python -m deployments.local.simulate_samples",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("source", nargs="*", choices=[[], *SAMPLES])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--schedules", type=int, default=100, help="of each source")
    options.add_argument("--total", type=int, help="instead: of all sources together, fewer of those of large pages")
    options.add_argument("--distributed", action="store_true", help="parents and windows die one by one")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = options.parse_args()
    sources = given.source or list(SAMPLES)
    schedules = shares(sources, given.total) if given.total else dict.fromkeys(sources, given.schedules)
    print(_HEAD, flush=True)
    begun_s, context = time.monotonic(), get_context("spawn")
    processes = max(1, min(given.processes, sum(schedules.values())))
    work, stopped = parts(schedules, given.seed, processes), context.Event()
    ended = _Ended(Counter(part.source for part in work))
    with ProcessPoolExecutor(min(processes, len(work)), context, _serve_samples, (stopped,)) as pool:
        with deaf_to_interrupts():
            more = ["--distributed"] if given.distributed else []
            futures = [pool.submit(_simulated, part, more) for part in work]
        try:
            for future in as_completed(futures):
                ended.take(future)
        except KeyboardInterrupt:
            stopped.set()
            for pid in [child.pid for child in active_children() if child.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            pool.shutdown(cancel_futures=True)
            print("interrupted; what is above is whole", file=sys.stderr)
            return INTERRUPTED
    counts = [sum(one.found[name] for one in ended.done) for name in _COUNTS]
    cpu_s, wall_s = sum(one.cpu_s for one in ended.done), time.monotonic() - begun_s
    told = " | ".join(f"{count:,}" for count in counts)
    print(f"| all, in {wall_s:.0f} s by {plural(processes, 'process')} | {told} | {cpu_s:.0f} | | |")
    return 0 if ended.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
