"""Every command of README and docs is executed by some test; one that is in no list fails here.

Those that need the running stack are executed by tests/e2e/test_docs.py; the lists of both are here and there:
a command has to fit exactly one of them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from flows.cli.command import app
from flows.settings_reference import render

PROJECT_DIR = Path(__file__).parents[2]
PAGES = sorted([*PROJECT_DIR.glob("*.md"), *(PROJECT_DIR / "docs").rglob("*.md")])
NEEDS_STACK = (
    "gapless ",
    "prefect ",
    "python -m deployments.provision",
    "python -m deployments.local.trouble",
    "source .gapless/env",
    "printf ",
)
EXECUTED_BY = {
    "pytest -q tests/contracts -k ecb_rates": "tests/docs/test_add_a_source.py",
    "python -m deployments.lifecycle": "tests/deployments/test_lifecycle.py",
}
LANGUAGES = {"sh", "python", "yaml", "text", "console", "mermaid", "json", "sql", "html", "ini", "toml", "dockerfile"}
# What only a cloud or an engine that is absent here can run. Shown as ```console, never as ```sh.
CLOUD_ONLY = (
    "gcloud ",
    "gsutil ",
    "bq ",
    "docker ",
    "kubectl ",
    "helm ",
    "psql ",
    "export ",
    "sudo ",
    "prefect cloud ",
)


def test_there_are_commands_at_all(documented_commands):
    assert {one.page for one in documented_commands} >= {"README.md", "docs/runbook.md", "docs/troubleshooting.md"}


def test_every_documented_command_is_executed_by_a_test(documented_commands):
    homeless = [
        f"{one.page}:{one.line}: {one.text}"
        for one in documented_commands
        if not one.text.startswith((*NEEDS_STACK, "make ")) and one.text not in EXECUTED_BY
    ]
    assert not homeless, "run them in a test, or show them as ```console if only a cloud can run them"


def test_a_command_that_another_test_executes_stands_in_that_test():
    for command, test in EXECUTED_BY.items():
        words = [word for word in command.split() if word.startswith(("tests/", "-k"))] or [command]
        text = (PROJECT_DIR / test).read_text()
        assert all(word in text for word in words)


def test_every_make_target_of_the_docs_exists_and_its_recipe_can_be_read(documented_commands):
    targets = {one.text.split()[1] for one in documented_commands if one.text.startswith("make ")}
    assert {"run", "test", "up", "down"} <= targets
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make on this machine")
    for target in sorted(targets):
        done = subprocess.run(
            [make, "-n", target], cwd=PROJECT_DIR, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"make {target}: {done.stderr}"
        assert done.stdout.strip()


def test_every_gapless_command_of_the_docs_exists_and_has_the_options_it_is_shown_with(documented_commands):
    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in typer.main.get_command(app).commands.items()
    }
    wrong = []
    for one in documented_commands:
        if one.text.startswith("gapless ") and not one.text.split()[1].startswith("-"):
            verb, *words = shlex.split(one.text)[1:]
            options = {word for word in words if word.startswith("-")}
            if verb not in known or not options <= known[verb]:
                wrong.append(f"{one.page}:{one.line}: {one.text}")
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_its_language_and_cloud_commands_are_console(page):
    text = page.read_text()
    fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[0::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            assert not line.strip() or line.startswith((*CLOUD_ONLY, "#")), f"{page.name}: {line} can be executed here"


def _slug(heading: str) -> str:
    """As GitHub makes anchors."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {_slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_or_heading_that_exists(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_knows_a_machine(page):
    assert not re.search(r"(?<![\w.])/(?:work|tmp|home|root|Users)/", page.read_text())


def test_the_configuration_page_is_current():
    page = (PROJECT_DIR / "docs" / "configuration.md").read_text()
    assert page == render(), "python -m flows.settings_reference > docs/configuration.md"


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [PROJECT_DIR / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.exists():
            reached.add(page)
            targets = re.findall(r"\]\(([^)\s#:]+\.md)(?:#[^)]*)?\)", page.read_text())
            waiting += [(page.parent / target).resolve() for target in targets]
    assert {page for page in PAGES if "docs" in page.parts} <= reached
