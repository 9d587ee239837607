"""Which module may import which foreign library; import-linter sees only top-level names of foreign packages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT_DIR = Path(__file__).parent.parent.parent
LAYERS = ("alerting", "scrapers", "processors", "flows", "deployments")
ONLY_IN = {
    "google.cloud.storage": {"scrapers/object_store.py"},
    "google.cloud.bigquery": {
        f"processors/{name}.py" for name in ("warehouse", "bigquery_client", "bigquery_tables", "review_dataset")
    },
    "httpx": {"scrapers/transport.py"},
}


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, with ``from a import b`` as ``a.b`` too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def sources() -> list[Path]:
    return [path for layer in LAYERS for path in sorted((PROJECT_DIR / layer).rglob("*.py"))]


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_foreign_library_is_imported_in_its_own_modules_only(library: str) -> None:
    importers = {
        str(path.relative_to(PROJECT_DIR))
        for path in sources()
        if any(name == library or name.startswith(f"{library}.") for name in imported(path))
    }
    assert importers == ONLY_IN[library]


def test_no_rows_are_streamed_into_the_warehouse() -> None:
    for path in sources():
        text = path.read_text()
        assert "insert_rows" not in text, path
        assert "insertAll" not in text, path


def test_no_module_of_flows_bears_a_name_that_shadows_the_standard_library() -> None:
    import sys

    names = {path.stem for path in (PROJECT_DIR / "flows").glob("*.py")} - {"__init__", "__main__"}
    assert not names & set(sys.stdlib_module_names)
