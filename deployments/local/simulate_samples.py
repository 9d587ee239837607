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
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from alerting.wording import plural
from deployments.local.stack_environment import settings_of_sources
from deployments.local.upstreams.worlds import available_worlds, listener_at, serve_worlds

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
_LARGE = ("bigdataball_playbyplay", "coffee_shops", "hemnet_details", "nba_schedule", "nba_playbyplay", "racing_cards",
          "racing_results")  # fmt: skip
WEIGHTS: Mapping[str, int] = {**dict.fromkeys(SAMPLES, 8), **dict.fromkeys(_LARGE, 2), "hemnet_sales": 1}
"""Of schedules: with thousands of rows in a run, one takes four times as long as one of another source, or longer."""

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
        counts = " | ".join(f"{self.found[name]:,}" for name in ("schedules", "runs", "operations"))
        broken = [f"seed {one['seed']}: {' + '.join(one['told'])}" for one in self.found["broken"]]
        a_minute = self.found["schedules"] * 60 / self.cpu_s
        return f"| {self.source} | {counts} | {self.cpu_s:.0f} | {a_minute:,.0f} | {'; '.join(broken) or 'none'} |"


def shares(sources: Iterable[str], total: int) -> dict[str, int]:
    """At least ``total`` schedules in all, by their `WEIGHTS`.

    >>> shares(["bdl_teams", "nba_schedule"], 100)
    {'bdl_teams': 80, 'nba_schedule': 20}
    """
    weights = {source: WEIGHTS[source] for source in sources}
    return {source: math.ceil(total * weight / sum(weights.values())) for source, weight in weights.items()}


def _serve_samples() -> None:
    """In a process of its own, to its end."""
    serving = contextlib.ExitStack()
    os.environ.update(serving.enter_context(samples()))
    Finalize(None, serving.close, exitpriority=1)


def _simulated(source: str, schedules: int, options: Sequence[str]) -> Simulated:
    begun_s = _cpu_s()
    found = simulate(source, "--schedules", str(schedules), "--processes", "1", *options)
    return Simulated(source, found, _cpu_s() - begun_s)


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


def main() -> int:
    """A line for each source, and one for all; 1 when anything broke or could not be simulated."""
    options = argparse.ArgumentParser(prog="python -m deployments.local.simulate_samples", description=__doc__)
    options.add_argument("source", nargs="*", choices=[[], *SAMPLES])
    options.add_argument("--seed", default="0")
    options.add_argument("--schedules", type=int, default=100, help="of each source")
    options.add_argument("--total", type=int, help="instead: of all sources together, fewer of those of large pages")
    options.add_argument("--distributed", action="store_true", help="parents and windows die one by one")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = options.parse_args()
    sources = given.source or list(SAMPLES)
    schedules = shares(sources, given.total) if given.total else dict.fromkeys(sources, given.schedules)
    more = ["--seed", given.seed, *(["--distributed"] if given.distributed else [])]
    print(_HEAD, flush=True)
    begun_s, is_well, done = time.monotonic(), True, []
    processes = max(1, min(given.processes, len(sources)))
    with ProcessPoolExecutor(processes, get_context("spawn"), _serve_samples) as pool:
        # The longest first: the last to end is a short one.
        longest_first = sorted(sources, key=WEIGHTS.__getitem__)
        for ended in as_completed([pool.submit(_simulated, name, schedules[name], more) for name in longest_first]):
            try:
                done.append(ended.result())
            except RuntimeError as error:
                is_well = False
                print(f"| {error} |", flush=True)
                continue
            is_well = is_well and not done[-1].found["broken"]
            print(done[-1].line, flush=True)
    counts = [sum(one.found[name] for one in done) for name in ("schedules", "runs", "operations")]
    cpu_s, wall_s = sum(one.cpu_s for one in done), time.monotonic() - begun_s
    told = " | ".join(f"{count:,}" for count in counts)
    print(f"| all, in {wall_s:.0f} s by {plural(processes, 'process')} | {told} | {cpu_s:.0f} | | |")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
