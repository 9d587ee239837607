"""Exceptions without secrets. What leaves a task or a flow is written down by Prefect as it is: state, log, events."""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from alerting.errors import PipelineError
from alerting.redaction import redact, redact_value

_LONGEST_CHAIN = 32


def redacted_error(error: Exception) -> Exception:
    """The error without a secret in its text, notes and facts, and in those of its causes.

    It stays the same object where its class allows that. Else another stands in for it: of the same class name and
    with the same traceback, causes and text.
    """
    return _redacted(error, set())


class redacted_errors:
    """Around the body of a task or flow: only redacted exceptions leave it. Exits and cancellations pass."""

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            return
        clean = redacted_error(error)
        if clean is not error:
            raise clean from clean.__cause__


def redact_uncaught_errors() -> None:
    """What ends a process or thread is printed without secrets; the interpreter's own hooks print it as it is."""

    def on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))

    def on_thread_error(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            name = args.thread.name if args.thread else "?"
            sys.stderr.write(f"Exception in thread {name}:\n")
            on_error(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = on_error
    threading.excepthook = on_thread_error


def _redacted(error: Exception, seen: set[int]) -> Exception:
    if id(error) in seen or len(seen) > _LONGEST_CHAIN:
        return error
    seen.add(id(error))
    for link in ("__cause__", "__context__"):
        linked = getattr(error, link)
        if isinstance(linked, Exception) and (clean := _redacted(linked, seen)) is not linked:
            suppressed = error.__suppress_context__
            setattr(error, link, clean)
            error.__suppress_context__ = suppressed
    _redact_in_place(error)
    for inner in getattr(error, "exceptions", ()):
        if isinstance(inner, Exception):
            _redacted(inner, seen)
    if _says_no_secret(error):
        return error
    return _stand_in(error)


def _redact_in_place(error: Exception) -> None:
    if isinstance(error, PipelineError):
        error.message, error.hint = redact(error.message), redact(error.hint)
        for name, value in error.facts.items():
            clean = redact_value(value, name)
            if str(clean) != _said(value):
                error.facts[name] = clean
    if notes := getattr(error, "__notes__", None):
        error.__notes__ = [redact(str(note)) for note in notes]
    clean_args = tuple(_argument(arg) for arg in error.args)
    if clean_args != error.args:
        with contextlib.suppress(Exception):
            error.args = clean_args


def _argument(arg: Any) -> Any:
    if arg is None or isinstance(arg, bool | int | float):
        return arg
    clean = redact_value(arg)
    return arg if _said(clean) == _said(arg) or _said(arg) == redact(_said(arg)) else clean


def _says_no_secret(error: Exception) -> bool:
    try:
        said = (str(error), repr(error))
    except Exception:  # it would raise in the hands of whoever shows it, too
        return False
    return all(redact(text) == text for text in said)


def _said(value: Any, say: Any = str) -> str:
    try:
        return str(say(value))
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def _stand_in(error: Exception) -> Exception:
    kind: type[Exception] = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    made = kind(redact(_said(error))).with_traceback(error.__traceback__)
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__ = error.__suppress_context__
    return made
