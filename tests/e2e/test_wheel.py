"""The wheel alone, in an empty folder: it provisions a stack and passes preflight there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
PROJECT_DIR = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the content of the wheel, as pip would install it."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_an_install_from_the_wheel_provisions_and_passes_preflight_in_an_empty_folder(
    bench: Bench, installed: Path, tmp_path: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            # Before the checkout, which is installed in this environment.
            env={**bench.env, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    where = run(
        "-c", "import flows, deployments, gapless; print(flows.__file__, deployments.__file__, gapless.__file__)"
    )
    assert where.stdout.count(str(installed)) == 3, where.stdout + where.stderr
    try:
        provisioned = run("-m", "deployments.provision")
        assert provisioned.returncode == 0, provisioned.stdout + provisioned.stderr
        checked = run("-m", "gapless", "preflight", "bdl_box_scores")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "here and deployed" in checked.stdout
        assert list(tmp_path.iterdir()) == []
    finally:
        bench.provision()


def test_the_wheel_carries_what_the_stack_and_its_pages_need(installed: Path) -> None:
    kept = (
        "deployments/prefect.yaml",
        "deployments/automations.yaml",
        "deployments/lifecycle.json",
        "deployments/local/inbox/templates/inbox.html",
        "gapless/__main__.py",
    )
    assert [name for name in kept if not (installed / name).exists()] == []
    tracked = subprocess.check_output(
        ["git", "ls-files", "alerting", "scrapers", "processors", "flows", "deployments"], cwd=PROJECT_DIR, text=True
    )
    assert [name for name in tracked.splitlines() if not (installed / name).exists()] == []
