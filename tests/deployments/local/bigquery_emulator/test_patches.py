"""Each patch mends a fault that bqemulator has as released; a fault that upstream mends fails here and names its patch.

Both emulators run one after the other in this process, because a patch changes bqemulator for the whole process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from emulator_in_process import PATCHED, patches_taken_back, running
from released_faults import FAULTS, Fault

from deployments.local.bigquery_emulator import patches
from deployments.local.bigquery_emulator.googlesql import GoogleSql
from deployments.local.bigquery_emulator.quota import Quota

PAGE = Path(patches.__file__).with_name("README.md").read_text()
pytestmark = [
    pytest.mark.xdist_group("bigquery patches"),
    # Of the released emulator: the tests of ours are elsewhere.
    pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result"),
]
every_fault = pytest.mark.parametrize("fault", FAULTS, ids=[f"{one.patch}: {one.sentence}" for one in FAULTS])
Found = dict[Fault, bool | Exception]


@contextmanager
def patched() -> Iterator[None]:
    with patches_taken_back():
        patches.install(Quota(), GoogleSql())
        yield


def _found(folder: Path) -> Found:
    found: Found = {}
    with running(folder) as emulator:
        for fault in FAULTS:
            try:
                found[fault] = fault.is_there(emulator)
            except Exception as error:  # told by the test of this fault
                found[fault] = error
    return found


@pytest.fixture(scope="module")
def as_released(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return _found(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def as_patched(tmp_path_factory: pytest.TempPathFactory) -> Found:
    with patched():
        return _found(tmp_path_factory.mktemp("patched"))


@every_fault
def test_bqemulator_as_released_has_the_fault_that_a_patch_mends(as_released: Found, fault: Fault) -> None:
    assert as_released[fault] is True, (
        f"patch {fault.patch} is no longer needed for: {fault.sentence} Got {as_released[fault]!r}. "
        "Next: take it out of the patch, out of README.md and out of released_faults.py"
    )


@every_fault
def test_the_local_bigquery_does_not_have_it(as_patched: Found, fault: Fault) -> None:
    assert as_patched[fault] is False


def test_the_page_lists_every_fault() -> None:
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE) == [(one.patch, one.sentence) for one in FAULTS]


def test_the_page_lists_every_name_that_is_replaced() -> None:
    before = {owner: dict(vars(owner)) for owner in PATCHED}
    with patched():
        replaced = {
            f"{owner.__name__.rpartition('.')[2]}.{name}"
            for owner in PATCHED
            for name, value in vars(owner).items()
            if before[owner].get(name) is not value
        }

    assert set(re.findall(r"`(\w+\.\w+)`", PAGE.partition("## Names")[2])) == replaced
