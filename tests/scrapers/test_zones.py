"""A slim image has no zone files; then they come from tzdata, or nothing is done at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_ASK = "from scrapers.registry import scraper; s = scraper('bdl_box_scores'); print(s.zone)"
_ENDS = (
    "import datetime as dt; from scrapers.partition import Partition; "
    "print(Partition.day(dt.date(2025, 3, 9), 'America/New_York').ends_at.isoformat())"
)


def _python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a Python that looks into no folder for zones, as in an image without zone files."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("code", [_ASK, _ENDS])
def test_without_zone_files_the_zones_come_from_tzdata(code):
    done = _python(f"import zoneinfo; assert zoneinfo.TZPATH == (); {code}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("America/New_York", "2025-03-10T04:00:00+00:00")


def test_without_tzdata_too_the_source_is_refused_with_an_error_that_names_it():
    done = _python(f"import sys; sys.modules['tzdata'] = None; {_ASK}")
    assert done.returncode != 0
    assert "ConfigurationError" in done.stderr
    assert "America/New_York" in done.stderr
    assert "pip install tzdata" in done.stderr


def test_a_zone_that_cannot_be_loaded_never_becomes_another_one():
    done = _python(f"import sys; sys.modules['tzdata'] = None; {_ENDS}")
    assert done.returncode != 0
    assert "ZoneInfoNotFoundError" in done.stderr
