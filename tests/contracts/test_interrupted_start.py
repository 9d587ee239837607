"""Ctrl+C while a command still imports: it ends, and prints no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT_DIR = Path(__file__).parents[2]
# Ctrl+C at the moment when the first of our modules with dependencies is imported.
INTERRUPTING = """
import os, runpy, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name in ("alerting", "flows.cli"):
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
sys.argv = ["x", *%r, "--help"]
runpy.run_module("gapless.program" if sys.argv[1:-1] else "gapless", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["", "deployments.local.demo", "deployments.local.stack"])
def test_ctrl_c_while_a_command_imports_is_no_traceback(module):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTING % ([module] if module else [],)],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_nothing_is_imported_before_the_command_can_catch_ctrl_c():
    told = "import sys; before = set(sys.modules); import gapless; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", told], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "errno", "gapless"}


def test_every_program_of_the_makefile_is_started_so():
    started = [line for line in (PROJECT_DIR / "Makefile").read_text().splitlines() if "python -m deployments." in line]
    assert [line.split()[-1] for line in started] == ["deployments.local.bigquery_emulator.googlesql"]
