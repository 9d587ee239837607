"""``python -m deployments.local.simulate_samples [SOURCE ...]``: `gapless simulate` of sources against their samples.

The samples run in this process, and so on the simulated clock: what keeps a year has had it on the simulated day.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
    "civic_band": ("--entities", "temecula.ca~agendas", "--today", "2025-06-17"),
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
    """A line for each source; 1 when anything broke or could not be simulated."""
    options = argparse.ArgumentParser(prog="python -m deployments.local.simulate_samples", description=__doc__)
    options.add_argument("source", nargs="*", choices=[[], *SAMPLES])
    options.add_argument("--seed", default="0")
    options.add_argument("--schedules", default="100")
    options.add_argument("--distributed", action="store_true")
    given = options.parse_args()
    more = ["--seed", given.seed, "--schedules", given.schedules]
    more += ["--distributed"] if given.distributed else []
    is_well = True
    print(_HEAD)
    with samples() as environment:
        os.environ.update(environment)
        for source in given.source or SAMPLES:
            begun_s = _cpu_s()
            try:
                found = simulate(source, *more)
            except RuntimeError as error:
                is_well = False
                print(f"| {error} |", flush=True)
                continue
            took_s, broken = _cpu_s() - begun_s, found["broken"]
            counts = " | ".join(f"{found[name]:,}" for name in ("schedules", "runs", "operations"))
            told = "; ".join(f"seed {one['seed']}: {' + '.join(one['told'])}" for one in broken) or "none"
            print(
                f"| {source} | {counts} | {took_s:.0f} | {found['schedules'] * 60 / took_s:,.0f} | {told} |", flush=True
            )
            is_well = is_well and not broken
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
