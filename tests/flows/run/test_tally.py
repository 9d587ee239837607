"""The counts of a run lose nothing, however many threads add to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.ledger.month_rows import MonthRows
from flows.run.tally import Tally
from processors.receipt import Receipt

THREADS, TIMES = 16, 400


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns in the middle of what they do."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


def receipt(number: int) -> Receipt:
    return Receipt.model_construct(receipt_id=f"r{number}")


@pytest.mark.usefixtures("hurried")
def test_every_count_is_complete_when_many_threads_add_to_all_of_them() -> None:
    tally = Tally(lambda: 7)
    adding: list[Callable[[int], object]] = [
        lambda number: tally.begin_try("a", f"b{number % 2}"),
        lambda _: tally.add_answer(0.5),
        lambda _: tally.add_landed("2025-01-03", 3),
        lambda _: tally.add_landed("2025-01-04", 0),
        lambda number: tally.add_receipt(receipt(number)),
        lambda _: tally.set_spent_elsewhere({"calls": 5, "waited_s": 1.5}),
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        flushes = [threads.submit(tally.takes_prompt_flush, 50) for _ in range(TIMES)]
        done = [threads.submit(add, number) for number in range(TIMES) for add in adding]
        [one.result() for one in done]
    assert (tally.tries("a"), tally.tries("b0"), tally.tries("b1")) == (TIMES, TIMES // 2, TIMES // 2)
    assert tally.answers_s == [0.5] * TIMES
    assert tally.rows == 3 * TIMES
    assert tally.months == {1: MonthRows(dates=TIMES, rows=3 * TIMES)}
    assert sorted(one.receipt_id for one in tally.receipts) == sorted(f"r{number}" for number in range(TIMES))
    assert (tally.calls, tally.elsewhere("waited_s"), tally.elsewhere("bytes_landed")) == (12, 1.5, 0)
    assert sum(one.result() for one in flushes) == 50


def test_a_partition_that_was_never_tried_is_at_its_first_try_and_what_is_given_out_is_a_copy() -> None:
    tally = Tally()
    tally.receipts.append(receipt(1))
    tally.answers_s.append(1.0)
    assert (tally.tries("a"), tally.calls, tally.receipts, tally.answers_s) == (1, 0, [], [])
