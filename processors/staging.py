"""The admitted rows of a batch on their way to the warehouse: on local disk first, then as gzip NDJSON objects.

Objects are named by what they hold (``staging/source=<s>/batch=<hash>/<table>-<digest>-0001.ndjson.gz``), so a repeat
finds them there, and changed code writes others. Memory holds the gzip of one part, whatever the size of the batch.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from alerting.errors import DiskFull
from alerting.object_store import GenerationConflict, ObjectStore

PART_BYTES = 16 * 1024 * 1024
"""Uncompressed size at which a part ends, because a gzip object cannot be read in parallel."""

# What is compressed at a time: memory holds this much of the rows, and the gzip of one part.
_CHUNK_BYTES = 2**18

# A row is about a kilobyte: the usual buffer would be written to disk at every eighth.
_BUFFER_BYTES = 2**18


class TableSpool:
    """Rows of one table, appended partition by partition; the last partition can be taken back."""

    def __init__(self, folder: Path, table: str) -> None:
        self.table = table
        self.rows = 0
        self._path = folder / f"{table}.ndjson"
        with on_disk():
            self._file = self._path.open("w+b", buffering=_BUFFER_BYTES)
        self._mark = (0, 0)

    def mark(self) -> None:
        """A later ``roll_back`` returns to here."""
        self._mark = (self._file.tell(), self.rows)

    def roll_back(self) -> None:
        """Forgets every row since the last mark."""
        size, self.rows = self._mark
        with on_disk():
            self._file.seek(size)
            self._file.truncate()

    def append(self, line: bytes) -> None:
        """One row, with its newline."""
        try:
            self._file.write(line)
        except OSError as error:
            raise _not_taken(error) from error
        self.rows += 1

    def close(self) -> None:
        """Closes the file; the folder belongs to the caller. What the disk does not take any more is not missed."""
        with contextlib.suppress(OSError):
            self._file.close()

    def sha256(self) -> str:
        """Over all rows in the order they came."""
        with on_disk():
            self._file.flush()
            with self._path.open("rb") as rows:
                return hashlib.file_digest(rows, "sha256").hexdigest()

    def upload(self, store: ObjectStore, prefix: str, digest: str) -> list[str]:
        """Writes the parts and returns their names in row order. Raises what the store raises."""
        names = []
        for number, part in enumerate(self._packed_parts(), start=1):
            name = f"{prefix}{self.table}-{digest}-{number:04d}.ndjson.gz"
            # No Content-Encoding: Cloud Storage would unpack such an object for BigQuery and the load would fail.
            write_once(store, name, part, "application/gzip")
            names.append(name)
        return names

    def _packed_parts(self) -> Iterator[bytes]:
        """Gzip of whole rows each, the same for the same rows."""
        with on_disk():
            self._file.flush()
            reading = self._path.open("rb")
        with reading as rows:
            while first := rows.read(min(_CHUNK_BYTES, PART_BYTES)):
                packed = io.BytesIO()
                # Level 1: a fifth of the time of level 6, a tenth more bytes.
                with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as part:
                    size, chunk = part.write(first), first
                    while size < PART_BYTES and (more := rows.read(min(_CHUNK_BYTES, PART_BYTES - size))):
                        size, chunk = size + part.write(more), more
                    if not chunk.endswith(b"\n"):
                        part.write(rows.readline())
                yield packed.getvalue()


@contextlib.contextmanager
def staging_folder() -> Iterator[Path]:
    """A folder for rows on their way, gone afterwards. Raises ``DiskFull`` where none can be made."""
    with contextlib.ExitStack() as held:
        with on_disk():
            made = tempfile.TemporaryDirectory(prefix="gapless-", ignore_cleanup_errors=True)
        yield Path(held.enter_context(made))


def temporary_place() -> str:
    """Where such a folder is made; without any folder to write to, Python names none."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - told to a person


@contextlib.contextmanager
def on_disk() -> Iterator[None]:
    """Raises ``DiskFull`` for what the disk of this machine does not do."""
    try:
        yield
    except OSError as error:
        raise _not_taken(error) from error


def _not_taken(error: OSError) -> DiskFull:
    remedy = f"free some space in {temporary_place()}, or point TMPDIR at a larger disk"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "let the worker open more files (ulimit -n 1024)"
    return DiskFull(
        f"the disk of this machine did not take rows on their way to BigQuery: {error.strerror}; nothing of them was "
        "loaded, and what is landed stays",
        stage="load",
        hint=f"{remedy}, then: gapless preflight",
    )


def write_once(store: ObjectStore, name: str, data: bytes, content_type: str) -> None:
    """Writes an object whose name says what it holds; one that is there already is the same."""
    try:
        store.write(name, data, if_generation=0, content_type=content_type)
    except GenerationConflict:
        return
