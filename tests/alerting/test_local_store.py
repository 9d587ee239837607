from __future__ import annotations

import multiprocessing
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alerting.errors import ConfigurationError, StateUnreadable
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.local_store import FileObjectStore
from alerting.object_store import GenerationConflict, ObjectMissing


def test_an_object_is_read_as_written_with_generation_and_metadata(any_store):
    generation = any_store.write("a/b=c/x.json", b"one", if_generation=0, metadata={"verdict": "verified"})
    assert any_store.read("a/b=c/x.json") == (b"one", generation)
    (listed,) = any_store.list("a/b=")
    assert (listed.name, listed.generation, listed.size_bytes) == ("a/b=c/x.json", generation, 3)
    assert dict(listed.metadata) == {"verdict": "verified"}


def test_a_file_is_written_from_its_beginning(any_store):
    with tempfile.TemporaryFile() as file:
        file.write(b"line one\nline two\n")
        generation = any_store.write("runs/errors.jsonl", file)
    assert any_store.read("runs/errors.jsonl") == (b"line one\nline two\n", generation)
    (listed,) = any_store.list("runs/")
    assert listed.size_bytes == 18


def test_a_write_at_the_wrong_generation_changes_nothing(any_store):
    first = any_store.write("x", b"1", if_generation=0)
    for wrong in (0, first + 1):
        with pytest.raises(GenerationConflict):
            any_store.write("x", b"2", if_generation=wrong)
    assert any_store.read("x") == (b"1", first)
    assert any_store.write("x", b"2", if_generation=first) > first


def test_a_generation_never_comes_back_after_a_delete(any_store):
    first = any_store.write("x", b"1")
    any_store.delete("x")
    any_store.delete("x")
    with pytest.raises(ObjectMissing):
        any_store.read("x")
    assert any_store.write("x", b"1", if_generation=0) > first


def test_a_listing_is_sorted_and_cut_by_offsets(any_store):
    for name in ("p/b", "p/a/2", "p/a/1", "q/z", "p/c"):
        any_store.write(name, b"")
    assert [found.name for found in any_store.list("p/")] == ["p/a/1", "p/a/2", "p/b", "p/c"]
    assert [found.name for found in any_store.list("p/", start_offset="p/a/2", end_offset="p/c")] == ["p/a/2", "p/b"]
    assert list(any_store.list("nothing/")) == []


def test_of_many_threads_exactly_one_creates(any_store):
    start = threading.Barrier(16)

    def create(number: int) -> bool:
        start.wait()
        try:
            any_store.write("lease", str(number).encode(), if_generation=0)
        except GenerationConflict:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(16))) == 1


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a//b", "", ".meta/x", "a/../../x"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError):
        FileObjectStore(tmp_path / "s").write(name, b"")


def test_a_process_killed_between_commit_and_move_loses_nothing(tmp_path, monkeypatch):
    store = FileObjectStore(tmp_path)
    store.write("x", b"old")
    real = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "x":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write("x", b"new")
    monkeypatch.undo()
    assert FileObjectStore(tmp_path).read("x")[0] == b"new"


def test_a_broken_sidecar_is_unreadable_and_not_missing(tmp_path):
    store = FileObjectStore(tmp_path)
    store.write("x", b"1")
    (tmp_path / ".meta" / "x.json").write_text("{")
    with pytest.raises(StateUnreadable):
        store.read("x")
    with pytest.raises(StateUnreadable):
        store.write("x", b"2", if_generation=0)


def _increment(folder: str, times: int) -> None:
    store = FileObjectStore(folder)
    for _ in range(times):
        while True:
            data, generation = store.read("counter")
            try:
                store.write("counter", str(int(data) + 1).encode(), if_generation=generation)
                break
            except GenerationConflict:
                continue


def _record(folder: str, process: int) -> None:
    journal = IncidentJournal(FileObjectStore(folder))

    def write(thread: int) -> None:
        for number in range(5):
            incident = Incident(source="s", error_type="E", message="m", incident_id=f"{process}-{thread}-{number}")
            journal.append("b", f"w{thread}", 1, [incident])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))


def test_processes_that_compare_and_swap_lose_no_increment(tmp_path):
    FileObjectStore(tmp_path).write("counter", b"0")
    _run_processes(_increment, [(str(tmp_path), 20)] * 3)
    assert FileObjectStore(tmp_path).read("counter")[0] == b"60"


def test_32_threads_in_4_processes_lose_no_incident(tmp_path):
    _run_processes(_record, [(str(tmp_path), process) for process in range(4)])
    found = {incident.incident_id for incident in IncidentJournal(FileObjectStore(tmp_path)).read("b")}
    assert found == {f"{p}-{t}-{n}" for p in range(4) for t in range(8) for n in range(5)}


def _run_processes(target, arguments) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=target, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
