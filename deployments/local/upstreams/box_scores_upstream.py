"""The sample of box scores: speaks their contract, generates a season, and misbehaves on request.

``GET /v1/box_scores?date=YYYY-MM-DD`` (and ``/nba/v1/box_scores``) wants the key in ``Authorization``. Control, see
`sample_server`; kinds of trouble of its own: `box_scores_trouble.BoxScoreKind`. Truth: `season.games_on`.
"""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import json
import socket
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from deployments.local.upstreams.box_scores_trouble import BoxScoreKind, spoiled
from deployments.local.upstreams.sample_rules import Rule
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream
from deployments.local.upstreams.season import games_on, late_game

_PATHS = ("/v1/box_scores", "/nba/v1/box_scores")


class Upstream(SampleUpstream[BoxScoreKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        latency_ms: Added to every data answer; can be changed while it runs.
        api_key: The only key it accepts.
        listener: Takes its connections instead of those of ``port``.
    """

    rules = TypeAdapter(list[Rule[BoxScoreKind]])

    def __init__(
        self,
        port: int = 0,
        *,
        latency_ms: float = 0.0,
        api_key: str = "sample-key",
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.api_key = api_key

    def refusal(self, call: Call) -> Answer | None:
        """Whoever has no key, or asks for something else."""
        if call.path not in _PATHS:
            return Answer(404, {"error": "Not Found"})
        return None if call.headers.get("authorization") == self.api_key else self.error(401, "")

    def error(self, status: int, text: str) -> Answer:
        """A 401 is plain text, all others are JSON."""
        if status == 401:
            return Answer(401, b"Unauthorized", media_type="text/plain; charset=utf-8")
        return Answer(status, {"error": text})

    def date_of(self, call: Call) -> dt.date | None:
        """``date``."""
        try:
            return dt.date.fromisoformat(call.get("date") or "")
        except ValueError:
            return None

    def answer(self, call: Call, kind: BoxScoreKind | None) -> Answer:
        """The games of the date."""
        date = self.date_of(call)
        if date is None:
            return Answer(400, {"error": f"date {(call.get('date') or '')[:40]!r} is not YYYY-MM-DD"})
        if kind is None:
            return Answer(200, _packed(date, _is_over(date)), is_packed=True)
        yesterday = games_on(date - dt.timedelta(days=1))
        games = [*games_on(date), *([late_game(date)] if kind == "late_game" else [])]
        return Answer(200, {"data": spoiled(games, kind, yesterday)})


@functools.lru_cache(maxsize=4096)
def _packed(date: dt.date, is_over: bool) -> bytes:
    """The whole good answer in gzip, about 15 kB."""
    document = {"data": games_on(date, is_over=is_over)}
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), compresslevel=1, mtime=0)


def _is_over(date: dt.date) -> bool:
    return date < dt.datetime.now(ZoneInfo("America/New_York")).date()
