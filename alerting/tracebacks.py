"""What a traceback says, short enough for a mail: own code only, no machine's paths, no secret. Pure."""

from __future__ import annotations

import traceback
from pathlib import PurePath
from types import TracebackType

from alerting.redaction import redact
from alerting.wording import shorten

OWN_PACKAGES = ("flows", "processors", "scrapers", "alerting", "deployments")
MAX_LINES = 20


def exception_chain(error: BaseException) -> tuple[str, ...]:
    """Class names, from the raised error down to its first cause; eight at most."""
    names: list[str] = []
    current: BaseException | None = error
    while current is not None and len(names) < 8:
        names.append(type(current).__name__)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return tuple(names)


def _short_path(filename: str) -> str:
    """The part of a path that means something on any machine: from the package on."""
    parts = PurePath(filename).parts
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] in OWN_PACKAGES or parts[index - 1 : index] == ("site-packages",):
            return "/".join(parts[index:])
    return parts[-1] if parts else filename


def _is_own(path: str) -> bool:
    return path.split("/")[0] in OWN_PACKAGES


def own_frame(trace: TracebackType | None) -> str:
    """``file:function`` of the innermost frame of our own code, else of the innermost at all."""
    frames = [(_short_path(frame.filename), frame.name) for frame in traceback.extract_tb(trace)]
    own = [frame for frame in frames if _is_own(frame[0])] or frames
    return ":".join(own[-1]) if own else ""


def traceback_text(error: BaseException) -> str:
    """Own frames only, innermost first, no absolute path; without any of them the innermost foreign one."""
    lines: list[tuple[bool, str]] = []
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = _short_path(frame.filename)
        code = f"\n    {frame.line.strip()}" if frame.line else ""
        lines.append((_is_own(path), f"{path}:{frame.lineno} in {frame.name}{code}"))
    own = [text for is_own, text in lines if is_own] or [text for _, text in lines[:1]]
    return cut_lines(redact("\n".join(own)))


def cut_lines(text: str) -> str:
    """Twenty lines of 200 characters at most."""
    return "\n".join(shorten(line, 200) for line in text.splitlines()[:MAX_LINES])
