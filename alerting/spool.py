"""Incidents on their way to the journal: in memory, and in a local file that survives the process.

An incident is in the file before ``add`` returns. A batch goes to the journal when it is big or two seconds old; while
the store is down, memory holds the oldest few thousand and the file all of them. The writer keeps its file locked, so
that ``recover`` knows the files of killed processes from those of living ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import logging
import os
import re
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import platformdirs

from alerting.incident import Incident
from alerting.journal import IncidentJournal, path_part, with_fingerprint
from alerting.machine import is_process_gone, machine_name
from alerting.private_files import is_private, open_private, private_folder
from alerting.redaction import redact

FLUSH_COUNT = 200
FLUSH_AFTER_S = 2.0
MAX_IN_MEMORY = 2_000
_OF_A_SPOOL = re.compile(r"\.\d+-[0-9a-f]{8}-\d+\.ndjson\Z")
_log = logging.getLogger("gapless.alerting")


def default_folder() -> Path:
    """In the user's own state folder, which survives a restart of the machine; a shared temporary folder may not."""
    return platformdirs.user_state_path("gapless") / "spool"


class Spool:
    """One writer's waiting incidents of one backfill."""

    def __init__(self, journal: IncidentJournal, backfill_id: str, folder: Path | str | None = None) -> None:
        self._journal, self._backfill_id = journal, backfill_id
        self._writer = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._waiting: list[Incident] = []
        self._file = _SpoolFile(Path(folder) if folder else default_folder(), path_part(backfill_id), self._writer)
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._timer: threading.Timer | None = None
        self._failed = False
        self.writer = ""
        """Under this name the journal has what it stored; "" while that is nothing."""

    def waiting(self) -> list[Incident]:
        """What the journal does not have yet, as far as memory holds it."""
        with self._lock:
            return list(self._waiting)

    def add(self, incident: Incident) -> None:
        """Keeps the incident; never raises. Waits for the store only while that takes what it is given."""
        incident = with_fingerprint(incident)
        with self._lock:
            place = self._file.append(incident)
            if place is None or not (self._file.ahead or len(self._waiting) >= MAX_IN_MEMORY):
                self._waiting.append(incident)
            else:
                self._file.leave(place)
            full = len(self._waiting) >= FLUSH_COUNT and not self._failed
            if self._timer is None and not full:
                self._timer = threading.Timer(FLUSH_AFTER_S, self._flush_quietly)
                self._timer.daemon = True
                self._timer.start()
        if full:
            self._flush_quietly()

    def flush(self, window: str = "", attempt: int | str = 1) -> None:
        """Stores everything that waits, 2,000 incidents an object. Raises what the store raises; the rest waits."""
        with self._storing:
            while True:
                with self._lock:
                    if self._timer is not None:
                        self._timer.cancel()
                        self._timer = None
                    batch = self._waiting[:MAX_IN_MEMORY]
                if not batch:
                    return
                self._store(window, attempt, batch)
                with self._lock:
                    del self._waiting[: len(batch)]
                    if not self._waiting:
                        self._waiting = self._file.take(MAX_IN_MEMORY)
                    if not self._waiting:
                        self._file.discard()

    def _store(self, window: str, attempt: int | str, batch: Sequence[Incident]) -> None:
        try:
            self._journal.append(self._backfill_id, window, attempt, batch, writer=self._writer, repeats=self._failed)
        except BaseException:
            self._failed = True
            raise
        self._failed, self.writer = False, self._writer

    def _flush_quietly(self) -> None:
        try:
            self.flush("mixed")
        except Exception as error:  # the incidents wait; the next flush tries again
            _log.warning("incident journal did not take %d incidents yet: %s", len(self._waiting), redact(str(error)))


class _SpoolFile:
    """Lines of JSON on local disk, a fresh file after each discard. Not safe for threads: the spool locks."""

    def __init__(self, folder: Path, backfill: str, writer: str) -> None:
        self._folder, self._stem = folder, f"{backfill}.{writer}"
        self._numbers = itertools.count(1)
        self._path: Path | None = None
        self._file: io.FileIO | None = None
        self._ahead_from: int | None = None

    @property
    def ahead(self) -> bool:
        """Whether the file has incidents that memory left to it."""
        return self._ahead_from is not None

    def append(self, incident: Incident) -> int | None:
        """Where the line begins; None when the disk did not take it."""
        line = incident.to_json() + b"\n"
        with contextlib.suppress(OSError):
            file = self._file or self._open()
            place = file.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                if file.write(line) == len(line):
                    return place
            file.truncate(place)
        return None

    def leave(self, place: int) -> None:
        """From ``place`` on, lines are only here until ``take`` reads them."""
        if self._ahead_from is None:
            self._ahead_from = place

    def take(self, count: int) -> list[Incident]:
        """The next ``count`` incidents that memory left to the file."""
        if self._ahead_from is None or self._path is None:
            return []
        with self._path.open("rb") as file:
            file.seek(self._ahead_from)
            lines = list(itertools.islice(file, count))
            self._ahead_from = file.tell() if len(lines) == count else None
        return _read_lines(self._path, lines)

    def discard(self) -> None:
        """Everything in it is in the journal."""
        if self._file is not None and self._path is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = self._path = None

    def _open(self) -> io.FileIO:
        private_folder(self._folder)
        self._path = self._folder / f"{self._stem}-{next(self._numbers)}.ndjson"
        file = open_private(self._path, "ab")
        assert isinstance(file, io.FileIO)
        self._file = file
        with contextlib.suppress(OSError):  # a file system without locks: recover looks for the process
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._file


def recover(journal: IncidentJournal, folder: Path | str | None = None, backfill_id: str = "") -> int:
    """Takes files of dead processes into the journal (of one backfill, or all); returns the number of incidents.

    Files of living processes stay theirs, and foreign files where they are. The journal drops what it already has.
    Raises what the store raises.
    """
    taken = 0
    root = Path(folder) if folder else default_folder()
    if not root.is_dir():
        return 0
    try:
        private_folder(root)
    except PermissionError as error:
        _log.error("no incident is taken from a spool: %s", error)
        return 0
    pattern = f"{path_part(backfill_id)}.*.ndjson" if backfill_id else "*.ndjson"
    for path in sorted(root.glob(pattern)):
        if not _OF_A_SPOOL.search(path.name) or not is_private(path):
            _log.warning("%s is no file of a spool of this user; it is left alone", path)
            continue
        name, _, writer = path.name.removesuffix(".ndjson").rpartition(".")
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if not _is_left(file, writer):
                continue
            while lines := list(itertools.islice(file, MAX_IN_MEMORY)):
                incidents = _read_lines(path, lines)
                journal.append(name, "recovered", 1, incidents, writer=writer.rpartition("-")[0], repeats=True)
                taken += len(incidents)
            path.unlink(missing_ok=True)
    return taken


def _is_left(file: BinaryIO, writer: str) -> bool:
    """Whether its writer is gone, by its lock; where the file system has no locks, by its process id."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return is_process_gone(machine_name(), int(writer.partition("-")[0]))
    return True


def _read_lines(path: Path, lines: list[bytes]) -> list[Incident]:
    """What can be read, and an incident about what cannot (a killed writer's half line): said, never dropped."""
    incidents, broken = [], 0
    for line in lines:
        try:
            incidents.append(Incident.from_json(line))
        except ValueError:
            broken += 1
    if broken:
        kept = path.with_suffix(".broken")
        with open_private(kept, "wb") as copy:
            copy.write(path.read_bytes())
        message = (
            f"{broken} of {len(lines)} incidents of a killed process were cut off; their file is kept beside the spool"
        )
        incidents.append(Incident(error_type="SpoolDamaged", message=message, facts={"file": kept.name}))
    return incidents
