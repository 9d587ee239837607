"""Another project's package of one of our names, found first: said at the start, in words."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gapless
from flows.cli.output import show
from gapless import PACKAGES

PROJECT_DIR = Path(__file__).parents[2]
STARTS = {
    "gapless": ["-c", "import sys, gapless; sys.exit(gapless.main())"],
    "a flow of the worker": ["-c", "import flows.backfill"],
    "provisioning": ["-m", "deployments.provision"],
    "the local stack": ["-m", "deployments.local.stack", "status"],
}


def start(arguments: list[str], cwd: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(one) for one in path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_the_command_names_a_neighbour_package_that_hides_one_of_ours(tmp_path: Path, name: str) -> None:
    neighbour = tmp_path / name
    neighbour.mkdir()
    (neighbour / "__init__.py").write_text("raise SystemExit('the neighbour ran')")
    done = start(STARTS["gapless"], tmp_path, tmp_path, PROJECT_DIR)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: import {name}: expected {PROJECT_DIR / name}, found {neighbour}")
    assert "Nothing was started. Next: " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("what", STARTS)
def test_every_start_refuses_a_neighbour_called_alerting(tmp_path: Path, what: str) -> None:
    neighbour = tmp_path / "alerting.py"
    neighbour.write_text("class PipelineError(Exception): ...")
    done = start(STARTS[what], tmp_path, tmp_path, PROJECT_DIR)
    assert done.returncode == 1
    assert f"import alerting: expected {PROJECT_DIR / 'alerting'}, found {neighbour}" in done.stderr


def test_a_neighbour_behind_ours_is_none_of_our_business(tmp_path: Path) -> None:
    (tmp_path / "alerting.py").write_text("")
    done = start(
        ["-c", "import gapless; gapless.refuse_neighbours(); print('ours')"], tmp_path.parent, PROJECT_DIR, tmp_path
    )
    assert done.stdout == "ours\n", done.stderr


def test_the_list_of_packages_is_the_one_that_is_installed() -> None:
    import tomllib

    wheel = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["packages"]) == {*PACKAGES, "gapless"}


def test_the_installed_packages_are_found_as_ours_from_any_folder(tmp_path: Path) -> None:
    done = start(["-c", "import gapless, flows; print(gapless.__file__)"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(PROJECT_DIR / "gapless" / "__init__.py")


def test_ctrl_c_while_the_command_is_still_being_imported_says_nothing(monkeypatch, capsys) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gapless, "refuse_neighbours", interrupted)
    assert gapless.main() == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("encoding", ["latin-1", "cp437"])
def test_a_locale_without_a_character_gets_its_code_and_json_says_the_same(monkeypatch, encoding: str) -> None:
    def runs() -> int:
        show({"range": "2025-01-01…🟩"}, ["a … b"], as_json=False)
        show({"range": "2025-01-01…🟩"}, [], as_json=True)
        return 0

    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding, write_through=True))
    monkeypatch.setattr("flows.cli.command.main", runs)
    assert gapless.main() == 0
    text, _, document = written.getvalue().decode("ascii").partition("\n")
    assert text == r"a \u2026 b"
    assert json.loads(document) == {"range": "2025-01-01…🟩"}


@pytest.mark.parametrize("start_of", ["gapless", "gapless.program"])
def test_an_impossible_setting_of_prefect_is_one_line_that_names_its_variable_and_no_value(start_of: str) -> None:
    words = {"gapless": ["approve", "bf-0", "--reason", "x"], "gapless.program": ["deployments.provision"]}
    done = subprocess.run(
        [sys.executable, "-m", start_of, *words[start_of]],
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "CHATTY"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(
        "error: Prefect cannot be loaded, a setting of it is impossible: level: Input should be 'DEBUG'"
    )
    assert said.endswith("Nothing was done. Next: correct PREFECT_LOGGING_LEVEL")
    assert "CHATTY" not in said


class Full(io.StringIO):
    """What a file is on a disk without room."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_under_the_output_is_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["gapless", "--version"])
    monkeypatch.setattr("sys.stdout", Full())
    assert gapless.main() == 1
    assert capsys.readouterr().err == "error: the output could not be written: No space left on device\n"
