"""``python -m deployments.local.upstreams --port racing=8080 --port odds=8081``: sample upstreams in one process."""

from __future__ import annotations

import argparse
from pathlib import Path

from deployments.local.upstreams.worlds import WORLDS, listener_at, serve_worlds


def _world_and_port(text: str) -> tuple[str, int]:
    world, _, port = text.partition("=")
    if world not in WORLDS or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not WORLD=PORT; worlds are {', '.join(WORLDS)}")
    return world, int(port)


def main() -> None:
    """Serves until it is killed."""
    options = argparse.ArgumentParser(
        prog="python -m deployments.local.upstreams", description="Sample upstreams of Gapless, on 127.0.0.1 only."
    )
    options.add_argument("--port", type=_world_and_port, action="append", required=True, metavar="WORLD=PORT")
    options.add_argument("--data-dir", type=Path, default=Path(".gapless/upstream"))
    chosen = options.parse_args()
    try:
        serve_worlds({name: listener_at(port) for name, port in chosen.port}, chosen.data_dir)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
