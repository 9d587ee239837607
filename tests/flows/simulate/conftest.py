"""One small subject for all tests of the simulator: two dates of the sample of Ball Don't Lie, one without a game."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.local.upstreams.box_scores_upstream import Upstream
from flows.asked import Asked
from flows.settings import Settings
from flows.simulate.invariants import Ending
from flows.simulate.schedule import run_schedule
from flows.simulate.subject import Subject, subject_of

SOURCE, KEY = "bdl_box_scores", "sample-key-7d1f"


@pytest.fixture(scope="session")
def subject() -> Iterator[Subject]:
    with Upstream(api_key=KEY) as upstream:
        secrets = {"bdl_api_key": KEY}
        settings = Settings(
            google_project="p",
            console_only=True,
            source_urls={SOURCE: upstream.url},
            source_secrets=secrets,  # type: ignore[arg-type]
        )
        asked = {"source": SOURCE, "start_date": "2025-06-05", "end_date": "2025-06-06", "max_concurrency": 2}
        yield subject_of(settings, Asked.model_validate(asked))


@pytest.fixture(scope="session")
def truth(subject: Subject) -> Ending:
    return run_schedule(subject, 0)
