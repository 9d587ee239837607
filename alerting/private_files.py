"""Files that only this user reads: incidents, mails, journals are redacted, and still nobody else's business."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def private_folder(folder: Path) -> Path:
    """Makes the folder with mode 700, its parents too.

    Raises ``PermissionError`` for one that another user owns or that is a link: who owns the folder decides what is in
    it. One of our own that others may enter is closed to them.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user; nothing was written to it")
    if found.st_mode & 0o077:
        folder.chmod(FOLDER_MODE)
    return folder


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Opens a file for writing; a new one has mode 600 from its first moment."""
    return open(path, mode, buffering=0 if "a" in mode else -1, opener=_private)


def is_private(path: Path) -> bool:
    """Whether the file is a regular one of this user that nobody else can have written."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
