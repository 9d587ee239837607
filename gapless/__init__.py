"""Start of the ``gapless`` command: looks whether Gapless's packages are its own, then runs it.

They are called alerting, scrapers, processors, flows and deployments: names that a neighbour on ``sys.path`` may have
too, and Python takes the first it finds. This package has a name of its own, so that it can tell.
"""

from __future__ import annotations

# Nothing else here, and nothing slow: before `main` runs, Ctrl+C is a traceback.
import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INTERRUPTED = 130
_UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
PACKAGES = ("alerting", "scrapers", "processors", "flows", "deployments")


class NeighbourPackage(ImportError):
    """A package of one of our names is found first on ``sys.path``, and it is not ours."""


def refuse_neighbours() -> None:
    """Raises ``NeighbourPackage`` unless all packages lie beside this one. Imports none of them."""
    import importlib.util
    from pathlib import Path

    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        places = list(found.submodule_search_locations or [found.origin or ""]) if found else []
        if [Path(place).resolve() for place in places] != [home / name]:
            seen = ", ".join(places) or "nothing"
            raise NeighbourPackage(
                f"import {name}: expected {home / name}, found {seen}. Another project has a package of this name, and "
                "Python would run that one. Nothing was started. Next: take its folder off PYTHONPATH, start "
                "from another folder, or install Gapless in a virtual environment of its own"
            )


def write_what_no_locale_has() -> None:
    """Lets every program print its characters in every locale."""
    import io

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # In a locale without it, … is written as its code, and no traceback.
            stream.reconfigure(errors="backslashreplace")


def impossible_prefect_setting(error: ValueError) -> str:
    """What to say where Prefect cannot be loaded for what the environment or a profile sets; "" for another error.

    No value, as it may be a secret.
    """
    if not type(error).__module__.startswith("pydantic") or not str(getattr(error, "title", "")).endswith("Settings"):
        return ""
    details: Any = error
    found = details.errors(include_input=False, include_url=False, include_context=False)
    # Of a default that follows from another setting, that one is told.
    problems = {str(one["loc"][0]): one["msg"] for one in found if one["type"] != "default_factory_not_called"}
    endings = tuple(f"_{name.upper()}" for name in problems)
    names = sorted(name for name in os.environ if name.startswith("PREFECT_") and name.endswith(endings))
    told = "; ".join(f"{name}: {what}" for name, what in problems.items())
    where = " and ".join(names) or "the profile of Prefect (prefect config view)"
    told = f"Prefect cannot be loaded, a setting of it is impossible: {told}. Nothing was done"
    return f"error: {told}. Next: correct {where}\n"


def main() -> int:
    """The ``gapless`` command; returns its exit code."""
    try:
        write_what_no_locale_has()
        refuse_neighbours()
        # Takes seconds, in which a person may think again.
        from flows.cli.command import main as run

        return run()
    except NeighbourPackage as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except ValueError as error:
        if not (told := impossible_prefect_setting(error)):
            raise
        sys.stderr.write(told)
        return 1
    except OSError as error:
        if error.errno not in _UNWRITTEN:
            raise
        sys.stderr.write(f"error: the output could not be written: {error.strerror}\n")
        return 1
