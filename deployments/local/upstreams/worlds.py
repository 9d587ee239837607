"""All sample upstreams in one process, a port each; a world is built when somebody asks it for the first time.

Building them all would cost seconds and most of them nobody asks: Datasette alone takes one second to be imported.
"""

from __future__ import annotations

import importlib.util
import os
import selectors
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType


def _box_scores(listener: socket.socket, data_dir: Path) -> Callable[[], None]:  # noqa: ARG001 - keeps nothing
    from deployments.local.upstreams.box_scores_upstream import Upstream

    return Upstream(listener=listener, has_postponements=True).serve


def _civic(listener: socket.socket, data_dir: Path) -> Callable[[], None]:
    from deployments.local.upstreams.civic_upstream import CivicUpstream

    return CivicUpstream(listener=listener, data_dir=data_dir / "civic").serve


def _racing(listener: socket.socket, data_dir: Path) -> Callable[[], None]:  # noqa: ARG001 - keeps nothing
    from deployments.local.upstreams.racing_upstream import RacingUpstream

    return RacingUpstream(listener=listener).serve


def _odds(listener: socket.socket, data_dir: Path) -> Callable[[], None]:  # noqa: ARG001 - keeps nothing
    from deployments.local.upstreams.odds_upstream import OddsUpstream
    from deployments.local.upstreams.odds_world import OddsWorld

    return OddsUpstream(listener=listener, world=OddsWorld(has_postponements=True)).serve


def _nba(listener: socket.socket, data_dir: Path) -> Callable[[], None]:  # noqa: ARG001 - keeps nothing
    from deployments.local.upstreams.nba_upstream import NbaUpstream

    return NbaUpstream(listener=listener).serve


def _drive(listener: socket.socket, data_dir: Path) -> Callable[[], None]:  # noqa: ARG001 - keeps nothing
    from deployments.local.upstreams.drive_upstream import DriveUpstream

    return DriveUpstream(listener=listener).serve


def _sold(listener: socket.socket, data_dir: Path) -> Callable[[], None]:  # noqa: ARG001 - keeps nothing
    from deployments.local.upstreams.sold_upstream import SoldUpstream
    from deployments.local.upstreams.sold_world import SoldWorld

    return SoldUpstream(listener=listener, world=SoldWorld(sales=6_000)).serve


def _shops(listener: socket.socket, data_dir: Path) -> Callable[[], None]:  # noqa: ARG001 - keeps nothing
    from deployments.local.upstreams.shops_upstream import ShopsUpstream

    return ShopsUpstream(listener=listener).serve


WORLDS: Mapping[str, Callable[[socket.socket, Path], Callable[[], None]]] = MappingProxyType(
    {
        "box_scores": _box_scores,
        "civic": _civic,
        "racing": _racing,
        "odds": _odds,
        "nba": _nba,
        "drive": _drive,
        "sold": _sold,
        "shops": _shops,
    }
)
"""Builds a world for a listener and a folder of its own; what comes back serves until the process ends."""


def available_worlds() -> tuple[str, ...]:
    """Those that can be built here: Datasette is an extra."""
    has_datasette = importlib.util.find_spec("datasette") is not None
    return tuple(name for name in WORLDS if name != "civic" or has_datasette)


def listener_at(port: int) -> socket.socket:
    """Of one world, on 127.0.0.1; 0 is any port that is free."""
    return socket.create_server(("127.0.0.1", port), backlog=256)


def serve_worlds(listeners: Mapping[str, socket.socket], data_dir: Path) -> None:
    """Builds each world at its first connection; serves until the process is ended.

    Args:
        listeners: By world; see `listener_at`.
        data_dir: Takes what a world keeps.
    """
    serving = []
    with selectors.DefaultSelector() as selector:
        for name, listener in listeners.items():
            selector.register(listener, selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _ in selector.select():
                asked = selector.unregister(key.fileobj).fileobj
                assert isinstance(asked, socket.socket)
                serving.append(threading.Thread(target=_serve, args=(key.data, asked, data_dir), name=key.data))
                serving[-1].start()
    # A main thread that ends begins the shutdown of the interpreter, in which no world can be built.
    for thread in serving:
        thread.join()


def _serve(name: str, listener: socket.socket, data_dir: Path) -> None:
    """A world that cannot be built ends the process: its clients would wait for ever, and nobody would see why."""
    try:
        WORLDS[name](listener, data_dir)()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
