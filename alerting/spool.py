"""Incidents on their way to the journal: in memory, and in a local file that survives the process.

An incident is in the file before ``add`` returns. A batch goes to the journal when it is big or two seconds old;
files that a killed process left are taken up by ``recover``.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import threading
import uuid
from pathlib import Path

from alerting.incident import Incident
from alerting.journal import IncidentJournal, path_part, with_fingerprint
from alerting.redaction import redact

FLUSH_COUNT = 200
FLUSH_AFTER_S = 2.0
_log = logging.getLogger("gapless.alerting")


def default_folder() -> Path:
    """Private to the user: incidents are redacted, but nobody else's business."""
    return Path(tempfile.gettempdir()) / f"gapless-spool-{os.getuid()}"


class Spool:
    """One writer's waiting incidents of one backfill."""

    def __init__(self, journal: IncidentJournal, backfill_id: str, folder: Path | str | None = None) -> None:
        self._journal, self._backfill_id = journal, backfill_id
        self._folder = Path(folder) if folder else default_folder()
        self._waiting: list[Incident] = []
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._timer: threading.Timer | None = None
        self._path = self._folder / f"{path_part(backfill_id)}.{os.getpid()}-{uuid.uuid4().hex[:8]}.ndjson"

    def waiting(self) -> list[Incident]:
        """What the journal does not have yet."""
        with self._lock:
            return list(self._waiting)

    def add(self, incident: Incident) -> None:
        """Keeps the incident; never raises."""
        incident = with_fingerprint(incident)
        with self._lock:
            self._waiting.append(incident)
            self._spill(incident)
            full = len(self._waiting) >= FLUSH_COUNT
            if self._timer is None and not full:
                self._timer = threading.Timer(FLUSH_AFTER_S, self._flush_quietly)
                self._timer.daemon = True
                self._timer.start()
        if full:
            self._flush_quietly()

    def flush(self, window: str = "", attempt: int | str = 1) -> None:
        """Stores everything that waits as one object. Raises what the store raises; then all of it still waits."""
        with self._storing:
            with self._lock:
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                batch = list(self._waiting)
            if batch:
                self._journal.append(self._backfill_id, window, attempt, batch)
            with self._lock:
                self._waiting = self._waiting[len(batch) :]
                if not self._waiting:
                    self._path.unlink(missing_ok=True)

    def _flush_quietly(self) -> None:
        try:
            self.flush("mixed")
        except Exception as error:  # the incidents wait; the next flush tries again
            _log.warning("incident journal did not take %d incidents yet: %s", len(self._waiting), redact(str(error)))

    def _spill(self, incident: Incident) -> None:
        with contextlib.suppress(OSError):
            if not self._waiting[1:]:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                file.write(incident.to_json() + b"\n")


def recover(journal: IncidentJournal, folder: Path | str | None = None, backfill_id: str = "") -> int:
    """Takes files of dead processes into the journal (of one backfill, or all); returns the number of incidents.

    Files of living processes stay theirs. The journal drops what it already has. Raises what the store raises.
    """
    taken = 0
    root = Path(folder) if folder else default_folder()
    pattern = f"{path_part(backfill_id)}.*.ndjson" if backfill_id else "*.ndjson"
    for path in sorted(root.glob(pattern)):
        name, _, rest = path.name.removesuffix(".ndjson").rpartition(".")
        owner = rest.partition("-")[0]
        if owner.isdigit() and _alive(int(owner)):
            continue
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            incidents = _read_lines(path, file.read().splitlines())
            journal.append(name, "recovered", 1, incidents)
            path.unlink(missing_ok=True)
            taken += len(incidents)
    return taken


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
        kept.write_bytes(path.read_bytes())
        message = (
            f"{broken} of {len(lines)} incidents of a killed process were cut off; the file is kept beside the spool"
        )
        incidents.append(Incident(error_type="SpoolDamaged", message=message, facts={"file": kept.name}))
    return incidents


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
