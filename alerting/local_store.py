"""An object store that needs no cloud: a local folder, for alerts without a bucket."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from alerting.errors import ConfigurationError, LandingUnavailable, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, StoredObject
from alerting.private_files import FOLDER_MODE, open_private


def next_generation(previous: int) -> int:
    """Grows for ever, also over a delete and a new object of the same name, as in Cloud Storage."""
    return max(time.time_ns() // 1000, previous + 1)


def from_beginning(file: IO[bytes]) -> IO[bytes]:
    """The same file, to be read as a whole."""
    file.seek(0)
    return file


def check_generation(name: str, found: int, wanted: int | None) -> None:
    """Raises ``GenerationConflict`` unless ``wanted`` is None or what was found."""
    if wanted is not None and found != wanted:
        raise GenerationConflict(f"{name} is at generation {found}, expected {wanted}")


def within(name: str, prefix: str, start_offset: str | None, end_offset: str | None) -> bool:
    """Whether a listing of ``prefix`` between the offsets has ``name``."""
    return (
        name.startswith(prefix)
        and (start_offset is None or name >= start_offset)
        and (end_offset is None or name < end_offset)
    )


class FileObjectStore:
    """Objects as files below one folder; safe for threads and processes of one machine.

    Layout: ``<folder>/<name>`` holds the bytes, ``<folder>/.meta/<name>.json`` generation and metadata. The rename
    of the sidecar is the commit; a process killed right after it leaves the bytes in a file that the sidecar
    names, and the next reader moves them into place.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder).absolute()
        self._meta = self._folder / ".meta"
        self._locks = self._folder / ".locks"
        for made in (self._folder, self._meta, self._locks):
            made.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    @property
    def root_uri(self) -> str:
        """``file:///...``."""
        return self._folder.as_uri()

    def read(self, name: str) -> tuple[bytes, int]:
        """Bytes and generation. Raises ``ObjectMissing``, ``StateUnreadable`` when a sidecar lost its bytes."""
        with self._locked(name):
            sidecar = self._sidecar(name)
            if sidecar is None:
                raise ObjectMissing(name)
            try:
                return self._path(name).read_bytes(), int(sidecar["generation"])
            except OSError as error:
                raise StateUnreadable(
                    f"object unreadable at {self.root_uri}/{name}; nothing was changed", reason=str(error.strerror)
                ) from error

    def write(
        self,
        name: str,
        data: bytes | IO[bytes],
        *,
        if_generation: int | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """See ``ObjectStore.write``. Raises ``LandingUnavailable`` when the disk does not take it."""
        with self._locked(name):
            sidecar = self._sidecar(name)
            found = int(sidecar["generation"]) if sidecar else 0
            check_generation(name, found, if_generation)
            generation = next_generation(found)
            try:
                pending = self._write_file(self._path(name), data)
                facts = {
                    "generation": generation,
                    "size_bytes": pending.stat().st_size,
                    "content_type": content_type,
                    "metadata": dict(metadata or {}),
                    "updated_at": dt.datetime.now(dt.UTC).isoformat(),
                    "pending": pending.name,
                }
                fresh = self._write_file(self._meta_path(name), json.dumps(facts).encode())
                fresh.replace(self._meta_path(name))
                pending.replace(self._path(name))
            except OSError as error:
                raise LandingUnavailable(
                    f"could not write {self.root_uri}/{name}: {error.strerror}",
                    hint="free disk space or fix its rights",
                ) from error
            return generation

    def list(
        self, prefix: str, *, start_offset: str | None = None, end_offset: str | None = None
    ) -> Iterator[StoredObject]:
        """See ``ObjectStore.list``."""
        folder = self._meta / prefix.rpartition("/")[0]
        names = (str(path.relative_to(self._meta))[: -len(".json")] for path in folder.rglob("*.json"))
        for name in sorted(name for name in names if within(name, prefix, start_offset, end_offset)):
            with self._locked(name):
                sidecar = self._sidecar(name)
            if sidecar is not None:
                yield StoredObject(
                    name,
                    int(sidecar["generation"]),
                    int(sidecar["size_bytes"]),
                    dict(sidecar["metadata"]),
                    dt.datetime.fromisoformat(sidecar["updated_at"]),
                )

    def delete(self, name: str) -> None:
        """A missing object is no error."""
        with self._locked(name):
            self._meta_path(name).unlink(missing_ok=True)
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if not name or any(part in ("", ".", "..") for part in parts) or parts[0] in (".meta", ".locks"):
            raise ConfigurationError(f"not an object name: {name!r}")
        return self._folder / name

    def _meta_path(self, name: str) -> Path:
        return self._meta / f"{name}.json"

    def _write_file(self, target: Path, data: bytes | IO[bytes]) -> Path:
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        fresh = target.with_name(f".{uuid.uuid4().hex}.tmp")
        with open_private(fresh, "wb") as file:
            shutil.copyfileobj(io.BytesIO(data) if isinstance(data, bytes) else from_beginning(data), file)
            file.flush()
            os.fsync(file.fileno())
        return fresh

    def _sidecar(self, name: str) -> dict[str, Any] | None:
        path = self._meta_path(name)
        try:
            sidecar: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StateUnreadable(f"sidecar unreadable at {path.as_uri()}; nothing was changed") from error
        pending = self._path(name).with_name(sidecar["pending"])
        if pending.exists():
            pending.replace(self._path(name))
        return sidecar

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        # flock belongs to the open file, so one open per call excludes threads and processes alike.
        lock = self._locks / f"{hashlib.sha256(name.encode()).hexdigest()[:2]}.lock"
        self._path(name)
        with open_private(lock, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
