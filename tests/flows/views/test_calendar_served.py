"""The calendar beside the inbox, of a real bucket: all sources, one of them, one partition with its payloads."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting.instant import utc_now
from deployments.local.inbox.page import Inbox
from deployments.local.inbox.smtp import Troubles
from deployments.local.inbox.store import MailStore
from flows.run.calendar_artifact import calendar_artifacts
from flows.truth.whole_history import read_histories

SOURCE = "bdl_box_scores"


@pytest.fixture
def inbox_url(place: Any, tmp_path: Path) -> Iterator[str]:
    """The page's server with the settings of ``place``."""
    server = Inbox(0, MailStore(tmp_path), Troubles(), 25)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def got(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        return str(answer.read().decode())


def test_from_all_sources_to_one_and_to_the_payloads_of_a_partition(place: Any, inbox_url: str) -> None:
    place.fill("2025-01-03", 2)
    place.fail("2025-01-05")
    everything = got(f"{inbox_url}/calendar")
    assert f'href="/calendar/{SOURCE}"' in everything
    assert 'href="/"' in everything
    assert "nothing is known yet" in everything
    one = got(f"{inbox_url}/calendar/{SOURCE}")
    assert "2 of 3 partitions done, 2025-01-03 to 2025-01-05" in one
    assert "vvF" in one.replace("</b><b class=F>", "")
    done = got(f"{inbox_url}/calendar/{SOURCE}/2025-01-03")
    entry = place.entry("2025-01-03")
    assert f"gs://{place.store.root_uri.removeprefix('gs://')}/{entry.manifest_name}" in done
    assert "page-0001.json.gz" in done
    failed = got(f"{inbox_url}/calendar/{SOURCE}/2025-01-05")
    assert "SourceUnavailable: the source answered 503" in failed
    assert f"gapless retry-failed {SOURCE} --reason errors" in failed


def test_of_many_payloads_the_newest_are_shown_and_the_others_counted(
    place: Any, inbox_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.views.partition_page._MOST_OBJECTS", 1)
    older, newer = (place.land("2025-01-03")[0] for _ in range(2))
    page = got(f"{inbox_url}/calendar/{SOURCE}/2025-01-03")
    assert newer.attempt in page
    assert older.attempt not in page
    assert "not landed" not in page
    assert "3 older objects not shown." in page


@pytest.mark.parametrize("path", ["nosuch", f"{SOURCE}/1999-01-01", f"{SOURCE}/%3Cscript%3E", f"{SOURCE}/a/b"])
def test_what_is_not_known_is_not_found(place: Any, inbox_url: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{inbox_url}/calendar/{path}", timeout=30)
    assert refused.value.code == 404
    assert refused.value.headers["Content-Type"] == "application/json"


def test_a_history_reads_nothing_for_each_partition(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(days: int) -> int:
        place.land("2025-01-03", days)
        counted: list[str] = []
        read = place.store.read
        monkeypatch.setattr(place.store, "read", lambda name: (counted.append(name), read(name))[1])
        (history,) = read_histories(place.services, [SOURCE], utc_now())
        monkeypatch.undo()
        assert len(history.cells) == days
        return len(counted)

    assert reads(1) == reads(6)


def test_the_artifact_has_squares_letters_and_what_needs_attention(place: Any) -> None:
    place.land("2025-01-03", 2)
    place.fail("2025-01-05")
    (made,) = calendar_artifacts(place.services, [SOURCE, "racing_cards"], utc_now())
    assert (made.key, made.type) == ("calendar-bdl-box-scores", "markdown")
    assert made.description == "Whole history: 0 of 3 partitions done, 2025-01-03 to 2025-01-05"
    assert "🟥" in made.data
    assert "  Jan    IIF" in made.data
    assert "* 1 partition `failed_retryable` (SourceUnavailable): 2025-01-05" in made.data
