"""What lies on disk is this user's alone, and what another put there is no incident."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from alerting.channels import FileChannel
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.local_store import FileObjectStore
from alerting.memory_store import MemoryObjectStore
from alerting.message import plain_mail
from alerting.private_files import is_private, private_folder
from alerting.spool import Spool, default_folder, recover


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def test_the_spool_is_in_the_state_folder_of_the_user(monkeypatch, tmp_path):
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert default_folder() == tmp_path / "gapless" / "spool"
    assert "tmp" not in default_folder().relative_to(tmp_path).parts


def test_spool_mails_and_journal_are_closed_to_others_whatever_the_umask(tmp_path):
    spool = Spool(IncidentJournal(MemoryObjectStore()), "b", tmp_path / "spool")
    spool.add(Incident(source="s", message="m"))
    FileChannel(tmp_path / "mails").send(plain_mail("Hi", "there"))
    FileObjectStore(tmp_path / "store").write("a/b.json", b"{}")
    open_to_others = {name: oct(mode) for name, mode in modes(tmp_path).items() if mode & 0o077}
    assert {Path(name).parts[0] for name in modes(tmp_path)} == {"spool", "mails", "store"}
    assert open_to_others == {}


def test_a_folder_that_others_may_enter_is_closed_and_one_behind_a_link_is_refused(tmp_path):
    (tmp_path / "wide").mkdir(mode=0o777)
    (tmp_path / "wide").chmod(0o777)
    assert stat.S_IMODE(private_folder(tmp_path / "wide").stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "wide")
    with pytest.raises(PermissionError, match="nothing was written"):
        private_folder(tmp_path / "link")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a file away")
def test_a_folder_of_another_user_is_not_used_and_the_incident_stays_in_memory(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    spool = Spool(IncidentJournal(MemoryObjectStore()), "b", folder)
    spool.add(Incident(source="s", message="m"))
    assert list(folder.iterdir()) == []
    assert [one.message for one in spool.waiting()] == ["m"]
    assert recover(IncidentJournal(MemoryObjectStore()), folder) == 0


def test_foreign_files_are_never_taken_for_incidents_and_stay_where_they_are(tmp_path):
    spool = Spool(IncidentJournal(MemoryObjectStore()), "b", tmp_path / "other")
    spool.add(Incident(source="s", message="planted by somebody else"))
    (real,) = (tmp_path / "other").glob("*.ndjson")
    folder = private_folder(tmp_path / "spool")
    own = folder / "b.1-0123abcd-1.ndjson"
    own.write_bytes(Incident(source="s", message="mine").to_json() + b"\n")
    own.chmod(0o600)
    (folder / "b.2-0123abcd-1.ndjson").symlink_to(real)
    writable = folder / "b.3-0123abcd-1.ndjson"
    writable.write_bytes(real.read_bytes())
    writable.chmod(0o666)
    (folder / "notes.ndjson").write_bytes(real.read_bytes())
    foreign = ["b.2-0123abcd-1.ndjson", "b.3-0123abcd-1.ndjson", "notes.ndjson"]
    if os.getuid() == 0:
        given = folder / "b.4-0123abcd-1.ndjson"
        given.write_bytes(real.read_bytes())
        given.chmod(0o600)
        os.chown(given, 12345, 12345)
        assert not is_private(given)
        foreign.insert(2, given.name)
    journal = IncidentJournal(MemoryObjectStore())
    assert recover(journal, folder) == 1
    assert [one.message for one in journal.read("b")] == ["mine"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(foreign)
