from __future__ import annotations

import re
from pathlib import Path

import pytest

import alerting.errors
from alerting.errors import PipelineError

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()


def _tree(kind: type[PipelineError], depth: int = 2) -> list[tuple[int, str]]:
    found = []
    for child in kind.__subclasses__():
        if child.__module__ == alerting.errors.__name__:
            found += [(depth, child.__name__), *_tree(child, depth + 1)]
    return found


def test_the_page_has_a_section_for_every_class_in_the_order_of_the_tree():
    sections = [(len(marks), name) for marks, name in re.findall(r"^(##+) (\w+)$", PAGE, re.MULTILINE)]
    assert sections == _tree(PipelineError)


@pytest.mark.parametrize("name", [name for depth, name in _tree(PipelineError) if depth == 3])
def test_every_class_says_what_it_means_and_what_to_do(name):
    section = PAGE.split(f"### {name}\n")[1].split("\n## ")[0].split("\n### ")[0]
    meaning, mark, to_do = section.partition("\n\n**Do**: ")
    assert meaning.strip(), "what it means"
    assert mark
    assert to_do.strip(), "what to do"


def test_the_page_says_once_for_all_classes_what_is_kept():
    assert "payloads always stay" in PAGE.split("\n## ")[0]
