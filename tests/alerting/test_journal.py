from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import pytest

from alerting.errors import LandingUnavailable, StateUnreadable
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.local_store import FileObjectStore
from alerting.memory_store import MemoryObjectStore
from alerting.spool import Spool, recover


def incidents(count: int, start: int = 0) -> list[Incident]:
    return [
        Incident(source="s", partition=f"p{n}", message=f"m {n}", incident_id=f"i{n}")
        for n in range(start, start + count)
    ]


class DownStore(MemoryObjectStore):
    """Takes nothing while ``down``."""

    down = True

    def write(self, name, data, **rest):
        if self.down:
            raise LandingUnavailable("503 from storage")
        return super().write(name, data, **rest)


def test_one_window_and_attempt_is_one_object_and_comes_back_whole(any_store):
    journal = IncidentJournal(any_store)
    name = journal.append("run-1", "2024-01", 2, incidents(3))
    assert name.startswith("alerts/backfill=run-1/incidents/2024-01-2-")
    assert [found.message for found in journal.read("run-1")] == ["m 0", "m 1", "m 2"]
    assert all(found.fingerprint.startswith("v2:") for found in journal.read("run-1"))
    assert list(journal.read("run-2")) == []


def test_a_batch_whose_answer_was_lost_and_is_written_again_counts_once(store):
    journal = IncidentJournal(store)
    for _ in range(2):
        journal.append("b", "w", 1, incidents(3))
    assert len(list(journal.read("b"))) == 3


@pytest.mark.parametrize(
    "damage",
    [b"not gzip", gzip.compress(b'{"source": ', mtime=0), gzip.compress(b"x" * 1000, mtime=0)[:-9]],
    ids=["no gzip", "half a line", "cut off"],
)
def test_a_broken_object_is_never_an_empty_one_and_is_named(store, damage):
    journal = IncidentJournal(store)
    name = journal.append("b", "w", 1, incidents(3))
    store.write(name, damage)
    with pytest.raises(StateUnreadable, match=name):
        list(journal.read("b"))


def test_reading_many_objects_keeps_only_one_in_memory(store):
    journal = IncidentJournal(store)
    for batch in range(30):
        journal.append(
            "b", f"w{batch}", 1, [Incident(message="x" * 3000, incident_id=f"{batch}-{n}") for n in range(100)]
        )
    tracemalloc.start()
    total = sum(len(incident.message) for incident in journal.read("b"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 30 * 100 * 3000
    assert peak < total / 4


def test_what_a_down_store_does_not_take_waits_in_memory_and_on_disk_and_arrives_later(tmp_path):
    store = DownStore()
    spool = Spool(IncidentJournal(store), "b", tmp_path)
    for incident in incidents(5):
        spool.add(incident)
    with pytest.raises(LandingUnavailable):
        spool.flush("w")
    assert len(spool.waiting()) == 5
    assert len(next(tmp_path.glob("b.*.ndjson")).read_bytes().splitlines()) == 5
    store.down = False
    spool.flush("w")
    assert spool.waiting() == []
    assert list(tmp_path.glob("*.ndjson")) == []
    assert len(list(IncidentJournal(store).read("b"))) == 5


KILLED = """
    import os, signal, sys
    from alerting.incident import Incident
    from alerting.journal import IncidentJournal
    from alerting.local_store import FileObjectStore
    from alerting.spool import Spool
    spool = Spool(IncidentJournal(FileObjectStore(sys.argv[1])), "b", sys.argv[2])
    for n in range(50):
        spool.add(Incident(source="s", message="m", incident_id=f"k{n}"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_incidents_recorded_just_before_kill_9_reach_the_journal_once(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "store"), str(tmp_path / "spool")]
    assert subprocess.run(command, check=False, timeout=60, cwd=Path.cwd()).returncode == -9
    journal = IncidentJournal(FileObjectStore(tmp_path / "store"))
    recover(journal, tmp_path / "spool")
    assert recover(journal, tmp_path / "spool") == 0
    assert {found.incident_id for found in journal.read("b")} == {f"k{n}" for n in range(50)}


def test_half_a_line_of_a_killed_writer_is_told_and_the_rest_is_kept(tmp_path, store):
    lines = [incident.to_json() for incident in incidents(3)]
    (tmp_path / "b.999999999-0123abcd-1.ndjson").write_bytes(b"\n".join(lines)[:-20])
    recover(IncidentJournal(store), tmp_path, "b")
    found = list(IncidentJournal(store).read("b"))
    assert [incident.error_type for incident in found] == ["UnknownError", "UnknownError", "SpoolDamaged"]


def test_the_file_of_a_living_process_is_left_alone(tmp_path, store):
    spool = Spool(IncidentJournal(DownStore()), "b", tmp_path)
    spool.add(incidents(1)[0])
    assert recover(IncidentJournal(store), tmp_path) == 0
    assert len(list(tmp_path.glob("*.ndjson"))) == 1


def test_a_journal_without_incidents_is_one_listing(store):
    real, listed = store.list, list[str]()
    store.list = lambda prefix, **rest: (listed.append(prefix), real(prefix, **rest))[1]
    assert list(IncidentJournal(store).read("b")) == []
    assert len(listed) == 1
