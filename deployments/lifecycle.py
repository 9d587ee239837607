"""Prints the lifecycle of the bucket: ``python -m deployments.lifecycle > lifecycle.json``, then ``gcloud`` sets it.

The rules of ``lifecycle.json`` beside this module, and one for each source whose landed pages are not to be kept for
ever (``Scraper.raw_days``, or the setting ``GAPLESS_SOURCE_RAW_DAYS``), nor the rows of them that were rejected.
Manifests are no pages and stay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flows.settings import Settings
from processors.process import REJECTS, rejects_prefix
from scrapers.manifest import page_name, source_prefix
from scrapers.registry import scraper, sources

FILE = Path(__file__).parent / "lifecycle.json"


def lifecycle(settings: Settings) -> dict[str, Any]:
    """The document that Cloud Storage takes: https://docs.cloud.google.com/storage/docs/lifecycle-configurations"""
    document: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    suffix = page_name(1).partition(".")[2]
    for source in sources():
        days = settings.source_raw_days.get(source, scraper(source).raw_days)
        if days > 0:
            condition = {
                "isLive": True,
                "age": days,
                "matchesPrefix": [source_prefix(source), rejects_prefix(source)],
                "matchesSuffix": [f".{suffix}", f"/{REJECTS}"],
            }
            document["rule"].append({"action": {"type": "Delete"}, "condition": condition})
    return document


if __name__ == "__main__":
    sys.stdout.write(json.dumps(lifecycle(Settings()), indent=2) + "\n")
