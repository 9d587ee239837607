"""Breaks the product on purpose, one promise at a time, and tells whether a named test sees it.

    python tests/mutants/run_mutants.py [WORD ...]      only mutants whose promise or name has one of the words

A mutant of ``mutants.toml`` is one text of one file replaced by another. It is applied to a copy of the tree, where
its tests run; ``caught`` means that one of them failed, ``survived`` that none did. Before that, the same tests have to
pass on the copy as it is. A survivor is mended by a test, or explained in its ``explained``; any other ends with 1.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISES = {
    "no date is lost",
    "no date comes twice",
    "nothing is called done that is not",
    "one mail",
    "budgets",
    "secrets",
}
MUTANTS = Path(__file__).with_name("mutants.toml")
TIMEOUT_S = 240.0
_PASSED, _FAILED = 0, 1


@dataclass(frozen=True)
class Mutant:
    """One fault that somebody might make: ``search`` stands once in ``file``, and ``tests`` should see ``replace``."""

    promise: str
    name: str
    file: str
    search: str
    replace: str
    tests: tuple[str, ...]
    explained: str = ""

    def mutated(self, text: str) -> str:
        """``text`` with the fault; ``ValueError`` unless there is exactly one place for it."""
        if text.count(self.search) != 1:
            raise ValueError(f"{self.name}: its text stands {text.count(self.search)} times in {self.file}, not once")
        return text.replace(self.search, self.replace)


def read_mutants(path: Path = MUTANTS) -> list[Mutant]:
    """Those of the file, in its order."""
    listed = tomllib.loads(path.read_text())["mutant"]
    return [Mutant(**{**one, "tests": tuple(one["tests"])}) for one in listed]


def copy_tree(root: Path, target: Path) -> None:
    """What git tracks or would track, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Exit code of pytest, and the end of what it said; a run without an end is a failure."""
    # Without bytecode: a mutant of the same size in the same second would be taken for what it replaced.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CI": "1", "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not long and not faults"]
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _FAILED, f"no end within {TIMEOUT_S:.0f} s"
    return done.returncode, done.stdout[-3_000:] + done.stderr[-1_000:]


@contextmanager
def applied(mutant: Mutant, tree: Path) -> Iterator[None]:
    """The mutant in ``tree``, and gone from it afterwards."""
    file = tree / mutant.file
    text = file.read_text()
    file.write_text(mutant.mutated(text))
    try:
        yield
    finally:
        file.write_text(text)


def judge(mutant: Mutant, tree: Path) -> str:
    """``caught`` or ``survived``; ``RuntimeError`` when the tests could not be run at all."""
    with applied(mutant, tree):
        code, said = run_tests(tree, mutant.tests)
    if code not in (_PASSED, _FAILED):
        raise RuntimeError(f"{mutant.name}: pytest ended with {code}\n{said}")
    return "caught" if code == _FAILED else "survived"


def run(mutants: Sequence[Mutant], root: Path = ROOT, workers: int = 2) -> int:
    """Judges each and prints it. 0: all caught or explained, 1: a survivor, 2: the tests fail without any mutant."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gapless-mutants-") as folder:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(workers):
            trees.put(tree := Path(folder) / str(number))
            copy_tree(root, tree)

        def on_a_tree(mutant: Mutant) -> tuple[Mutant, str, float]:
            tree, since_s = trees.get(), time.monotonic()
            try:
                return mutant, judge(mutant, tree), time.monotonic() - since_s
            finally:
                trees.put(tree)

        tests = list(dict.fromkeys(test for one in mutants for test in one.tests))
        code, said = run_tests(tree, tests)
        if code != _PASSED:
            print(f"The tests fail without a mutant, so nothing can be told:\n{said}")
            return 2
        print(f"{len(tests)} tests and files pass without a mutant ({time.monotonic() - began_s:.0f} s)", flush=True)
        survivors = 0
        with ThreadPoolExecutor(workers) as pool:
            for mutant, verdict, took_s in pool.map(on_a_tree, mutants):
                shown = "explained" if verdict == "survived" and mutant.explained else verdict
                survivors += shown == "survived"
                print(f"{shown:10}{mutant.promise}: {mutant.name} ({mutant.file}, {took_s:.0f} s)", flush=True)
                if shown == "explained":
                    print(f"{'':10}{mutant.explained}")
    print(f"{len(mutants)} mutants, {survivors} survived, {time.monotonic() - began_s:.0f} s")
    return 1 if survivors else 0


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="Breaks the product on purpose and tells whether a test sees it.")
    parser.add_argument("words", nargs="*", help="only mutants whose promise or name has one of them")
    words = parser.parse_args().words
    mutants = [one for one in read_mutants() if not words or any(word in f"{one.promise} {one.name}" for word in words)]
    sys.exit(run(mutants) if mutants else f"no mutant has any of {words}")


if __name__ == "__main__":
    main()
