"""The sample of civic.band: how it begins."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from deployments.local.upstreams.civic_towns import LOCAL_CIVIC_KEY
from deployments.local.upstreams.civic_upstream import CivicUpstream


def test_first_calls_that_come_at_once_are_all_answered() -> None:
    with CivicUpstream(towns={"alameda.ca": (3, 2)}) as upstream:
        together = Barrier(6)

        def ask(_: int) -> int:
            url = f"{upstream.base_url.format(site='alameda.ca')}/meetings/agendas.json?_shape=objects"
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {LOCAL_CIVIC_KEY}"})
            together.wait(10)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return len(json.loads(answer.read())["rows"])

        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(ask, range(6))) == [3] * 6
