"""Which interpreters Gapless runs on, told before anything is installed. Written for any Python from 3.6 on.

python check_python.py                  exits 1 with one sentence when this interpreter is too old or too new
python check_python.py --newest-other   prints the newest supported interpreter of another minor version, or exits 1
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 14)


def problem(version):
    """One sentence about an unfit (major, minor), "" for a fit one."""
    if OLDEST <= tuple(version) <= NEWEST:
        return ""
    how = "too old" if tuple(version) < OLDEST else "newer than what Gapless is tested on"
    promised = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    return (
        f"Python {version[0]}.{version[1]} is {how}: Gapless runs on {promised}. Nothing was installed. "
        f"Next: make test PYTHON=python{OLDEST[0]}.{OLDEST[1] + 1}"
    )


def candidates():
    """Paths of interpreters by name on PATH, and of those that pyenv keeps beside it, newest minor version first."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    try:
        kept = sorted(root.iterdir())
    except OSError:  # none, or of another user
        kept = []
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = f"python{OLDEST[0]}.{minor}"
        found = shutil.which(name)
        if found:
            yield found
        for version in kept:
            if (version / "bin" / name).exists():
                yield str(version / "bin" / name)


def version_of(path):
    """(major, minor) that the interpreter itself says, None for one that does not start (a shim of pyenv)."""
    try:
        said = subprocess.check_output(
            [path, "-c", "import sys, venv, ssl; print(*sys.version_info[:2])"], stderr=subprocess.DEVNULL, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(int(part) for part in said.split())


def newest_other(own):
    """Path of the newest supported interpreter whose version is not ``own``, None without one."""
    for path in candidates():
        version = version_of(path)
        if version and version != tuple(own) and not problem(version):
            return path
    return None


def main(arguments):
    """Exit code."""
    own = sys.version_info[:2]
    if arguments == ["--newest-other"]:
        found = newest_other(own)
        if found:
            sys.stdout.write(found + "\n")
        return 0 if found else 1
    said = problem(own)
    if said:
        sys.stderr.write(said + "\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
