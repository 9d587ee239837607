"""Text that is read or written without an encoding is another one in another locale."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local.process_id import ProcessId

PROJECT_DIR = Path(__file__).parent.parent.parent
PLACES = ("gapless", "alerting", "scrapers", "processors", "flows", "deployments", ".ci")
_POSITION = {"read_text": 0, "write_text": 1}


def leaves_it_to_the_locale(call: ast.Call) -> bool:
    """Whether Python takes the encoding of the locale for that call."""
    named = {one.arg: one.value for one in call.keywords}
    if "encoding" in named:
        return False
    function = ast.unparse(call.func).rpartition(".")[2]
    if function in _POSITION:
        return len(call.args) <= _POSITION[function]
    if ast.unparse(call.func) == "open":
        mode = call.args[1] if len(call.args) > 1 else named.get("mode", ast.Constant("r"))
        return isinstance(mode, ast.Constant) and "b" not in str(mode.value)
    return any(ast.unparse(named[one]) == "True" for one in ("text", "universal_newlines") if one in named)


def in_source(text: str) -> list[int]:
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if leaves_it_to_the_locale(call)]


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale() -> None:
    found = {
        f"{path.relative_to(PROJECT_DIR)}:{line}"
        for place in PLACES
        for path in (PROJECT_DIR / place).rglob("*.py")
        for line in in_source(path.read_text(encoding="utf-8"))
    }
    assert not found


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text('x')", True),
        ("path.write_text('x', encoding='utf-8')", False),
        ("open('x')", True),
        ("open('x', 'rb')", False),
        ("subprocess.run(['ps'], text=True)", True),
        ("subprocess.run(['ps'], text=True, encoding='utf-8')", False),
    ],
)
def test_a_call_without_an_encoding_is_found(line: str, is_found: bool) -> None:
    assert (in_source(line) == [1]) is is_found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are asked of ps here")
def test_a_process_whose_name_is_no_text_is_known_all_the_same(tmp_path: Path) -> None:
    program = tmp_path / os.fsdecode(b"sl\xff")
    program.symlink_to(Path(sys.executable).resolve())
    asked = [program, "-S", "-c", "print(flush=True); input()"]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert b"\xff" in Path(f"/proc/{child.pid}/comm").read_bytes()
        found = ProcessId.of(child.pid)
        child.communicate(b"\n")
    assert found is not None
