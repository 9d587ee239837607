"""No incident is lost, and none is counted twice: 32 threads in 4 processes against the real protocol of Cloud Storage,
flushing between each other, and one of the processes killed."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
import textwrap
import uuid
from collections import Counter
from pathlib import Path

import pytest

from alerting.delivery import send_owed_summary
from alerting.errors import LandingUnavailable
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.memory_store import MemoryObjectStore
from alerting.spool import MAX_IN_MEMORY, Spool, recover
from scrapers.object_store import GcsObjectStore

THREADS, EACH = 8, 40

PROCESS = """
    import itertools, os, signal, sys
    from concurrent.futures import ThreadPoolExecutor
    from alerting.channels import LogChannel
    from alerting.incident import Incident
    from alerting.journal import IncidentJournal
    from alerting.smart_alert_manager import SmartAlertManager
    from scrapers.object_store import GcsObjectStore

    endpoint, bucket, folder, threads, each, name, fate = sys.argv[1:]
    store = GcsObjectStore(bucket, project="test", endpoint=endpoint)
    manager = SmartAlertManager(store=store, channels=[LogChannel()], spool_folder=folder + "/spool")
    manager.join_backfill("b", source="s")
    # What the caller was told is kept, one line for each, in a file that no signal can take back.
    told = os.open(f"{folder}/{name}.told", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    counted = itertools.count(1)

    if fate == "dies right after a flush":
        append = IncidentJournal.append

        def append_and_die(*args, **rest):
            append(*args, **rest)
            if next(counted) == 12:
                os.kill(os.getpid(), signal.SIGKILL)

        IncidentJournal.append = append_and_die

    def work(thread):
        for number in range(int(each)):
            told_id = f"{name}-{thread}-{number}"
            day = f"2024-{thread + 1:02d}-{number % 28 + 1:02d}"
            manager.record_error(Incident(source="s", error_type="E", partition=day, incident_id=told_id))
            os.write(told, told_id.encode() + b"\\n")
            if number % 7 == thread % 7:
                manager.flush(f"window-{thread}", number)

    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(work, range(int(threads))))
    if fate == "leaves without a word":
        os._exit(0)
    manager.flush("last")
"""


def test_32_threads_in_4_processes_lose_no_incident_in_cloud_storage_and_one_may_be_killed(
    gcs_endpoint, tmp_path, mail_server, make_manager
):
    bucket = f"gapless-{uuid.uuid4().hex[:12]}"
    store = GcsObjectStore(bucket, project="test", endpoint=gcs_endpoint)
    store.ensure_bucket("EU")
    make_manager(mail_server.channel(), store=store).enable_backfill_mode("b", source="s")
    fates = ("ends well", "ends well", "leaves without a word", "dies right after a flush")
    given = (gcs_endpoint, bucket, str(tmp_path), str(THREADS), str(EACH))
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), *given]
    processes = [
        subprocess.Popen([*command, f"process{number}", fate], cwd=Path.cwd()) for number, fate in enumerate(fates)
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0, -9]

    told = [line for path in tmp_path.glob("*.told") for line in path.read_text().splitlines()]
    assert len(told) > 3 * THREADS * EACH
    result = send_owed_summary(store, [mail_server.channel()], "b", spool_folder=tmp_path / "spool")
    assert result.status == "sent"
    found = Counter(incident.incident_id for incident in IncidentJournal(store).read("b"))
    assert set(told) <= set(found)
    assert set(found.values()) == {1}
    # Recorded, and killed before the caller heard of it: at most the one incident that each thread had in its hands.
    assert len(found) - len(told) <= THREADS
    (mail,) = mail_server.inbox.mails
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "incidents.ndjson.gz"
    lines = [json.loads(line) for line in gzip.decompress(attached.get_content()).splitlines()]
    assert Counter(line["incident_id"] for line in lines) == found
    assert list((tmp_path / "spool").glob("*.ndjson")) == []


class DownStore(MemoryObjectStore):
    """Takes nothing while ``down``, and counts how often it is asked."""

    down, asked = True, 0

    def write(self, name, data, **rest):
        self.asked += 1
        if self.down:
            raise LandingUnavailable("503 from storage")
        return super().write(name, data, **rest)


def test_a_store_that_is_down_for_long_costs_no_memory_beyond_its_bound_and_no_incident(tmp_path):
    store, count = DownStore(), 3 * MAX_IN_MEMORY + 7
    spool = Spool(IncidentJournal(store), "b", tmp_path)
    for number in range(count):
        spool.add(Incident(source="s", error_type="E", partition="2024-01-01", incident_id=f"i{number}"))
    assert len(spool.waiting()) == MAX_IN_MEMORY
    assert store.asked < 50, "an error must not wait for a dead store each time"
    store.down = False
    spool.flush("w")
    spool.add(Incident(source="s", error_type="E", incident_id="one more"))
    spool.flush("w")
    found = Counter(incident.incident_id for incident in IncidentJournal(store).read("b"))
    assert found == Counter([*(f"i{number}" for number in range(count)), "one more"])
    assert list(tmp_path.iterdir()) == []


def test_what_was_stored_although_the_answer_said_no_counts_once(tmp_path):
    class LostAnswer(MemoryObjectStore):
        lost = False

        def write(self, name, data, **rest):
            generation = super().write(name, data, **rest)
            if not self.lost:
                self.lost = True
                raise LandingUnavailable("the answer was lost")
            return generation

    store = LostAnswer()
    spool = Spool(IncidentJournal(store), "b", tmp_path)
    for number in range(5):
        spool.add(Incident(source="s", error_type="E", incident_id=f"i{number}"))
    with pytest.raises(LandingUnavailable):
        spool.flush("w")
    spool.add(Incident(source="s", error_type="E", incident_id="i5"))
    spool.flush("w")
    assert len(list(store.list("alerts/"))) == 2
    assert sorted(found.incident_id for found in IncidentJournal(store).read("b")) == [f"i{n}" for n in range(6)]


def test_a_disk_that_is_full_keeps_incidents_in_memory(tmp_path, monkeypatch):
    store = DownStore()
    monkeypatch.setattr("alerting.spool._SpoolFile._open", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    spool = Spool(IncidentJournal(store), "b", tmp_path)
    for number in range(MAX_IN_MEMORY + 5):
        spool.add(Incident(source="s", error_type="E", incident_id=f"i{number}"))
    store.down = False
    spool.flush("w")
    assert len(list(IncidentJournal(store).read("b"))) == MAX_IN_MEMORY + 5


def test_a_file_of_a_dead_process_is_known_by_its_lock_and_not_by_a_process_id_that_another_one_has_now(
    tmp_path, store
):
    line = Incident(source="s", error_type="E", incident_id="i1").to_json()
    (tmp_path / f"b.{os.getpid()}-abcdef12-1.ndjson").write_bytes(line + b"\n")
    assert recover(IncidentJournal(store), tmp_path, "b") == 1


def test_a_file_system_without_locks_holds_no_mail_back_and_a_living_writer_keeps_its_file(
    tmp_path, store, monkeypatch
):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for number, pid in enumerate((os.getpid(), gone.pid)):
        line = Incident(source="s", error_type="E", incident_id=f"i{number}").to_json()
        (tmp_path / f"b.{pid}-abcdef12-1.ndjson").write_bytes(line + b"\n")
    monkeypatch.setattr("alerting.spool.fcntl.flock", no_locks)
    assert recover(IncidentJournal(store), tmp_path, "b") == 1
    assert [one.incident_id for one in IncidentJournal(store).read("b")] == ["i1"]
    assert len(list(tmp_path.glob("*.ndjson"))) == 1
