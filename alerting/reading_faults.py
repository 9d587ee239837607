"""Why code of a source cannot read an answer: which field, what came, what the code wanted, and where. Pure.

Values are told by their kind alone: what a source sends may be a person's, and a message goes into mails.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import linecache
import re
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from alerting.redaction import redact
from alerting.wording import plural, shorten

_MOST_FIELDS = 3
_MOST_CHARS = 120
# An interpreter's own words name types and attributes, and no values.
_OWN_WORDS = (TypeError, AttributeError, IndexError, RecursionError, MemoryError)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|b'(?:[^'\\]|\\.)*'")
_ABSENT = object()
_STANDARD_LIBRARY = linecache.__file__.removesuffix("linecache.py")


def reading_fault(error: BaseException, trace: TracebackType | None = None) -> str:
    """One line on an exception of code that reads: ``pts: got a text of 3 characters; ValueError ...``.

    ``trace`` begins with the frame that called that code, which is left out; it is the error's own when not given.
    """
    every = list(_frames(trace or error.__traceback__))[1:]
    # A library's own frames say nothing of the answer.
    frames = [one for one in every if not _is_library(one[0].f_code.co_filename)] or every[-1:]
    fields: dict[str, Any] = {}
    told_at, is_raised = "", False
    for frame, position in reversed(frames):
        code = _code_at(frame, position)
        # What that code calls of ours says less of it.
        if not told_at and frame.f_code.co_filename == frames[0][0].f_code.co_filename:
            told_at, is_raised = _place(frame, position[0], code), code.startswith("raise ")
        fields = _fields_in(code, frame) if code else {}
        if fields:
            told_at = _place(frame, position[0], code)
            break
    shown = "; ".join(f"{name}: {_kind(value)}" for name, value in itertools.islice(fields.items(), _MOST_FIELDS))
    said = _said(error, fields, is_own=isinstance(error, _OWN_WORDS) and not is_raised)
    what = f"{type(error).__name__}: {said}".removesuffix(": ")
    return "; ".join(filter(None, (shown, what))) + (f"; at {told_at}" if told_at else "")


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, tuple[int, int, int, int]]]:
    while trace is not None:
        positions = next(itertools.islice(trace.tb_frame.f_code.co_positions(), trace.tb_lasti // 2, None), None)
        line, end, begin, stop = positions or (None, None, None, None)
        yield trace.tb_frame, (line or trace.tb_lineno, end or 0, begin or 0, stop or 0)
        trace = trace.tb_next


def _is_library(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith((_STANDARD_LIBRARY, "<"))


def _place(frame: FrameType, line: int, code: str) -> str:
    name = re.split(r"[\\/]", frame.f_code.co_filename)[-1]
    shown = f" `{shorten(code, _MOST_CHARS)}`" if code else ""
    return redact(f"{name}:{line} in {frame.f_code.co_name}{shown}")


def _code_at(frame: FrameType, position: tuple[int, int, int, int]) -> str:
    """The expression that failed, on one line; "" where it cannot be told."""
    first, last, begin, stop = position
    if not last:
        return ""
    lines = [
        linecache.getline(frame.f_code.co_filename, number, frame.f_globals).encode()
        for number in range(first, last + 1)
    ]
    if not all(lines):
        return ""
    lines[-1] = lines[-1][:stop]
    lines[0] = lines[0][begin:]
    return " ".join(b" ".join(lines).decode("utf-8", "replace").split())


def _fields_in(code: str, frame: FrameType) -> dict[str, Any]:
    """Paths of the fields that an expression reads from its local variables, with their values."""
    tree: ast.AST | None = None
    for text in (f"({code})", code):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            tree = tree or ast.parse(text)
    if tree is None:
        return {}
    found: dict[str, Any] = {}
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop(0)
        path = _path(node, frame)
        if path:
            names, value = path
            found["".join(names).removeprefix(".")] = value
        else:
            pending += ast.iter_child_nodes(node)
    return found


def _path(node: ast.AST, frame: FrameType) -> tuple[list[str], Any] | None:
    """Of ``play["home"]["pts"]`` the names ``home`` and ``pts``, and what is there."""
    if isinstance(node, ast.Subscript):
        base, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        base, key = node.func.value, node.args[0]
    else:
        return None
    known = _key(key, frame)
    if known is None:
        return None
    name, at = known
    if isinstance(base, ast.Name):
        # What is no local variable is a table of the code: its keys are values.
        place = frame.f_locals.get(base.id)
        return ([name], _at(place, at)) if type(place) in (dict, list) else None
    before = _path(base, frame)
    if before is None or type(before[1]) not in (dict, list):
        return before
    return [*before[0], name], _at(before[1], at)


def _key(node: ast.AST, frame: FrameType) -> tuple[str, str | int] | None:
    """A key as it is shown, and itself: by its variable's name where it is none of the code's own words."""
    if isinstance(node, ast.Constant):
        key, is_own = node.value, True
    elif isinstance(node, ast.Name):
        key = frame.f_locals.get(node.id)
        is_own = any(_holds(place, key) for place in frame.f_globals.values())
    else:
        return None
    if isinstance(key, bool) or not isinstance(key, str | int):
        return None
    shown = key if is_own else getattr(node, "id", "")
    return (f".{shown}" if is_own and isinstance(key, str) else f"[{shown}]"), key


def _holds(place: object, key: object) -> bool:
    return isinstance(place, tuple | list | dict | set | frozenset) and type(key) is str and key in place


def _at(place: Any, key: str | int) -> Any:
    if type(place) is dict:
        return place.get(key, _ABSENT)
    if type(place) is list and isinstance(key, int) and -len(place) <= key < len(place):
        return place[key]
    return _ABSENT


def _kind(value: Any) -> str:
    if value is _ABSENT:
        return "missing"
    if value is None:
        return "got null"
    if isinstance(value, str):
        return f"got a text of {plural(len(value), 'character')}" if value else "got an empty text"
    kinds = {bool: "true or false", int: "a whole number", float: "a number", dict: "an object", list: "a list"}
    return f"got {kinds.get(type(value), type(value).__name__)}"


def _said(error: BaseException, fields: dict[str, Any], *, is_own: bool) -> str:
    """Its message without values: what is quoted, and the fields' own."""
    if isinstance(error, KeyError):
        return ""
    text = str(error) if is_own else _QUOTED.sub("'…'", str(error))
    for value in fields.values():
        if isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) > 1:
            text = text.replace(str(value), "…")
    return redact(" ".join(text.split()))[:_MOST_CHARS]
