"""The wheel: what a plain install of it can do, and that it provisions a stack from an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
PROJECT_DIR = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this tree."""
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
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """Folder with the content of the wheel, as pip would install it."""
    return unpacked(wheel, wheel.parent / "site")


def unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


Gapless = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def plain(wheel: Path) -> Gapless:
    """``python -m ...`` of a virtual environment with the wheel and what constraints-runtime.txt names, and no more.

    The distributions are linked from this environment, so that nothing is downloaded.
    """
    home = wheel.parent / "venv"
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    pins = (PROJECT_DIR / "constraints-runtime.txt").read_text()
    named = {plain_name(name) for name in re.findall(r"^([\w.-]+)==", pins, re.M)}
    for found in distributions():
        if plain_name(found.name) in named:
            for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(Path(str(found.locate_file(top))))
    unpacked(wheel, site)
    (empty := home / "empty").mkdir()

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(home / "bin" / "python"), "-m", *arguments],
            cwd=empty,
            env={"PATH": "/usr/bin:/bin", "HOME": str(empty), **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_plain_install_has_no_emulators_and_says_what_to_install_for_them(plain: Gapless) -> None:
    for extra in ("bqemulator", "datasette", "pytest"):
        assert f"No module named {extra}" in plain(extra).stderr
    assert plain("gapless", "--help").stdout.count("\n") > 30
    simulated = plain("gapless", "simulate", "bdl_box_scores", "2025-01-01", "2025-01-03")
    assert simulated.returncode == 1
    assert simulated.stderr.strip().endswith("Nothing was done. Next: pip install 'gapless[local]'")
    demo = plain("deployments.local.demo")
    assert demo.returncode == 1
    assert "pip install 'gapless[local]'" in demo.stderr


def test_preflight_of_a_plain_install_names_each_setting_that_is_missing_once(plain: Gapless) -> None:
    checked = plain("gapless", "preflight", "bdl_box_scores")
    assert checked.returncode == 1, checked.stderr
    _, remedies = checked.stdout.split("to do:\n")
    assert len(remedies.splitlines()) == len({line.split(": ", 1)[1] for line in remedies.splitlines()})
    assert remedies.count("export GAPLESS_PROJECT=...") == 1
    assert "source: export GAPLESS_SOURCE_SECRETS=" in remedies
    assert "prefect api: source .gapless/env, or export PREFECT_API_URL=..." in remedies
    assert "Traceback" not in checked.stderr


def test_provisioning_without_a_server_is_one_line_and_no_traceback(plain: Gapless) -> None:
    provisioned = plain("deployments.provision")
    assert provisioned.returncode == 1
    assert provisioned.stderr.strip() == (
        "error: PREFECT_API_URL is not set; nothing was provisioned. "
        "Next: source .gapless/env, or export PREFECT_API_URL=..."
    )


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
