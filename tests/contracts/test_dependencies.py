"""What the code imports is what pyproject.toml declares: runtime for everything, the extra `local` for the stack."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT_DIR = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())["project"]
ROOMS = ("gapless", "alerting", "scrapers", "processors", "flows", "deployments")
METRICS = PROJECT_DIR / "flows" / "run" / "metrics.py"
"""Imports its library only where a variable asks for metrics."""
SIMULATOR = PROJECT_DIR / "flows" / "simulate"
"""Imported by one command, which says what to install."""
# Declared without being imported, and why.
NOT_IMPORTED = {
    "tzdata": "zone files for zoneinfo",
    "numpy": "duckdb in bqemulator asks for it and does not say so",
}


def declared(*extras: str) -> set[str]:
    """Canonical names of the distributions that an installation with these extras asks for itself."""
    lines = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {"gapless"}


@functools.cache
def owners() -> dict[str, list[str]]:
    """Distributions by the top module that they bring. Reading them takes seconds."""
    return {key: list(value) for key, value in importlib.metadata.packages_distributions().items()}


@functools.cache
def files_of(name: str) -> list[str]:
    """What a distribution has installed."""
    return [str(file) for file in importlib.metadata.files(name) or []]


def imported(paths: list[Path]) -> dict[str, set[str]]:
    """Foreign modules, two names deep, with the files that import them; type-checking and lazy imports too."""
    found: dict[str, set[str]] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in ROOMS:
                    found.setdefault(name, set()).add(str(path.relative_to(PROJECT_DIR)))
    return found


@functools.cache
def distribution_of(module: str) -> set[str]:
    """Distributions that bring a module; of a namespace such as google, those that bring its file."""
    top, _, rest = module.partition(".")
    candidates = {canonicalize_name(name) for name in owners().get(top, [])}
    if len(candidates) < 2:
        return candidates
    folders = ["/".join([top, *rest.split(".")[:depth]]) for depth in (5, 4, 3, 2, 1)]
    for folder in folders:
        bringing = {
            name
            for name in candidates
            if any(file.startswith((f"{folder}/__init__.py", f"{folder}.py")) for file in files_of(name))
        }
        if bringing:
            return bringing
    return candidates


def undeclared(paths: list[Path], names: set[str]) -> dict[str, set[str]]:
    return {module: files for module, files in imported(paths).items() if not distribution_of(module) & names}


def _files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((PROJECT_DIR / room).rglob("*.py"))]


def test_every_direct_import_of_the_product_is_a_declared_dependency() -> None:
    local = _files("deployments/local")
    optional = [METRICS, *SIMULATOR.rglob("*.py")]
    product = [path for path in _files(*ROOMS) if path not in (*local, *optional)]
    assert undeclared(product, declared()) == {}
    assert undeclared([METRICS], declared("otel")) == {}
    assert undeclared(optional[1:], declared("local")) == {}


def test_every_direct_import_of_the_local_stack_is_declared_by_its_extra() -> None:
    assert undeclared(_files("deployments/local"), declared("local")) == {}


def test_every_direct_import_of_the_tests_is_declared_by_the_extra_dev() -> None:
    tests = [path for path in _files("tests") if "inject" not in path.parts]
    missing = undeclared(tests, declared("local", "otel", "dev"))
    own = {path.stem for path in tests} | {"e2e_bench", "conftest"}
    assert {module: files for module, files in missing.items() if module.split(".")[0] not in own} == {}


def test_nothing_is_declared_that_nobody_imports() -> None:
    used = {name for module in imported(_files(*ROOMS[1:])) for name in distribution_of(module)}
    assert declared("local") - used - set(NOT_IMPORTED) == set()


def test_a_missing_declaration_is_found() -> None:
    found = undeclared([PROJECT_DIR / "deployments" / "provision.py"], declared() - {"pyyaml"})
    assert set(found) == {"yaml"}


def test_prefect_is_held_below_the_next_minor_release() -> None:
    (line,) = [one for one in PROJECT["dependencies"] if re.match(r"prefect\b", one)]
    held = Requirement(line).specifier
    assert "3.8.8" in held
    assert "3.8.99" in held
    assert "3.8.7" not in held
    assert "3.9.0" not in held
