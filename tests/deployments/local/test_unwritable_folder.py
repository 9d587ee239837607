"""A folder in which the stack cannot keep its state: one line, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local import demo, stack


@pytest.mark.parametrize("command", ["up", "status"])
def test_a_command_of_the_stack_names_the_folder_that_it_cannot_write_to(tmp_path, capsys, command):
    (tmp_path / "state").touch()
    assert stack.main([command, "--state-dir", str(tmp_path / "state")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: the stack keeps its state in {tmp_path}/state, where nothing can be written: ")
    assert told.count("\n") == 1


def test_a_folder_in_the_place_of_the_state_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stack.json").mkdir()
    assert stack.main(["down", "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: the stack keeps its state in ")


def test_the_demo_does_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").touch()
    assert demo.main(["--state-dir", str(tmp_path / "state" / "inner")]) == 1
    assert capsys.readouterr().err.startswith("error: the stack keeps its state in ")


def test_a_path_that_the_locale_cannot_write_is_kept_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "Müller 時" / "env"
    file.parent.mkdir()
    program = (
        "import sys; from pathlib import Path; from deployments.local.stack_state import replace_file; "
        "replace_file(Path(sys.argv[1]), sys.argv[1])"
    )
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program, str(file)], env=ascii_only, check=True, timeout=60)
    assert file.read_text(encoding="utf-8") == str(file)
