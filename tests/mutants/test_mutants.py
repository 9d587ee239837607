"""The mutants of `make mutants` fit the tree as it is, and the run tells which of them a test sees."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from run_mutants import PROMISES, ROOT, Mutant, read_mutants, run


def test_every_promise_has_a_handful_of_mutants_with_names_of_their_own() -> None:
    mutants = read_mutants()
    assert {promise: count >= 4 for promise, count in Counter(one.promise for one in mutants).items()} == dict.fromkeys(
        PROMISES, True
    )
    assert len({one.name for one in mutants}) == len(mutants)


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_has_one_place_in_its_file_and_tests_that_exist(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.mutated(text) != text
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}" if name else "", (ROOT / file).read_text(), re.MULTILINE)


def test_a_mutant_without_a_place_is_no_mutant() -> None:
    mutant = Mutant("budgets", "nowhere", "a.py", "x", "y", ())
    for text in ("", "x x"):
        with pytest.raises(ValueError, match=f"nowhere: its text stands {len(text.split())} times in a.py, not once"):
            mutant.mutated(text)


@pytest.mark.long
def test_a_run_says_caught_survived_and_explained_and_leaves_the_tree_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=60)
    # Their plugins want more than this tree has.
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:bqemulator -p no:datasette\nmarkers = long\n")
    code = "def half(n: int) -> int:\n    return n // 2\n"
    (tmp_path / "halves.py").write_text(code)
    (tmp_path / "test_halves.py").write_text("from halves import half\n\ndef test_half():\n    assert half(4) == 2\n")

    def mutant(name: str, replace: str, explained: str = "") -> Mutant:
        return Mutant("budgets", name, "halves.py", "n // 2", replace, ("test_halves.py",), explained)

    seen, unseen = mutant("doubled", "n * 2"), mutant("rounded up", "-(-n // 2)")
    assert run([seen], tmp_path, workers=1) == 0
    assert run([seen, unseen, mutant("shifted", "n >> 1", "it is the same")], tmp_path, workers=1) == 1
    said = capsys.readouterr().out
    assert re.search(r"^caught +budgets: doubled \(halves.py, \d+ s\)$", said, re.MULTILINE)
    assert re.search(r"^survived +budgets: rounded up", said, re.MULTILINE)
    assert re.search(r"^explained +budgets: shifted.*\n +it is the same$", said, re.MULTILINE)
    assert "3 mutants, 1 survived" in said
    assert (tmp_path / "halves.py").read_text() == code

    (tmp_path / "halves.py").write_text(code.replace("// 2", "// 3"))
    assert run([mutant("again", "n")], tmp_path, workers=1) == 2
    assert "The tests fail without a mutant" in capsys.readouterr().out
