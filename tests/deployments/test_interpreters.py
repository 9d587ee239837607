"""Interpreters that are too old or too new are told so before anything is installed."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci/check_python.py"
CHECK = runpy.run_path(str(SCRIPT))


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """Like ``python3``, but says of itself that it is 3.10."""
    path = tmp_path / "python3"
    path.write_text(
        f"#!{sys.executable}\nimport runpy, sys\n"
        "sys.version_info = (3, 10, 13, 'final', 0)\nsys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    path.chmod(0o755)
    return path


def test_make_says_at_once_that_an_interpreter_is_too_old_and_installs_nothing(stub: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    made = subprocess.run(
        ["make", "-C", ROOT, "check", f"PYTHON={stub}", f"VENV={venv}"], capture_output=True, text=True, timeout=60
    )
    assert made.returncode != 0
    assert "Python 3.10 is too old: Gapless runs on 3.11 to 3.14. Nothing was installed." in made.stderr
    assert "make test PYTHON=" in made.stderr
    assert not venv.exists()


@pytest.mark.parametrize(("version", "said"), [((3, 10), "too old"), ((3, 15), "newer than"), ((2, 7), "too old")])
def test_unfit_versions_are_named(version: tuple[int, int], said: str) -> None:
    assert said in CHECK["problem"](version)


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_fit_versions_have_no_problem(minor: int) -> None:
    assert CHECK["problem"]((3, minor)) == ""


def test_a_folder_of_interpreters_that_cannot_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_another_user(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "versions").mkdir()
    monkeypatch.setattr(Path, "iterdir", of_another_user)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert list(CHECK["candidates"]()) == []


def test_the_newest_other_interpreter_is_another_one_that_starts() -> None:
    found = CHECK["newest_other"](sys.version_info[:2])
    if found is not None:
        version = CHECK["version_of"](found)
        assert version != sys.version_info[:2]
        assert CHECK["problem"](version) == ""
    assert CHECK["version_of"](str(ROOT / "README.md")) is None


def test_the_package_promises_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (oldest, newest) = CHECK["OLDEST"], CHECK["NEWEST"]
    assert project["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    assert re.search(r"Python 3\.11 to 3\.14", (ROOT / "README.md").read_text())
