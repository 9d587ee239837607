"""From responses to files that a load job reads: rows a second, and the CPU of a date beside that of dlt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import beside_dlt
import pytest
import rows_of_dates
from aims import Aim, print_aims

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]
ROOT = Path(__file__).parent.parent.parent


def test_rows_of_large_dates() -> None:
    found = rows_of_dates.measure(20_000, 14)
    print(f"\n14 dates of 20,000 rows of 9 columns; load {os.getloadavg()[0]:.1f}")
    left = "reading JSON, checking every value against its column, and gzip share it about equally"
    print_aims([Aim("rows a second and core, landed to staged", 100_000, found.rows_a_second, left, at_least=True)])


def test_dates_beside_dlt() -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("dlt is no dependency of ours, and uv that installs it beside is not here")
    command = [uv, "run", "--no-project", "--python", sys.executable, "--with", beside_dlt.DLT, "--with-editable", "."]
    ran = subprocess.run(
        [*command, "python", "tests/benchmarks/beside_dlt.py", "60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    if ran.returncode and "beside_dlt.py" not in ran.stderr:
        pytest.skip(f"{beside_dlt.DLT} could not be installed: {ran.stderr[-300:]}")
    assert ran.returncode == 0, ran.stderr[-3000:]
    print(f"\n{ran.stdout}")
    found = re.search(r"gapless +[\d.]+ ms .* ([\d.]+) of dlt's", ran.stdout)
    assert found, ran.stdout
    left = "a manifest, a content hash and the check of every row are what dlt does not do"
    print_aims([Aim("CPU of a date / that of dlt", 0.5, float(found[1]), left)])
