"""Why code of a source cannot read an answer: which field, what came, what the code wanted, and where. Pure.

Values are told by their kind alone: what a source sends may be a person's, and a message goes into mails.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import itertools
import linecache
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
_LOST = object()
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
        fields = _fields_in(code, _Scope(frame.f_locals, frame.f_globals, error)) if code else {}
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


@dataclass(frozen=True, slots=True)
class _Scope:
    """What the variables of the code that failed were.

    From Python 3.12 on the variables of a comprehension are lost when it fails (https://peps.python.org/pep-0709/). The
    error tells what they held, as far as it can be told.
    """

    variables: Mapping[str, Any]
    constants: Mapping[str, Any]
    error: BaseException

    def has_lost(self, name: str) -> bool:
        return not (name in self.variables or name in self.constants or hasattr(builtins, name))

    def value_told(self) -> Any:
        """The value that the error's message quotes, None where it says so, _LOST where it says nothing."""
        text = str(self.error)
        if isinstance(self.error, _OWN_WORDS):
            return None if "'NoneType'" in text else _LOST
        quoted = _QUOTED.findall(text)
        with contextlib.suppress(SyntaxError, ValueError):
            return ast.literal_eval(quoted[0]) if len(quoted) == 1 else _LOST
        return _LOST


def _fields_in(code: str, scope: _Scope) -> dict[str, Any]:
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
        path = _path(node, scope)
        if path:
            names, value = path
            found["".join(names).removeprefix(".")] = value
        else:
            pending += ast.iter_child_nodes(node)
    lost = [name for name, value in found.items() if value is _LOST]
    if len(lost) == 1:
        found[lost[0]] = scope.value_told()
    return found


def _path(node: ast.AST, scope: _Scope) -> tuple[list[str], Any] | None:
    """Of ``play["home"]["pts"]`` the names ``home`` and ``pts``, and what is there."""
    if isinstance(node, ast.Subscript):
        base, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        base, key = node.func.value, node.args[0]
    else:
        return None
    if isinstance(base, ast.Name):
        # What is no local variable is a table of the code: its keys are values.
        place = _LOST if scope.has_lost(base.id) else scope.variables.get(base.id)
        names: list[str] = []
    else:
        before = _path(base, scope)
        if before is None:
            return None
        names, place = before
    if place is not _LOST and type(place) not in (dict, list):
        return (names, place) if names else None
    known = _key(key, scope, place)
    if known is None:
        return (names, place) if names else None
    name, at = known
    error = scope.error
    if place is not _LOST:
        return [*names, name], _at(place, at)
    if names and isinstance(error, TypeError) and "subscriptable" in str(error):
        return names, _LOST
    is_missing = isinstance(error, KeyError) and error.args[:1] == (at,)
    return [*names, name], _ABSENT if is_missing else _LOST


def _key(node: ast.AST, scope: _Scope, place: Any) -> tuple[str, str | int] | None:
    """A key as it is shown, and itself: by its variable's name where it is none of the code's own words."""
    if isinstance(node, ast.Constant):
        key, is_own = node.value, True
    elif isinstance(node, ast.Name):
        key = _lost_key(scope, place) if scope.has_lost(node.id) else scope.variables.get(node.id)
        is_own = any(_holds(words, key) for words in scope.constants.values())
    else:
        return None
    if isinstance(key, bool) or not isinstance(key, str | int):
        return None
    shown = key if is_own else getattr(node, "id", "")
    return (f".{shown}" if is_own and isinstance(key, str) else f"[{shown}]"), key


def _lost_key(scope: _Scope, place: Any) -> str | None:
    """The key that is missing, or the only one whose value the error tells."""
    if isinstance(scope.error, KeyError):
        return scope.error.args[0] if scope.error.args and type(scope.error.args[0]) is str else None
    told = scope.value_told()
    if told is _LOST or type(place) is not dict:
        return None
    keys = [key for key, value in place.items() if type(key) is str and type(value) is type(told) and value == told]
    return keys[0] if len(keys) == 1 else None


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
    if value is _LOST:
        return "cannot be read"
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
